"""`max` and ranges in a spec: the largest values that fit beside everything else.

The rule, which the same spec always answers alike: every service first gets its minimum, at the best quality that then
fits. Contexts grow next, concurrencies after them. Services grow together, each by the same part of its range times its
`share`; then one after another, the largest share first and as the spec lists them, each as far as it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from compiler.engines.interface.terms import Terms
from compiler.engines.vllm.demand import most_sequences
from compiler.engines.vllm.kv_cache.blocks import largest
from compiler.solve.place import Assignment, Choice, place, stay
from compiler.spec.models import ServiceSpec

Key = Literal["context", "concurrency"]

# How finely services grow together.
_STEPS = 256
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
            grown = _together(grown, values)
            for value in sorted(values, key=lambda value: -value.share):
                grown = _alone(grown, value, moves=len(values) <= _MOST_MOVED)
    return grown


def _open_values(services: Mapping[str, ServiceSpec], choice: Choice, key: Key) -> Iterator[_Open]:
    for name, service in services.items():
        asked = service.context if key == "context" else service.concurrency
        if not asked.is_solved:
            continue
        if key == "context":
            limit = choice.variants[name].architecture.max_model_len
        else:
            limit = most_sequences(choice.services[name], choice.setting)
        most = limit if asked.max is None else min(asked.max, limit)
        least = min(asked.least, most)
        yield _Open(name, key, service.share, least, most)


def _with(grown: Grown, value: _Open, number: int) -> Terms:
    return replace(grown.choice.services[value.name], **{value.key: number})  # type: ignore[arg-type]  # int keys only


def _together(grown: Grown, values: list[_Open]) -> Grown:
    """All of them by the same step, as far as that goes."""
    largest_share = max(1, *(value.share for value in values), 1)
    tries: dict[int, Grown] = {0: grown}

    def holds(step: int) -> bool:
        asked = {value.name: _with(grown, value, value.at(step, largest_share)) for value in values}
        return _remember(tries, step, replace(grown.choice, services={**grown.choice.services, **asked}), grown)

    return tries[largest(_STEPS, holds)]


def _alone(grown: Grown, value: _Open, *, moves: bool) -> Grown:
    """One of them: where it is, then, if it could be more elsewhere, with everything placed anew."""
    present = getattr(grown.choice.services[value.name], value.key)
    found = _furthest(grown, value, present, _stayed)
    reached = getattr(found.choice.services[value.name], value.key)
    if not moves or reached >= value.most or len(grown.choice.setting.devices) == 1:
        return found
    further = found.choice.asking(value.name, _with(found, value, reached + 1))
    return _furthest(found, value, reached, _moved) if isinstance(place(further), tuple) else found


_Fit = Callable[[Choice, Grown], "tuple[Assignment, ...] | None"]


def _furthest(grown: Grown, value: _Open, present: int, fit: _Fit) -> Grown:
    tries: dict[int, Grown] = {0: grown}

    def holds(more: int) -> bool:
        choice = grown.choice.asking(value.name, _with(grown, value, present + more))
        return _remember(tries, more, choice, grown, fit)

    return tries[largest(value.most - present, holds)]


def _remember(tries: dict[int, Grown], step: int, choice: Choice, before: Grown, fit: _Fit | None = None) -> bool:
    assignments = fit(choice, before) if fit is not None else _stayed(choice, before) or _moved(choice, before)
    if assignments is None:
        return False
    tries[step] = Grown(choice, assignments)
    return True


def _stayed(choice: Choice, before: Grown) -> tuple[Assignment, ...] | None:
    return stay(choice, before.assignments)


def _moved(choice: Choice, _: Grown) -> tuple[Assignment, ...] | None:
    placed = place(choice)
    return placed if isinstance(placed, tuple) else None
