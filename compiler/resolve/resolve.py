"""From what a spec asks to a lock: the model of every service, and the variants of it that may be served instead."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from compiler.diagnostics import Diagnostic, Help, Severity
from compiler.lock.file import MAX_BYTES, format_lock
from compiler.lock.models import MAX_UNREAD, Lock, LockedService, ModelFacts, repository_of
from compiler.lock.quantization import answers_quantization
from compiler.lock.second_looks import Locate, new_name, rename_problems
from compiler.lock.staleness import Ask, asked_of, differences
from compiler.resolve.answers import SourceError, UnavailableError
from compiler.resolve.cache import Cache
from compiler.resolve.candidates import gone_to_strangers, trusted_names
from compiler.resolve.problems import no_variant, not_a_model, source_problem
from compiler.resolve.search import Search, search
from compiler.resolve.source import Found, Source
from compiler.resolve.transport.hub import Hub
from compiler.spec.models import Spec


def resolve_lock(
    spec: Spec,
    *,
    hub: Hub,
    cache: Cache | None = None,
    previous: Lock | None = None,
    upgrade: bool | Collection[str] = False,
    locate: Locate = lambda _: None,
    copies: Mapping[str, Path] | None = None,
) -> tuple[Lock | None, tuple[Diagnostic, ...]]:
    """Answer everything that a spec asks about models.

    Args:
        spec: what is asked.
        hub: who is asked.
        cache: what earlier runs were told; None for nothing.
        previous: the lock so far. Its commits stay, and what it confirmed is not asked again.
        upgrade: move the models of all services, or of these, to their newest commits, and search variants anew.
        copies: of folders that lie elsewhere, by their paths there.
        locate: gives the place in the spec's file of a path such as `("services", "coder", "model")`.

    Returns:
        The lock and nothing, or None and every error of this run.
    """
    asks = {name: asked_of(service, spec.policy.publishers) for name, service in spec.services.items()}
    moving = {name for name in asks if upgrade is True or (upgrade and name in upgrade)}
    known = previous.models if previous is not None else {}
    source = Source(hub, cache or Cache(None, hub.endpoint), known, copies=copies or {})
    try:
        outcomes = _outcomes(asks, moving, source, _kept(asks, previous))
    except BaseException:
        hub.stop()  # or other threads would go on waiting for it
        raise
    found = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, _Chosen)}
    problems = [
        _diagnostic(name, asks[name], outcome, hub, locate)
        for name, outcome in outcomes.items()
        if isinstance(outcome, _Failure)
    ]
    if problems:
        return None, tuple(dict.fromkeys(problems))
    lock = _lock(asks, found, moving)
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

    reason: SourceError | Search


_Outcome = _Chosen | _Failure


def _kept(asks: Mapping[str, Ask], previous: Lock | None) -> dict[str, LockedService]:
    """Services of the previous lock whose ask is the same."""
    services = {} if previous is None else previous.services
    entries = ((name, ask, services.get(name)) for name, ask in asks.items())
    return {
        name: entry
        for name, ask, entry in entries
        if entry is not None and entry.candidates and not any(differences(name, ask, entry))
    }


def _outcomes(
    asks: Mapping[str, Ask], moving: Collection[str], source: Source, kept: Mapping[str, LockedService]
) -> dict[str, _Outcome]:
    """Per service, in the spec's order: what it has already, what is searched, and what is searched anew."""
    reread = {name: entry for name, entry in kept.items() if name not in moving}
    changed = {name: ask for name, ask in asks.items() if name not in reread and name not in moving}
    models = {candidate: entry.model for entry in reread.values() for candidate in entry.candidates}
    source = replace(source, models=models | {ask.model: ask.model for ask in asks.values()})
    searches = search(changed, source)
    searches |= search({name: asks[name] for name in asks if name in moving}, replace(source, upgrade=True))
    found = source.find_all(name for entry in reread.values() for name in entry.candidates)
    return {
        name: _reread(reread[name], found) if name in reread else _chosen(ask, searches[name])
        for name, ask in asks.items()
    }


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


def _diagnostic(service: str, ask: Ask, failure: _Failure, hub: Hub, locate: Locate) -> Diagnostic:
    reason = failure.reason
    if isinstance(reason, SourceError):
        return source_problem(service, ask.model, reason, hub, locate)
    if not isinstance(reason.main, SourceError) and reason.main[1].kind != "model":
        return not_a_model(service, ask.model, reason.main[1], locate)
    return no_variant(service, ask, reason, locate)


def _lock(asks: Mapping[str, Ask], found: Mapping[str, _Chosen], moving: Collection[str]) -> Lock:
    services = {
        name: LockedService(
            model=ask.model,
            quantization=ask.quantization,
            publishers=ask.publishers,
            candidates=tuple(sorted(found[name].models)),
            unread=found[name].unread,
            unreadable=dict(sorted(found[name].unreadable.items())),
            renamed=found[name].renamed,
        )
        for name, ask in sorted(asks.items())
    }
    # A model that one service moves has moved for all that share it.
    in_order = sorted(found.items(), key=lambda item: item[0] in moving)
    models = {name: facts for _, chosen in in_order for name, facts in chosen.models.items()}
    return Lock(services=services, models=dict(sorted(models.items())))
