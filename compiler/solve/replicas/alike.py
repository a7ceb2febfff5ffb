"""Servers of one service are alike: one variant of the model, and the longest context that all of them can have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from compiler.engines.interface.pinned import PinnedEngines
from compiler.lock.models import Lock
from compiler.solve.attempt import machine_of
from compiler.solve.budget import Solution
from compiler.solve.field import judge_field
from compiler.solve.stack import attempt_stack
from compiler.spec.models import Spec
from compiler.spec.ranges import ContextRange

# How often servers of one service are made alike, before those that are not stay as they are.
_MOST_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Solved:
    """A stack that fits.

    Attributes:
        spec: in which every server is a service of its own.
        lock: that answers each of them.
        solutions: of each node that has servers, by its name.
    """

    spec: Spec
    lock: Lock
    solutions: Mapping[str, Solution]


def alike(solved: Solved, engines: PinnedEngines) -> Solved:
    """The same with one variant and one context for all servers of a service, wherever one fits all."""
    spec, lock, found = solved.spec, solved.lock, solved
    for _ in range(_MOST_ROUNDS):
        mixed = _mixed_variants(found)
        if mixed is not None:
            further = _of_one_variant(mixed, replace(found, spec=spec, lock=lock), engines)
            if further is None:
                break
            lock, found = further.lock, further
            continue
        capped = _capped(spec, found)
        if capped is None:
            break
        spec, solutions = capped, attempt_stack(capped, lock, engines)
        if not isinstance(solutions, dict):
            break
        found = Solved(spec, lock, solutions)
    # The spec says what was asked, and the lock everything that there is.
    return replace(solved, solutions=found.solutions)


def _served(solved: Solved) -> Iterator[tuple[str, str, Solution, int]]:
    """Node and service of every server, and where it stands there."""
    for node, solution in solved.solutions.items():
        for position, server in enumerate(solution.servers):
            yield node, solved.spec.service_of(server.demand.service), solution, position


def _mixed_variants(solved: Solved) -> str | None:
    """A service of which servers have different variants."""
    seen: dict[str, str] = {}
    for _, service, solution, position in _served(solved):
        name = solution.servers[position].demand.variant.name
        if seen.setdefault(service, name) != name:
            return service
    return None


def _of_one_variant(service: str, solved: Solved, engines: PinnedEngines) -> Solved | None:
    """With the best variant that fits all servers of a service; None where none does."""
    servers = [name for name in solved.spec.services if solved.spec.service_of(name) == service]
    for variant in _ranked(service, solved, engines):
        lock = holding(solved.lock, dict.fromkeys(servers, variant))
        found = attempt_stack(solved.spec, lock, engines)
        if isinstance(found, dict):
            return Solved(solved.spec, lock, found)
    return None


def _ranked(service: str, solved: Solved, engines: PinnedEngines) -> list[str]:
    """Its variants on the nodes where its servers are, best first; then those of other nodes alone."""
    ranked: dict[str, None] = {}
    for node in dict.fromkeys(node for node, name, _, _ in _served(solved) if name == service):
        part = solved.spec.on(node, [service])
        field = judge_field(part, solved.lock, engines, machine_of(part.nodes[node]))
        ranked |= dict.fromkeys(variant.name for variant in field.variants[service])
    return list(ranked)


def _capped(spec: Spec, solved: Solved) -> Spec | None:
    """With no longer contexts than all servers of a service can have; None where they have the same."""
    lengths: dict[str, set[int]] = {}
    for _, service, solution, position in _served(solved):
        lengths.setdefault(service, set()).add(solution.servers[position].demand.terms.context)
    shortest = {service: min(found) for service, found in lengths.items() if len(found) > 1}
    if not shortest:
        return None
    services = {
        name: each.model_copy(update={"context": _at_most(each.context, shortest[spec.service_of(name)])})
        if spec.service_of(name) in shortest
        else each
        for name, each in spec.services.items()
    }
    return spec.model_copy(update={"services": services})


def _at_most(asked: ContextRange, most: int) -> ContextRange:
    return ContextRange(min=asked.min if asked.min is not None else asked.least, max=most)


def holding(lock: Lock, candidates: Mapping[str, str]) -> Lock:
    """A lock with one candidate for each of these services, and no others."""
    services = {
        name: each.model_copy(update={"candidates": (candidates[name],)}) if name in candidates else each
        for name, each in lock.services.items()
    }
    return lock.model_copy(update={"services": services})
