"""From what a spec asks to a lock: the model of every service, and the variants of it that may be served instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.diagnostics import Diagnostic
from compiler.lock.models import Lock, LockedService, ModelFacts
from compiler.lock.quantization import answers_quantization
from compiler.lock.staleness import Ask, asked_of, differences
from compiler.resolve.answers import SourceError, UnavailableError
from compiler.resolve.hub import Hub
from compiler.resolve.problems import Locate, no_variant, source_problem
from compiler.resolve.search import Found, Search, Source, by_name, search
from compiler.spec.models import Spec


def resolve_lock(
    spec: Spec,
    *,
    hub: Hub,
    previous: Lock | None = None,
    upgrade: bool = False,
    locate: Locate = lambda _: None,
) -> tuple[Lock | None, tuple[Diagnostic, ...]]:
    """Answer everything that a spec asks about models.

    Args:
        spec: what is asked.
        hub: who is asked.
        previous: the lock so far. Its commits stay, and what it confirmed is not asked again.
        upgrade: move every model to its newest commit, and search variants anew.
        locate: gives the place in the spec's file of a path such as `("services", "coder", "model")`.

    Returns:
        The lock and nothing, or None and every error of this run.
    """
    asks = {name: asked_of(service, spec.policy.publishers) for name, service in spec.services.items()}
    kept = {} if previous is None or upgrade else _kept(asks, previous)
    source = Source(hub, previous.models if previous is not None else {}, upgrade)
    searches = search({name: ask for name, ask in asks.items() if name not in kept}, source)
    reread = by_name(source.find, (name for entry in kept.values() for name in entry.candidates))
    outcomes = {
        name: _reread(kept[name], reread) if name in kept else _chosen(ask, searches[name])
        for name, ask in asks.items()
    }
    failed = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, _Failure)}
    problems = [_diagnostic(name, asks[name], failure, hub, locate) for name, failure in failed.items()]
    if problems:
        return None, tuple(dict.fromkeys(problems))
    return _lock(asks, {name: found for name, found in outcomes.items() if not isinstance(found, _Failure)}), ()


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a service has no candidates: a question without an answer, or nothing with the quantization asked for."""

    reason: SourceError | Search


_Outcome = dict[str, ModelFacts] | _Failure


def _kept(asks: Mapping[str, Ask], previous: Lock) -> dict[str, LockedService]:
    """Services of the previous lock whose ask is the same."""
    entries = ((name, ask, previous.services.get(name)) for name, ask in asks.items())
    return {name: entry for name, ask, entry in entries if entry is not None and not any(differences(name, ask, entry))}


def _reread(entry: LockedService, found: Mapping[str, Found]) -> _Outcome:
    """The candidates that a service already has."""
    models: dict[str, ModelFacts] = {}
    for candidate in entry.candidates:
        item = found[candidate]
        if isinstance(item, SourceError):
            return _Failure(item)
        models[candidate] = item[1]
    return models


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
    if answers_quantization(facts, ask.quantization):
        models[name] = facts
    return models or _Failure(found)


def _diagnostic(service: str, ask: Ask, failure: _Failure, hub: Hub, locate: Locate) -> Diagnostic:
    if isinstance(failure.reason, Search):
        return no_variant(service, ask, failure.reason, locate)
    return source_problem(service, ask.model, failure.reason, hub, locate)


def _lock(asks: Mapping[str, Ask], found: Mapping[str, Mapping[str, ModelFacts]]) -> Lock:
    services = {
        name: LockedService(
            model=ask.model,
            quantization=ask.quantization,
            publishers=ask.publishers,
            candidates=tuple(sorted(found[name])),
        )
        for name, ask in sorted(asks.items())
    }
    models = {name: facts for group in found.values() for name, facts in group.items()}
    return Lock(services=services, models=dict(sorted(models.items())))
