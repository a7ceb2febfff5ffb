"""Every service's candidates, judged: what the solver may choose from, and what it tries, best first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from compiler.diagnostics import Edit
from compiler.engines.common.refusals import bits_refusal
from compiler.engines.interface.candidate import Candidate, DraftModel, Refusal, adapters_of, refused_problems
from compiler.engines.interface.demand import Division, Variant
from compiler.engines.interface.device import Machine
from compiler.engines.interface.pinned import Judge, PinnedEngines, engine_of
from compiler.engines.interface.problem import Problem, Remedy
from compiler.engines.interface.terms import Terms
from compiler.lock.models import Lock, LockedService, ModelFacts
from compiler.solve.place import Choice
from compiler.solve.ranking import Asked, rank
from compiler.spec.models import PolicySpec, Spec
from compiler.spec.services import ServiceSpec

# Combinations of variants that are tried in order of quality before all services are lowered together.
MAX_COMBINATIONS = 64


@dataclass(frozen=True, slots=True)
class Field:
    """The candidates of all services.

    Attributes:
        variants: what may be served, best first.
        refusals: what may not.
    """

    variants: Mapping[str, tuple[Variant, ...]]
    refusals: Mapping[str, tuple[Refusal, ...]]


def judge_field(spec: Spec, lock: Lock, engines: PinnedEngines, machine: Machine) -> Field:
    """Judge and rank the candidates of every service."""
    judges = {
        id(engine): partial(_within_policy, engine.judging(spec.policy, machine), spec.policy, lock.models)
        for engine in engines.values()
    }
    variants: dict[str, tuple[Variant, ...]] = {}
    refusals: dict[str, tuple[Refusal, ...]] = {}
    judged: dict[tuple[object, ...], str] = {}
    for name, service in spec.services.items():
        alike = judged.setdefault(_judged_by(service, lock.services[name]), name)
        if alike != name and not refusals[alike]:  # a refusal names its service
            variants[name], refusals[name] = variants[alike], ()
            continue
        judge = judges[id(engine_of(service, engines))]
        usable, refusals[name] = judge_candidates(name, service, lock, judge)
        variants[name] = rank(_without_objection(usable), Asked(service, spec.policy))
    return Field(variants, refusals)


def _judged_by(service: ServiceSpec, locked: LockedService) -> tuple[object, ...]:
    """All on which it depends what may serve a service: where it listens and runs does not matter."""
    asked = service.model_dump_json(exclude={"port", "host", "node", "served_name", "replicas"})
    return (asked, locked.candidates, locked.draft_key, *locked.adapters.items())


def _within_policy(
    judge: Judge, policy: PolicySpec, locked: Mapping[str, ModelFacts], candidate: Candidate
) -> Variant | Refusal:
    """What an engine says of a candidate; before that whether it may be used, and then whether it has enough bits."""
    beside = [(each.key, each.facts) for each in candidate.adapters]
    beside += [] if candidate.draft is None else [(candidate.draft.name, candidate.draft.facts)]
    asked = (candidate, *(replace(candidate, name=name, facts=facts) for name, facts in beside))
    refusals = (_forbidden(each, locked, policy) for each in asked if policy.commercial)
    found = next((each for each in refusals if each is not None), None) or judge(candidate)
    if isinstance(found, Refusal):
        return found
    return bits_refusal(candidate, found.bits_per_weight, policy) or found


def _forbidden(candidate: Candidate, locked: Mapping[str, ModelFacts], policy: PolicySpec) -> Refusal | None:
    # The registry takes longer to read than most stacks to solve, and few ask for it.
    from compiler.solve.commercial import commercial_refusal  # noqa: PLC0415

    return commercial_refusal(candidate, locked, policy)


def judge_candidates(
    name: str, service: ServiceSpec, lock: Lock, judge: Judge
) -> tuple[tuple[Variant, ...], tuple[Refusal, ...]]:
    """Candidates that may serve, and the others with their reasons; the model that was asked for comes first."""
    names = sorted(lock.services[name].candidates, key=lambda candidate: (candidate != service.model, candidate))
    adapters = tuple(adapters_of(service, lock.services[name], lock.models))
    key = lock.services[name].draft_key
    draft = None if key is None or service.speculate is None else DraftModel(key, lock.models[key])
    found = [judge(Candidate(name, service, candidate, lock.models[candidate], adapters, draft)) for candidate in names]
    refusals = tuple(one for one in found if isinstance(one, Refusal))
    return tuple(one for one in found if not isinstance(one, Refusal)), refusals


def _without_objection(usable: tuple[Variant, ...]) -> tuple[Variant, ...]:
    """Variants with which the spec's wishes can be met; where there are none, all, so that the problem is told."""
    return tuple(variant for variant in usable if variant.objection is None) or usable


def field_problems(field: Field, spec: Spec, lock: Lock) -> tuple[Problem, ...]:
    """What no choice among the candidates can help."""
    problems: list[Problem] = []
    for name in spec.services:
        if spec.service_of(name) != name and spec.service_of(name) in spec.services:
            continue  # alike, and told of the first
        usable = field.variants[name]
        if not usable:
            found = refused_problems(field.refusals[name], lock.services[name].unread)
            problems.extend(_with_siblings(problem, field.refusals[name], lock) for problem in found)
        elif usable[0].objection is not None:
            problems.append(_cache_problem(name, usable[0].objection))
    return tuple(problems)


def _with_siblings(problem: Problem, refusals: tuple[Refusal, ...], lock: Lock) -> Problem:
    """E0306 names models of the lock that were made from the base model and have a template."""
    if problem.code != "E0306":
        return problem
    bases = {refusal.candidate for refusal in refusals}
    notes = tuple(
        f"`{name}` was made from it and has a chat template"
        for name, facts in lock.models.items()
        if facts.chat_template and not bases.isdisjoint(facts.base_models)
    )
    return replace(problem, notes=(*problem.notes, *notes))


def _cache_problem(name: str, objection: str) -> Problem:
    edit = Edit(("services", name, "kv_cache_dtype"), None)
    remedy = Remedy("remove `kv_cache_dtype`", (edit,), kind="kv_cache_dtype")
    return Problem("E0308", name, ("kv_cache_dtype",), objection, remedies=(remedy,))


def worth_trying(field: Field, least: Choice) -> dict[str, tuple[Variant, ...]]:
    """Variants without those that need no less memory than a better one: where that does not fit, they do not.

    Args:
        least: the services in the setting in which each takes least.
    """
    found: dict[tuple[int, Terms], tuple[Variant, ...]] = {}
    kept: dict[str, tuple[Variant, ...]] = {}
    for name, variants in field.variants.items():
        # The field is held, so that an identity stands for one tuple of variants.
        key = (id(variants), least.services[name])
        if key not in found:
            found[key] = _smaller_and_smaller(name, variants, least)
        kept[name] = found[key]
    return kept


def _smaller_and_smaller(name: str, variants: tuple[Variant, ...], least: Choice) -> tuple[Variant, ...]:
    if len(variants) == 1:
        return variants
    kept: list[tuple[Variant, dict[Division, int]]] = []
    for variant in variants:
        choice = least.exchanged({name: variant})
        sizes = {division: _high(choice, name, division) for division in variant.divisions}
        if not any(all(better.get(one, size + 1) <= size for one, size in sizes.items()) for _, better in kept):
            kept.append((variant, sizes))
    return tuple(variant for variant, _ in kept)


def smallest(variants: Mapping[str, tuple[Variant, ...]], least: Choice) -> Choice | None:
    """Every service's last variant, if no other needs less on any number of GPUs: where these do not fit, none do."""
    for name, tried in variants.items():
        *others, last = (least.exchanged({name: variant}) for variant in tried)
        smallest = last.variants[name]
        allowed = {*smallest.divisions, *smallest.fallbacks, *(smallest.offloads if last.offloads else ())}
        for other in others:
            variant = other.variants[name]
            if not allowed.issuperset((*variant.fallbacks, *(variant.offloads if other.offloads else ()))):
                return None
            for division in variant.divisions:
                if division not in allowed or _high(other, name, division) < _high(last, name, division):
                    return None
    return least.exchanged({name: tried[-1] for name, tried in variants.items()})


def _high(choice: Choice, name: str, division: Division) -> int:
    return choice.demand(name, division).required.high


def combinations(variants: Mapping[str, tuple[Variant, ...]]) -> Iterator[dict[str, Variant]]:
    """Choices of one variant per service, least loss of quality over all services first; last, everything at its end.

    After MAX_COMBINATIONS of them, all services are lowered together, one step at a time: a stack whose services must
    all be small is found too.
    """
    names = sorted(variants)
    lengths = tuple(len(variants[name]) for name in names)
    ordered = itertools.islice(_by_sum(lengths), MAX_COMBINATIONS)
    lowered = (tuple(min(step, length - 1) for length in lengths) for step in range(max(lengths)))
    for ranks in dict.fromkeys(itertools.chain(ordered, lowered)):
        yield {name: variants[name][rank] for name, rank in zip(names, ranks, strict=True)}


def _by_sum(lengths: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Tuples of ranks by their sum, then by themselves, without making them all."""
    for total in range(sum(lengths) - len(lengths) + 1):
        ranks: list[int] | None = _filled([0] * len(lengths), 0, total, lengths)
        while ranks is not None:
            yield tuple(ranks)
            ranks = _next_of_sum(ranks, lengths)


def _filled(ranks: list[int], start: int, total: int, lengths: tuple[int, ...]) -> list[int]:
    """The least tuple with this beginning: the rest of the sum stands as far back as it can."""
    for index in range(len(ranks) - 1, start - 1, -1):
        ranks[index] = min(total, lengths[index] - 1)
        total -= ranks[index]
    return ranks


def _next_of_sum(ranks: list[int], lengths: tuple[int, ...]) -> list[int] | None:
    """The next tuple of the same sum; None after the last."""
    behind = 0
    for index in range(len(ranks) - 1, -1, -1):
        if behind and ranks[index] + 1 < lengths[index]:
            following = [*ranks[:index], ranks[index] + 1, *ranks[index + 1 :]]
            return _filled(following, index + 1, behind - 1, lengths)
        behind += ranks[index]
    return None
