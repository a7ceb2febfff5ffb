"""From what a spec asks to a lock: the model of every service, and the variants of it that may be served instead."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from compiler.diagnostics import Diagnostic, Help, Severity
from compiler.lock.file import MAX_BYTES, format_lock
from compiler.lock.models import MAX_UNREAD, Format, Lock, LockedService, ModelFacts, format_of, repository_of
from compiler.lock.quantization import answers_quantization
from compiler.lock.second_looks import Locate, new_name, rename_problems
from compiler.lock.staleness import Ask, asked_of, differences
from compiler.resolve.adapters import Adapters, adapter_keys, adapter_models, adapter_problems, find_adapters
from compiler.resolve.answers import SourceError, UnavailableError
from compiler.resolve.cache import Cache
from compiler.resolve.candidates import gone_to_strangers, trusted_names
from compiler.resolve.drafts import Drafts, draft_problems, find_drafts, read_drafts
from compiler.resolve.gguf import SetsFound, read_sets
from compiler.resolve.limits import REPOSITORIES_AT_ONCE
from compiler.resolve.parallel import in_parallel
from compiler.resolve.problems import Instead, no_gguf, no_set, no_variant, not_a_model, source_problem
from compiler.resolve.reading.folder import is_folder
from compiler.resolve.reading.gguf import NoGgufError
from compiler.resolve.search import Search, search
from compiler.resolve.source import Found, Source
from compiler.resolve.transport.hub import Hub
from compiler.spec.models import Spec

_DEFAULT_FORMATS: frozenset[Format] = frozenset({"safetensors"})


def resolve_lock(
    spec: Spec,
    *,
    hub: Hub,
    cache: Cache | None = None,
    previous: Lock | None = None,
    upgrade: bool | Collection[str] = False,
    locate: Locate = lambda _: None,
    copies: Mapping[str, Path] | None = None,
    formats: Mapping[str, frozenset[Format]] | None = None,
    instead: Instead = lambda _service, _form: None,
) -> tuple[Lock | None, tuple[Diagnostic, ...]]:
    """Answer everything that a spec asks about models.

    Args:
        spec: what is asked.
        hub: who is asked.
        cache: what earlier runs were told; None for nothing.
        previous: the lock so far. Its commits stay, and what it confirmed is not asked again.
        upgrade: move the models of all services, or of these, to their newest commits, and search variants anew.
        copies: of folders that lie elsewhere, by their paths there.
        formats: in which a service's weights may be, by its name; where there is none, safetensors.
        instead: offers another engine for a service whose weights are in a format, where one takes it.
        locate: gives the place in the spec's file of a path such as `("services", "coder", "model")`.

    Returns:
        The lock and nothing, or None and every error of this run.
    """
    asks = {name: asked_of(service, spec.policy.publishers) for name, service in spec.services.items()}
    moving = {name for name in asks if upgrade is True or (upgrade and name in upgrade)}
    known = previous.models if previous is not None else {}
    source = Source(hub, cache or Cache(None, hub.endpoint), known, copies=copies or {})
    source = replace(source, models={each.model: each.model for of in spec.services.values() for each in of.adapters})
    try:
        wanted = {name: (formats or {}).get(name, _DEFAULT_FORMATS) for name in asks}
        kept = _kept(asks, wanted, previous)
        outcomes = _outcomes(asks, wanted, moving, source, kept)
        adapters = find_adapters(spec, moving, source)
        drafts = find_drafts(asks, kept, moving, source)
    except BaseException:
        hub.stop()  # or other threads would go on waiting for it
        raise
    found = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, _Chosen)}
    problems = [
        _diagnostic(name, asks[name], outcome, source, _Said(locate, instead))
        for name, outcome in outcomes.items()
        if isinstance(outcome, _Failure)
    ]
    problems += adapter_problems(spec, adapters, source, locate)
    problems += draft_problems(asks, drafts, source, locate)
    if problems:
        return None, tuple(dict.fromkeys(problems))
    lock = _lock(asks, found, moving, adapters, read_drafts(drafts))
    problems = [problem for problem in rename_problems(spec, lock, locate) if problem.severity is Severity.ERROR]
    problems += _too_long(lock)
    return (None, tuple(problems)) if problems else (lock, ())


def _too_long(lock: Lock) -> Iterator[Diagnostic]:
    if (size := len(format_lock(lock).encode())) > MAX_BYTES:
        notes = (f"it would have {size} bytes, and at most {MAX_BYTES} are read",)
        helps = (Help("ask for one quantization, or trust fewer publishers: the lock has fewer candidates then"),)
        yield Diagnostic("E0313", "the lock would be larger than any that is read", notes=notes, helps=helps)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Candidates of a service, names of what was not read, why some could not be, and the model's own new name."""

    models: dict[str, ModelFacts]
    unread: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    renamed: str | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a service has no candidates: a question without an answer, or nothing with the quantization asked for."""

    reason: SourceError | Search | SetsFound


_Outcome = _Chosen | _Failure


_Formats = Mapping[str, frozenset[Format]]


def _kept(asks: Mapping[str, Ask], formats: _Formats, previous: Lock | None) -> dict[str, LockedService]:
    """Services of the previous lock whose ask is the same, and whose models are in the formats that they may be in."""
    services = {} if previous is None else previous.services
    entries = ((name, ask, services.get(name)) for name, ask in asks.items())
    return {
        name: entry
        for name, ask, entry in entries
        if entry is not None
        and entry.candidates
        and all(each.field == "adapters" for each in differences(name, ask, entry))
        and _formats_of(entry, previous) <= formats[name]
    }


def _formats_of(entry: LockedService, lock: Lock | None) -> set[Format]:
    return {format_of(lock.models[candidate]) for candidate in entry.candidates} if lock is not None else set()


def _outcomes(
    asks: Mapping[str, Ask],
    formats: _Formats,
    moving: Collection[str],
    source: Source,
    kept: Mapping[str, LockedService],
) -> dict[str, _Outcome]:
    """Per service, in the spec's order: what it has already, what is searched, and what is searched anew."""
    reread = {name: entry for name, entry in kept.items() if name not in moving}
    changed = {name: ask for name, ask in asks.items() if name not in reread and name not in moving}
    models = {candidate: entry.model for entry in reread.values() for candidate in entry.candidates}
    source = replace(source, models={**source.models, **models} | {ask.model: ask.model for ask in asks.values()})
    moved = {name: asks[name] for name in asks if name in moving}
    searched = _searched(changed, formats, source) | _searched(moved, formats, replace(source, upgrade=True))
    found = source.find_all(name for entry in reread.values() for name in entry.candidates)
    return {name: _reread(reread[name], found) if name in reread else searched[name] for name in asks}


def _searched(asks: Mapping[str, Ask], formats: _Formats, source: Source) -> dict[str, _Outcome]:
    """What is found anew for each service, in all formats that it may have."""
    searches = search({name: ask for name, ask in asks.items() if "safetensors" in formats[name]}, source)
    places = {name: (ask.model, ask.quantization) for name, ask in asks.items() if "gguf" in formats[name]}
    wanted = sorted(set(places.values()))
    found = dict(
        zip(wanted, in_parallel(lambda ask: read_sets(source, *ask), wanted, REPOSITORIES_AT_ONCE), strict=True)
    )
    outcomes = {name: [_chosen(asks[name], searches[name])] if name in searches else [] for name in asks}
    for name, place in places.items():
        outcomes[name].append(_chosen_sets(asks[name], found[place]))
    return {name: _joined(each) for name, each in outcomes.items()}


def _joined(outcomes: list[_Outcome]) -> _Outcome:
    """Models in every format, or why there are none in the first."""
    chosen = [outcome for outcome in outcomes if isinstance(outcome, _Chosen)]
    if len(chosen) < 2:  # noqa: PLR2004 - one of both formats
        return chosen[0] if chosen else outcomes[0]
    first, second = chosen
    unreadable = {**first.unreadable, **second.unreadable}
    kept = dict(sorted(unreadable.items())[:MAX_UNREAD])
    return replace(first, models=first.models | second.models, unreadable=kept)


def _chosen_sets(ask: Ask, found: SetsFound | SourceError) -> _Outcome:
    if isinstance(found, SourceError) or not found.models:
        return _Failure(found)
    return _Chosen(found.models, (), found.unreadable, new_name(ask.model, found.place))


def _reread(entry: LockedService, found: Mapping[str, Found]) -> _Outcome:
    """The candidates that a service already has."""
    models: dict[str, ModelFacts] = {}
    unreadable, renamed, gone = dict(entry.unreadable), entry.renamed, None
    for candidate in entry.candidates:
        item = found[candidate]
        if isinstance(item, SourceError):
            return _Failure(item)
        name, facts = item
        if repository_of(candidate) in (entry.model, entry.renamed):
            renamed = new_name(entry.model, name)
        elif not trusted_names([repository_of(name)], entry.renamed or entry.model, entry.publishers):
            gone = gone_to_strangers(name)
            unreadable[candidate] = gone.message
            continue
        models[name] = facts
    return _Failure(gone) if gone is not None and not models else _Chosen(models, entry.unread, unreadable, renamed)


def _chosen(ask: Ask, found: Search) -> _Outcome:
    """Everything found that has a method the service asks for."""
    if isinstance(found.main, SourceError):
        return _Failure(found.main)
    # What may be there and cannot be seen now would make the lock depend on the weather.
    unseen = [item for item in found.tried.values() if isinstance(item, UnavailableError)]
    if found.failure is not None or unseen:
        return _Failure(found.failure or unseen[0])
    models = found.variants(ask.quantization)
    name, facts = found.main
    if facts.kind == "model" and answers_quantization(facts, ask.quantization):
        models[name] = facts
    if not models:
        return _Failure(found)
    return _Chosen(models, found.unread()[:MAX_UNREAD], found.unreadable(), new_name(ask.model, name))


@dataclass(frozen=True, slots=True)
class _Said:
    """What messages are made with."""

    locate: Locate
    instead: Instead


def _diagnostic(service: str, ask: Ask, failure: _Failure, source: Source, said: _Said) -> Diagnostic:
    reason, locate = failure.reason, said.locate
    if isinstance(reason, NoGgufError):
        listed = () if is_folder(ask.model) else source.variants(ask.model)
        quantized = () if isinstance(listed, SourceError) else listed
        other = said.instead(service, "safetensors")
        return no_gguf(service, ask, reason, locate, quantized=quantized, instead=other)
    if isinstance(reason, SourceError):
        return source_problem(service, ask.model, reason, source.hub, locate)
    if isinstance(reason, SetsFound):
        return no_set(service, ask, reason, locate)
    if not isinstance(reason.main, SourceError) and reason.main[1].kind != "model":
        return not_a_model(service, ask.model, reason.main[1], locate, said.instead(service, "gguf"))
    return no_variant(service, ask, reason, locate)


def _lock(
    asks: Mapping[str, Ask],
    found: Mapping[str, _Chosen],
    moving: Collection[str],
    adapters: Adapters,
    drafts: Drafts,
) -> Lock:
    services = {
        name: LockedService(
            model=ask.model,
            quantization=ask.quantization,
            publishers=ask.publishers,
            candidates=tuple(sorted(found[name].models)),
            unread=found[name].unread,
            unreadable=dict(sorted(found[name].unreadable.items())),
            renamed=found[name].renamed,
            adapters=adapter_keys(adapters[name]),
            draft=ask.draft,
            draft_key=drafts[name][0] if name in drafts else None,
        )
        for name, ask in sorted(asks.items())
    }
    # A model that one service moves has moved for all that share it.
    in_order = sorted(found.items(), key=lambda item: item[0] in moving)
    models = dict(drafts.values())
    models |= {name: facts for _, chosen in in_order for name, facts in chosen.models.items()}
    models |= dict(adapter_models(adapters))
    return Lock(services=services, models=dict(sorted(models.items())))
