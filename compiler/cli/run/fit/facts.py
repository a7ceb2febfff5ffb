"""The facts that answer `stackc fit`: of a lock in `stacks/`, else of the registry, else of the Hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.choose.candidates import Candidates, find_candidates
from compiler.choose.demand import SERVICE
from compiler.choose.fits import lock_of
from compiler.cli.run.fit.question import FitQuestion
from compiler.cli.run.models.known import known_models
from compiler.diagnostics import Diagnostic, Help, has_errors
from compiler.lock.file import read_lock
from compiler.lock.models import Lock, LockedService, ModelFacts, format_of
from compiler.lock.names import publisher_of
from compiler.lock.quantization import answers_quantization, quantization_method
from compiler.registry.read import Registry
from compiler.source.user_file import SPECS

REGISTRY = "the registry, not read from the Hub"


@dataclass(frozen=True, slots=True)
class Known:
    """A question, and what answers it.

    Attributes:
        source: where the facts are from, in words.
        question: with the model's full name.
        warnings: about what a user's own file says of the model.
    """

    source: str
    question: FitQuestion
    lock: Lock
    warnings: tuple[Diagnostic, ...] = ()


def known_facts(question: FitQuestion) -> Known | None:
    """Without asking anybody; None where only the Hub can tell."""
    registry = known_models() if _may_be_there(question) else None
    found = None if registry is None else find_candidates(registry, question.model, (question.quantization,))
    names = dict.fromkeys((question.model, *(() if found is None else (found.repository,))))
    locked = next((each for name in names for each in _locked(question.about(name, question.publishers))), None)
    return locked or (None if registry is None or found is None else _of_registry(question, found, registry))


def _may_be_there(question: FitQuestion) -> bool:
    """The registry describes checkpoints by their config.json, and no folders."""
    return "safetensors" in question.formats and not question.model.startswith("/")


def _of_registry(question: FitQuestion, found: Candidates, registry: Registry) -> Known | None:
    models = {name: facts for name, facts in found.models.items() if _is_trusted(name, found, question.publishers)}
    if not models:
        return None
    lock = lock_of(found.repository, models, (question.quantization,))
    publishers = lock.services[SERVICE].publishers
    if question.quantization == "none":
        # Nothing is searched for, so that a lock names nobody.
        lock = _as_asked(lock, found.repository, question.quantization, ())
    warning = registry.warnings.get(found.entry.id)
    about = question.about(found.repository, publishers)
    return Known(REGISTRY, about, lock, () if warning is None else (warning,))


def _is_trusted(name: str, found: Candidates, publishers: tuple[str, ...]) -> bool:
    """Whoever names publishers trusts these alone; the registry lists only quantizers whom many trust."""
    own = publisher_of(found.repository)
    return not publishers or publisher_of(name) in {own, *map(str.lower, publishers)}


def _locked(question: FitQuestion) -> Iterator[Known]:
    """Locks of the folder `stacks` that can answer."""
    for path in sorted(Path(SPECS).glob("*.lock.yaml")):
        lock, _ = read_lock(path, str(path))
        found = _answered(question, lock) if lock is not None else None
        if found is not None:
            yield Known(str(path), question, found)


def _answered(question: FitQuestion, lock: Lock) -> Lock | None:
    """What a lock of this question alone would hold, by what another holds."""
    candidates = _candidates(lock, question.model, (question.quantization,))
    models = {name: lock.models[name] for name in candidates}
    if not candidates or not all(format_of(facts) in question.formats for facts in models.values()):
        return None
    trusted = tuple(sorted(set(question.publishers))) if question.quantization != "none" else ()
    return _as_asked(Lock(schema=1, services={}, models=models), question.model, question.quantization, trusted)


def _as_asked(lock: Lock, model: str, quantization: str, publishers: tuple[str, ...]) -> Lock:
    service = LockedService(
        model=model, quantization=(quantization,), publishers=publishers, candidates=tuple(sorted(lock.models))
    )
    return Lock(schema=1, services={SERVICE: service}, models=lock.models)


def _candidates(lock: Lock, model: str, asked: tuple[str, ...]) -> tuple[str, ...]:
    """The model itself where it needs no search for variants, else what a service of the lock found for the same."""
    facts = lock.models.get(model)
    if facts is not None and _is_alone(facts, asked) and answers_quantization(facts, asked):
        return (model,)
    same = (service for service in lock.services.values() if (service.model, service.quantization) == (model, asked))
    return next((service.candidates for service in same), ())


def _is_alone(facts: ModelFacts, asked: tuple[str, ...]) -> bool:
    return asked == ("none",) or quantization_method(facts) != "none"


def unusable_rows(question: FitQuestion) -> tuple[Diagnostic, ...]:
    """Errors of the user's own file: what was asked about may be a row that was left out."""
    registry = known_models() if _may_be_there(question) else None
    return () if registry is None else tuple(each for each in registry.problems if has_errors((each,)))


def with_nearest(found: Sequence[Diagnostic], question: FitQuestion) -> tuple[Diagnostic, ...]:
    """What the Hub said of a model that it does not give, with those that may be meant: these need no Hub."""
    registry = known_models() if _may_be_there(question) else None
    near = () if registry is None else registry.nearest(question.model)
    helps = tuple(Help(f"did you mean `{name}`? The registry describes it") for name in near if name != question.model)
    first = next((index for index, each in enumerate(found) if has_errors((each,))), None)
    if first is None or not helps:
        return tuple(found)
    told = replace(found[first], helps=(*found[first].helps, *helps))
    return (*found[:first], told, *found[first + 1 :])
