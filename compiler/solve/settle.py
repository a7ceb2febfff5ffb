"""Where services of a placement leave each other most KV cache, on no more devices than they take already."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace

from compiler.engines.interface.demand import Rank
from compiler.solve.budget import HEADROOM_PERMILLE, cache_units
from compiler.solve.exact import MOST_STEPS, Cost, Way, costs_ahead, have_room, is_small, volumes_ahead, ways_of
from compiler.solve.place import Assignment, Choice

# By how much the smallest cache must be larger, relatively, that everybody moves for it.
_WORTH_MOVING = 1.005


def settled(choice: Choice, assignments: tuple[Assignment, ...]) -> tuple[Assignment, ...]:
    """The services of a placement that has room, where they leave each other most.

    Fewest services in stages come first, then fewest ranks, then the most KV cache for the service that gets least of
    what it asked for. Services that are many, or on many devices, stay where they are.
    """
    if not is_small(choice) or any(each.demand.host is not None for each in assignments):
        return assignments
    return _Roomiest(choice, assignments).run()


def least_capacity(choice: Choice, assignments: tuple[Assignment, ...]) -> float:
    """The smallest KV cache by what was asked for, of services that get a share of what is left over."""
    units = cache_units(assignments, choice)
    sharing = [each.demand for each in assignments if each.demand.terms.share and each.demand.least_units]
    return min((units[demand.service] / demand.least_units for demand in sharing), default=1.0)


@dataclass(frozen=True, slots=True)
class _Held:
    """What is on a device.

    Attributes:
        free: bytes beside what its services need.
        ahead: bytes for all caches, of which services with a share have asked for `asked`.
        ranks: of which services it has which.
    """

    free: int
    ahead: int
    asked: int = 0
    ranks: tuple[tuple[str, int], ...] = ()

    def with_rank(self, way: Way, rank: Rank, fixed: int) -> _Held:
        """With a rank more."""
        demand = way.demand
        cache = rank.unit_bytes * demand.least_units
        kept, asked = (0, cache) if demand.terms.share else (cache, 0)
        ranks = (*self.ranks, (demand.service, demand.ranks.index(rank)))
        return _Held(self.free - way.need, self.ahead - fixed - kept, self.asked + asked, ranks)

    @property
    def most(self) -> float:
        """Of the service there that gets least of what it asked for, however the rest is divided."""
        return self.ahead / self.asked if self.asked else float("inf")


class _Roomiest:
    """A search from the placement that there is."""

    def __init__(self, choice: Choice, assignments: tuple[Assignment, ...]) -> None:
        self.choice = choice
        self.best, self.cost = assignments, Cost.of(assignments)
        self.capacity = least_capacity(choice, assignments)
        self.ways = ways_of(choice, self.cost)
        self.volumes, self.costs = volumes_ahead(self.ways), costs_ahead(self.ways)
        self.steps = 0

    def run(self) -> tuple[Assignment, ...]:
        """The best that was found."""
        if not self.ways:
            return self.best
        devices = self.choice.machine.devices
        empty = [_Held(each.usable, each.usable - each.total * HEADROOM_PERMILLE // 1000) for each in devices]
        self._from(0, empty, ())
        return self.best

    def _from(self, at: int, held: list[_Held], placed: tuple[Assignment, ...]) -> None:
        if self._is_hopeless(at, held, Cost.of(placed)):
            return
        if at == len(self.ways):
            self._judge(placed)
            return
        for way in self.ways[at]:
            for devices in self._different(way, held):
                self.steps += 1
                assignment = Assignment(way.demand, devices)
                self._from(at + 1, self._with(held, way, devices), (*placed, assignment))

    def _is_hopeless(self, at: int, held: list[_Held], cost: Cost) -> bool:
        least = cost + self.costs[at]
        free = [each.free for each in held]
        if self.steps > MOST_STEPS or least > self.cost or self.volumes[at] > sum(free):
            return True
        if not have_room(self.ways[at:], free):
            return True
        return least == self.cost and min(each.most for each in held) <= self.capacity * _WORTH_MOVING

    def _judge(self, placed: tuple[Assignment, ...]) -> None:
        cost, capacity = Cost.of(placed), least_capacity(self.choice, placed)
        if cost < self.cost or capacity > self.capacity * _WORTH_MOVING:
            self.best, self.cost, self.capacity = placed, cost, capacity

    def _with(self, held: list[_Held], way: Way, devices: tuple[int, ...]) -> list[_Held]:
        after = list(held)
        for position, index in enumerate(devices):
            rank = way.demand.rank_at(position)
            after[index] = held[index].with_rank(way, rank, self.choice.measure(rank.fixed))
        return after

    def _different(self, way: Way, held: list[_Held]) -> Iterator[tuple[int, ...]]:
        """Devices with room, emptiest first; of those that hold the same the first ones."""
        if way.devices:
            if all(held[index].free >= way.need for index in way.devices):
                yield way.devices
            return
        fitting = [index for index, each in enumerate(held) if each.free >= way.need]
        fitting.sort(key=lambda index: (-held[index].free, index))
        seen: set[Hashable] = set()
        for some in itertools.combinations(fitting, way.demand.division.gpus):
            devices = tuple(sorted(some))
            key = tuple((held[index].ranks, held[index].free) for index in devices)
            if key not in seen:
                seen.add(key)
                yield devices


def holding(choice: Choice, assignments: tuple[Assignment, ...], *, besides: tuple[str, ...] = ()) -> Choice:
    """The same with services divided no further than they are, besides some."""
    divisions = {each.demand.service: each.demand.division for each in assignments}
    return replace(choice, most={name: one for name, one in divisions.items() if name not in besides})
