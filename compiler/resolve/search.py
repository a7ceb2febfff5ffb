"""Ask a source about every model of a spec: in rounds, each repository once, several at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from compiler.lock.models import MAX_UNREAD, ModelFacts, lock_key
from compiler.lock.names import publisher_of
from compiler.lock.quantization import answers_quantization, orders_over_groups
from compiler.lock.staleness import Ask
from compiler.resolve.answers import (
    MissingError,
    SourceError,
    TooLargeError,
    UnavailableError,
    plain,
)
from compiler.resolve.candidates import (
    gone_to_strangers,
    is_variant,
    leads,
    likely_branches,
    may_have_variants,
    trusted_names,
)
from compiler.resolve.limits import MAX_CANDIDATES
from compiler.resolve.parallel import by_name
from compiler.resolve.reading.folder import is_folder
from compiler.resolve.source import Found, Source


class _TooManyError(TooLargeError):
    """There are more candidates than are read."""


@dataclass(slots=True)
class Search:
    """What was found for one service.

    Attributes:
        main: the model that the spec names.
        listed: everything that the Hub lists as quantized from it.
        tried: trusted repositories that were asked about, by the name they were asked by, and their branches.
        failure: why there is no listing, where one was wanted.
    """

    main: Found
    listed: tuple[str, ...] = ()
    tried: dict[str, Found] = field(default_factory=dict)
    failure: SourceError | None = None

    def variants(self, asked: tuple[str, ...]) -> dict[str, ModelFacts]:
        """Repositories other than the model itself that hold one of the methods asked for."""
        if isinstance(self.main, SourceError):
            return {}
        _, main = self.main
        return {
            name: facts
            for name, facts in self._found()
            if facts.kind == "model" and answers_quantization(facts, asked) and is_variant(facts, main)
        }

    def unread(self) -> tuple[str, ...]:
        """Listed repositories that were not asked about, sorted."""
        asked = {*self.tried, *(() if isinstance(self.main, SourceError) else (self.main[0],))}
        return tuple(name for name in self.listed if name not in asked)

    def unreadable(self) -> dict[str, str]:
        """Trusted repositories that were asked about and could not be judged, with the reason."""
        reasons = {
            name: found
            for name, found in sorted(self.tried.items())
            if isinstance(found, SourceError) and not isinstance(found, MissingError)
        }
        # What was left out is told after what is odd.
        names = sorted(reasons, key=lambda name: (isinstance(reasons[name], _TooManyError), name))
        return {name: plain(reasons[name].message) for name in sorted(names[:MAX_UNREAD])}

    def over_groups(self, asked: tuple[str, ...]) -> set[str]:
        """Repositories whose `main` the engine refuses for its activation ordering, and that would do otherwise."""
        mains = [] if isinstance(self.main, SourceError) else [self.main]
        return {
            name
            for name, facts in (*mains, *self._found())
            if facts.branch is None and orders_over_groups(facts) and answers_quantization(facts, asked)
        }

    def _found(self) -> list[tuple[str, ModelFacts]]:
        return [item for item in self.tried.values() if not isinstance(item, SourceError)]


def search(asks: Mapping[str, Ask], source: Source) -> dict[str, Search]:
    """For every service: the model, the listing of its variants, the trusted ones of these, if need be leads; branches.

    Each of the steps asks for all services at once.
    """
    mains = source.find_all(ask.model for ask in asks.values())
    searches = {service: Search(mains[ask.model]) for service, ask in asks.items()}
    _search_variants(asks, searches, source)
    _search_branches(asks, searches, source)
    return searches


def _search_variants(asks: Mapping[str, Ask], searches: Mapping[str, Search], source: Source) -> None:
    wanted = {
        service: name for service, ask in asks.items() if (name := _to_search(ask, searches[service].main)) is not None
    }
    listings = by_name(source.variants, wanted.values())
    for service, name in wanted.items():
        listing = listings[name]
        if isinstance(listing, SourceError):
            searches[service].failure = listing
        else:
            searches[service].listed = listing
    listed = {
        service: trusted_names(searches[service].listed, name, asks[service].publishers)
        for service, name in wanted.items()
    }
    _leave_out(listed, searches)
    _try(listed, searches, source)
    _drop_strangers(listed, asks, searches)
    likely = {
        service: leads(name, asks[service].publishers, asks[service].quantization)
        for service, name in wanted.items()
        if not searches[service].variants(asks[service].quantization)
    }
    _try(likely, searches, source)
    _drop_strangers(likely, asks, searches)


def _leave_out(names: dict[str, tuple[str, ...]], searches: Mapping[str, Search]) -> None:
    """No more candidates than anybody needs: the rest is told, and not read."""
    for service, group in names.items():
        names[service] = group[:MAX_CANDIDATES]
        for name in group[MAX_CANDIDATES:]:
            message = f"{len(group)} variants are by trusted publishers, and the first {MAX_CANDIDATES} were read"
            searches[service].tried[name] = _TooManyError(message)


def _drop_strangers(
    names: Mapping[str, tuple[str, ...]], asks: Mapping[str, Ask], searches: Mapping[str, Search]
) -> None:
    """Repositories that were handed over to another publisher."""
    for service, group in names.items():
        search, ask = searches[service], asks[service]
        owner = ask.model if isinstance(search.main, SourceError) else search.main[0]
        for name in group:
            found = search.tried[name]
            if isinstance(found, SourceError) or trusted_names([found[0]], "", (*ask.publishers, publisher_of(owner))):
                continue
            search.tried[name] = gone_to_strangers(found[0])


def _search_branches(asks: Mapping[str, Ask], searches: Mapping[str, Search], source: Source) -> None:
    """Other branches of repositories whose `main` orders activations over groups; those that do too are left out."""
    refused = {
        service: {name for name in search.over_groups(asks[service].quantization) if not is_folder(name)}
        for service, search in searches.items()
    }
    listings = by_name(source.branches, (name for names in refused.values() for name in names))
    keys: dict[str, tuple[str, ...]] = {}
    for service, names in refused.items():
        lists = {name: listings[name] for name in sorted(names)}
        searches[service].failure = searches[service].failure or next(
            (listing for listing in lists.values() if isinstance(listing, UnavailableError)), None
        )
        keys[service] = tuple(
            lock_key(name, branch)
            for name, listing in lists.items()
            if not isinstance(listing, SourceError)
            for branch in likely_branches(listing)
        )[:MAX_CANDIDATES]
    _try(keys, searches, source)
    for service, group in keys.items():
        _drop_over_groups(searches[service], group)


def _drop_over_groups(search: Search, keys: Iterable[str]) -> None:
    for key in keys:
        found = search.tried[key]
        if not isinstance(found, SourceError) and orders_over_groups(found[1]):
            del search.tried[key]


def _to_search(ask: Ask, main: Found) -> str | None:
    """The name whose variants are wanted, if any."""
    if isinstance(main, SourceError) or is_folder(ask.model):
        return None
    name, facts = main
    return name if facts.kind == "model" and may_have_variants(facts, ask.quantization) else None


def _try(names: Mapping[str, tuple[str, ...]], searches: Mapping[str, Search], source: Source) -> None:
    found = source.find_all(name for group in names.values() for name in group)
    for service, group in names.items():
        searches[service].tried.update({name: found[name] for name in group})
