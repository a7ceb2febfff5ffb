"""`max` and ranges in a spec: the largest values that fit beside everything else.

The rule, which the same spec always answers alike: every service first gets its minimum, at the best quality that then
fits. Contexts grow next, concurrencies after them. Services grow together, each by the same part of its range times its
`share`; then one after another, the largest share first and as the spec lists them, each as far as it goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from compiler.engines.interface.demand import Division
from compiler.engines.interface.terms import Terms
from compiler.solve.exact import find_place
from compiler.solve.place import Assignment, Choice, room, stay, staying
from compiler.solve.search import most_with_room
from compiler.solve.settle import holding
from compiler.spec.services import ServiceSpec
from compiler.units import largest

Key = Literal["context", "concurrency"]

# How finely services grow together.
_STEPS = 256
# What memory of requests is counted in, mostly: blocks of tokens, and requests.
_GRAIN: Mapping[Key, int] = {"context": 16, "concurrency": 1}
# Services whose growth may move everybody to other devices; beyond that they grow where they are.
_MOST_MOVED = 64


@dataclass(frozen=True, slots=True)
class _Open:
    """A value that the spec leaves open, with its bounds."""

    name: str
    key: Key
    share: int
    least: int
    most: int

    def at(self, step: int, largest_share: int) -> int:
        """Its value when all have grown by `step`."""
        return self.least + (self.most - self.least) * min(_STEPS, step * self.share // largest_share) // _STEPS


@dataclass(frozen=True, slots=True)
class Grown:
    """Terms that fit, and where."""

    choice: Choice
    assignments: tuple[Assignment, ...]


def grow(services: Mapping[str, ServiceSpec], choice: Choice, assignments: tuple[Assignment, ...]) -> Grown:
    """Raise every open value as far as it goes. The choice has all of them at their least, and is placed."""
    grown = Grown(choice, assignments)
    keys: tuple[Key, ...] = ("context", "concurrency")
    for key in keys:
        values = list(_open_values(services, choice, key))
        if values:
            # One alone goes as far by itself.
            grown = _together(grown, values) if len(services) > 1 else grown
            grown = _one_by_one(grown, values)
    return grown


def grow_on(services: Mapping[str, ServiceSpec], grown: Grown, elsewhere: tuple[Assignment, ...]) -> Grown | None:
    """Each value by itself from what it has, where services came to be divided otherwise than they grew with.

    Args:
        elsewhere: where they are then, with as many requests at once as may be.

    Returns:
        None where they are divided as they were, so that nothing is to be had.
    """
    if _divisions(elsewhere) == _divisions(grown.assignments):
        return None
    stayed = stay(grown.choice, elsewhere)
    if stayed is None:
        return None
    further = Grown(grown.choice, stayed)
    keys: tuple[Key, ...] = ("context", "concurrency")
    for key in keys:
        further = _one_by_one(further, list(_open_values(services, grown.choice, key)))
    return further


def _one_by_one(grown: Grown, values: list[_Open]) -> Grown:
    """Each as far as it goes, the largest share first."""
    for value in sorted(values, key=lambda value: -value.share):
        grown = _alone(grown, value, moves=len(values) <= _MOST_MOVED)
    return grown


def _divisions(assignments: tuple[Assignment, ...]) -> dict[str, Division]:
    return {each.demand.service: each.demand.division for each in assignments}


def _open_values(services: Mapping[str, ServiceSpec], choice: Choice, key: Key) -> Iterator[_Open]:
    for name, service in services.items():
        asked = service.context if key == "context" else service.concurrency
        if not asked.is_solved:
            continue
        if key == "context":
            limit = choice.variants[name].max_context
        else:
            limit = choice.variants[name].most_seats(choice.services[name])
        most = limit if asked.max is None else min(asked.max, limit)
        least = min(asked.least, most)
        yield _Open(name, key, service.share, least, most)


def _with(grown: Grown, value: _Open, number: int) -> Terms:
    return replace(grown.choice.services[value.name], **{value.key: number})  # type: ignore[arg-type]  # int keys only


def _together(grown: Grown, values: list[_Open]) -> Grown:
    """All of them by the same step, as far as that goes."""
    largest_share = max(1, *(value.share for value in values), 1)
    moving = holding(grown.choice, grown.assignments, besides=tuple(value.name for value in values))
    tries: dict[int, Grown] = {0: grown}

    def holds(step: int) -> bool:
        asked = {value.name: _with(grown, value, value.at(step, largest_share)) for value in values}
        choice = replace(grown.choice, services={**grown.choice.services, **asked})
        assignments = stay(choice, grown.assignments) or _moved(replace(choice, most=moving.most))
        return _remember(tries, step, choice, assignments)

    return tries[largest(_STEPS, holds)]


def _alone(grown: Grown, value: _Open, *, moves: bool) -> Grown:
    """One of them: where it is, then, if it could be more elsewhere, with everything placed anew."""
    present = getattr(grown.choice.services[value.name], value.key)
    found = _furthest_there(grown, value, present)
    reached = getattr(found.choice.services[value.name], value.key)
    if not moves or reached >= value.most or len(grown.choice.machine.devices) == 1:
        return found
    moving = holding(found.choice, found.assignments, besides=(value.name,))
    further = moving.asking(value.name, _with(found, value, reached + 1))
    return _furthest_elsewhere(found, moving, value, reached) if _moved(further) is not None else found


def _furthest_there(grown: Grown, value: _Open, present: int) -> Grown:
    """Where it is."""
    tries: dict[int, Grown] = {present: grown}

    def left(number: int) -> int:
        choice = grown.choice.asking(value.name, _with(grown, value, number))
        tries[number] = Grown(choice, staying(choice, grown.assignments))
        return room(choice, tries[number].assignments)

    first = room(grown.choice, grown.assignments)
    return tries[most_with_room(present, value.most, first, left, grain=_GRAIN[value.key])]


def _furthest_elsewhere(grown: Grown, moving: Choice, value: _Open, present: int) -> Grown:
    tries: dict[int, Grown] = {0: grown}

    def holds(more: int) -> bool:
        choice = grown.choice.asking(value.name, _with(grown, value, present + more))
        return _remember(tries, more, choice, _moved(replace(choice, most=moving.most)))

    return tries[largest(value.most - present, holds)]


def _remember(tries: dict[int, Grown], step: int, choice: Choice, assignments: tuple[Assignment, ...] | None) -> bool:
    if assignments is None:
        return False
    tries[step] = Grown(choice, assignments)
    return True


def _moved(choice: Choice) -> tuple[Assignment, ...] | None:
    placed = find_place(choice)
    return placed if isinstance(placed, tuple) else None
