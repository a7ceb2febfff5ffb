"""Ask a source about every model of a spec: in rounds, each repository once, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from compiler.lock.models import ModelFacts
from compiler.lock.quantization import answers_quantization
from compiler.lock.staleness import Ask
from compiler.resolve.answers import SourceError
from compiler.resolve.candidates import is_variant, leads, may_have_variants, trusted_names
from compiler.resolve.facts import read_facts
from compiler.resolve.folder import folder_facts, is_folder
from compiler.resolve.hub import Hub
from compiler.resolve.limits import REPOSITORIES_AT_ONCE

_Result = TypeVar("_Result")

# A repository by its own name with its facts, or why there are none.
Found = tuple[str, ModelFacts] | SourceError


@dataclass(frozen=True, slots=True)
class Source:
    """Where facts come from: a folder, the previous lock, or the Hub.

    Attributes:
        known: models of the previous lock. Their commits stay, and what they confirm is not asked again.
        upgrade: move to the newest commits instead.
    """

    hub: Hub
    known: Mapping[str, ModelFacts] = field(default_factory=dict)
    upgrade: bool = False

    def find(self, name: str) -> Found:
        """Facts of one repository or folder."""
        try:
            return (name, folder_facts(name)) if is_folder(name) else self._on_hub(name)
        except SourceError as error:
            return error

    def variants(self, name: str) -> tuple[str, ...] | SourceError:
        """Names that the Hub lists as quantized from a model."""
        try:
            return self.hub.quantized_variants(name)
        except SourceError as error:
            return error

    def _on_hub(self, name: str) -> tuple[str, ModelFacts]:
        known = self.known.get(name)
        if known is None:
            repository = self.hub.repository(name)
            return repository.name, read_facts(repository, self.hub.reader(repository))
        is_sure = not known.unconfirmed and known.source == self.hub.source
        if is_sure and not self.upgrade:
            return name, known
        repository = self.hub.repository(name, known.commit if known.is_pinned and not self.upgrade else None)
        if is_sure and repository.commit == known.commit:
            # All but the gate belongs to the commit, and that has not moved.
            return name, known.model_copy(update={"gated": repository.gated})
        return name, read_facts(repository, self.hub.reader(repository))


@dataclass(slots=True)
class Search:
    """What was found for one service.

    Attributes:
        main: the model that the spec names.
        listed: everything that the Hub lists as quantized from it.
        tried: trusted repositories that were asked about, by the name they were asked by.
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
        found = (item for item in self.tried.values() if not isinstance(item, SourceError))
        return {name: facts for name, facts in found if answers_quantization(facts, asked) and is_variant(facts, main)}


def search(asks: Mapping[str, Ask], source: Source) -> dict[str, Search]:
    """For every service: the model, the listing of its variants, the trusted ones of these, and if need be leads."""
    mains = by_name(source.find, (ask.model for ask in asks.values()))
    searches = {service: Search(mains[ask.model]) for service, ask in asks.items()}
    wanted = {service: name for service, ask in asks.items() if (name := _to_search(ask, mains[ask.model])) is not None}
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
    _try(listed, searches, source)
    likely = {
        service: leads(name, asks[service].publishers, asks[service].quantization)
        for service, name in wanted.items()
        if not searches[service].variants(asks[service].quantization)
    }
    _try(likely, searches, source)
    return searches


def by_name(ask: Callable[[str], _Result], names: Iterable[str]) -> dict[str, _Result]:
    """Ask once for every different name, several at a time."""
    different = sorted(set(names))
    if not different:
        return {}
    with ThreadPoolExecutor(min(REPOSITORIES_AT_ONCE, len(different))) as pool:
        return dict(zip(different, pool.map(ask, different), strict=True))


def _to_search(ask: Ask, main: Found) -> str | None:
    """The name whose variants are wanted, if any."""
    if isinstance(main, SourceError) or is_folder(ask.model):
        return None
    name, facts = main
    return name if may_have_variants(facts, ask.quantization) else None


def _try(names: Mapping[str, tuple[str, ...]], searches: Mapping[str, Search], source: Source) -> None:
    found = by_name(source.find, (name for group in names.values() for name in group))
    for service, group in names.items():
        searches[service].tried.update({name: found[name] for name in group})
