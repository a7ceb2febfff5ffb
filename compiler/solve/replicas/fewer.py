"""Servers that find no room: how many of their service do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from compiler.diagnostics import Edit
from compiler.engines.interface.pinned import PinnedEngines
from compiler.engines.interface.problem import Problem, Remedy
from compiler.lock.models import Lock
from compiler.solve.replicas.counts import most_that_fit, servers_fit
from compiler.spec.models import Spec
from compiler.spec.replicas import least_replicas, with_replicas

# What a service without room lacks: memory, a port, or machines to span.
_SHORT = frozenset(("E0205", "E0209", "E0401", "E0402"))


def with_fewer(
    problem: Problem, spec: Spec, lock: Lock, engines: PinnedEngines, *, tried: Callable[[], None]
) -> Problem:
    """A lack of room, with what fewer servers would do, which is asked before everything else.

    Args:
        spec: as it was read.
        tried: told of each question.
    """
    if problem.code not in _SHORT:
        return problem
    least = least_replicas(spec)
    concerned = with_replicas(spec, least).service_of(problem.service)
    notes, remedies = [], []
    for name in sorted((name for name, count in least.items() if count > 1), key=lambda name: name != concerned):

        def fits(count: int, name: str = name) -> bool:
            tried()
            return servers_fit(spec, lock, engines, {**least, name: count})

        fewer = most_that_fit(spec.services[name].concurrency.least, (1, least[name] - 1), fits)
        if not fewer:
            continue
        remedies.append(_fewer(name, fewer, spec))
        if name == concerned:
            notes.append(f"{fewer} of the {least[name]} replicas of `{name}` fit")
    return replace(problem, notes=(*notes, *problem.notes), remedies=(*remedies, *problem.remedies))


def _fewer(name: str, count: int, spec: Spec) -> Remedy:
    asked = spec.services[name].replicas
    path = ("services", name, "replicas")
    edit = Edit((*path, "min") if asked.is_solved else path, count)
    key = "replicas: {min: " + str(count) + "}" if asked.is_solved else f"replicas: {count}"
    return Remedy(f"`{key}` for `{name}`", (edit,), kind=f"replicas of {name}")
