"""Every service's candidates, judged: what the solver may choose from, and what it tries, best first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from compiler.catalog.vllm.releases import Release
from compiler.diagnostics import Edit
from compiler.engines.interface.problem import Problem, Remedy
from compiler.engines.vllm.demand import Device
from compiler.engines.vllm.judge.refusals import Refusal, refused_problems
from compiler.engines.vllm.judge.splits import Degrees, Rules
from compiler.engines.vllm.judge.support import fp8_cache_refusal
from compiler.engines.vllm.judge.variants import Variant, judge_candidates
from compiler.lock.models import Lock
from compiler.solve.place import Choice
from compiler.solve.ranking import Asked, rank
from compiler.spec.models import Spec

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


def judge_field(spec: Spec, lock: Lock, release: Release, devices: tuple[Device, ...]) -> Field:
    """Judge and rank the candidates of every service."""
    node = next(iter(spec.nodes.values()))
    mig = node.gpus.mig if node.gpus is not None else None
    rules = Rules(spec.policy, release, devices[0].capability, len(devices), mig)
    variants: dict[str, tuple[Variant, ...]] = {}
    refusals: dict[str, tuple[Refusal, ...]] = {}
    for name, service in spec.services.items():
        usable, refusals[name] = judge_candidates(name, service, lock, rules)
        if service.kv_cache_dtype == "fp8":
            usable = _with_fp8_cache(usable, devices[0])
        variants[name] = rank(usable, Asked(service, spec.policy))
    return Field(variants, refusals)


def _with_fp8_cache(usable: tuple[Variant, ...], device: Device) -> tuple[Variant, ...]:
    """Variants that can have an fp8 KV cache; where none can, all of them, so that the problem is told."""
    able = (variant for variant in usable if fp8_cache_refusal(device.capability, variant.architecture) is None)
    return tuple(able) or usable


def field_problems(field: Field, spec: Spec, lock: Lock, device: Device) -> tuple[Problem, ...]:
    """What no choice among the candidates can help."""
    problems: list[Problem] = []
    for name, service in spec.services.items():
        usable = field.variants[name]
        if not usable:
            found = refused_problems(field.refusals[name], lock.services[name].unread)
            problems.extend(_with_siblings(problem, field.refusals[name], lock) for problem in found)
        elif service.kv_cache_dtype == "fp8":
            problems.extend(_cache_problems(name, usable[0], device))
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


def _cache_problems(name: str, variant: Variant, device: Device) -> Iterator[Problem]:
    refusal = fp8_cache_refusal(device.capability, variant.architecture)
    if refusal is not None:
        edit = Edit(("services", name, "kv_cache_dtype"), None)
        remedy = Remedy("remove `kv_cache_dtype`", (edit,), kind="kv_cache_dtype")
        yield Problem("E0308", name, ("kv_cache_dtype",), refusal, remedies=(remedy,))


def worth_trying(field: Field, least: Choice) -> dict[str, tuple[Variant, ...]]:
    """Variants without those that need no less memory than a better one: where that does not fit, they do not.

    Args:
        least: the services in the setting in which each takes least.
    """
    return {name: _smaller_and_smaller(name, variants, least) for name, variants in field.variants.items()}


def _smaller_and_smaller(name: str, variants: tuple[Variant, ...], least: Choice) -> tuple[Variant, ...]:
    kept: list[tuple[Variant, dict[Degrees, int]]] = []
    for variant in variants:
        choice = least.exchanged({name: variant})
        sizes = {degrees: _high(choice, name, degrees) for degrees in variant.degrees}
        if not any(all(better.get(degrees, size + 1) <= size for degrees, size in sizes.items()) for _, better in kept):
            kept.append((variant, sizes))
    return tuple(variant for variant, _ in kept)


def smallest(variants: Mapping[str, tuple[Variant, ...]], least: Choice) -> Choice | None:
    """Every service's last variant, if no other needs less on any number of GPUs: where these do not fit, none do."""
    for name, tried in variants.items():
        *others, last = (least.exchanged({name: variant}) for variant in tried)
        allowed = {*last.variants[name].degrees, *last.variants[name].pipelines}
        for other in others:
            if not allowed.issuperset(other.variants[name].pipelines):
                return None
            for degrees in other.variants[name].degrees:
                if degrees not in allowed or _high(other, name, degrees) < _high(last, name, degrees):
                    return None
    return least.exchanged({name: tried[-1] for name, tried in variants.items()})


def _high(choice: Choice, name: str, degrees: Degrees) -> int:
    return choice.demand(name, degrees).required.high


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
