"""Places for a few services on a few devices by going through all ways, where the greedy placement may miss the best.

Beyond MOST_SERVICES, MOST_DEVICES or MOST_STEPS the greedy placement stands. Devices with the same services on them are
alike, so that one of them is tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from compiler.engines.interface.demand import Demand, Division
from compiler.solve.place import Assignment, Choice, Shortfall, divisions_of, heaviest_first, place

MOST_SERVICES = 8
MOST_DEVICES = 8
MOST_STEPS = 2_000
"""Of one search; a step is a service put somewhere, and takes some microseconds."""


@dataclass(frozen=True, slots=True, order=True)
class Cost:
    """What a placement should have least of.

    Attributes:
        stages: services in pipeline stages, which wait for one another.
        ranks: of all services.
    """

    stages: int
    ranks: int

    @classmethod
    def of(cls, assignments: tuple[Assignment, ...]) -> Cost:
        """Of a placement."""
        divisions = [each.demand.division for each in assignments]
        return cls(sum(each.is_fallback for each in divisions), sum(each.gpus for each in divisions))

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.stages + other.stages, self.ranks + other.ranks)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to divide a service: bytes on each of its devices, and of main memory."""

    demand: Demand
    need: int
    host: int
    cost: Cost

    @property
    def devices(self) -> tuple[int, ...]:
        """Those that the spec names."""
        return self.demand.terms.gpus


def find_place(choice: Choice) -> tuple[Assignment, ...] | Shortfall:
    """The greedy placement, or where it finds none the one with the lowest cost; else why there is none."""
    found = place(choice)
    if isinstance(found, Shortfall):
        return _Fewest(choice).run() or found if is_small(choice) else found
    return found


def is_small(choice: Choice) -> bool:
    """Whether all ways can be gone through, and there are any that the greedy placement does not go through."""
    if not (1 < len(choice.services) <= MOST_SERVICES and 1 < len(choice.machine.devices) <= MOST_DEVICES):
        return False
    return not any(choice.offloaded(name) for name in choice.services)


def ways_of(choice: Choice, limit: Cost | None = None) -> list[list[Way]]:
    """Of each service, heaviest first, those that an empty machine has room for; none at all where one has none.

    Args:
        limit: of all services together; what exceeds it beside any others is left out.
    """
    most = max(device.usable for device in choice.machine.devices)
    found: list[list[Way]] = []
    for name in heaviest_first(choice):
        divisions = (each for each in divisions_of(choice, name) if limit is None or _is_within(each, limit, choice))
        ways = [_way(choice, choice.demand(name, division)) for division in divisions]
        found.append([way for way in ways if way.need <= most])
        if not found[-1]:
            return []
    return found


def _is_within(division: Division, limit: Cost, choice: Choice) -> bool:
    return division.gpus + len(choice.services) - 1 <= limit.ranks and division.is_fallback <= limit.stages


def _way(choice: Choice, demand: Demand) -> Way:
    host = choice.measure(demand.host.required) if demand.host is not None else 0
    cost = Cost(int(demand.division.is_fallback), demand.division.gpus)
    return Way(demand, choice.measure(demand.required), host, cost)


class _Fewest:
    """The placement with the fewest services in stages, and of those with the fewest ranks."""

    def __init__(self, choice: Choice) -> None:
        self.ways = ways_of(choice)
        self.usable = [device.usable for device in choice.machine.devices]
        self.host = choice.machine.host.usable if choice.machine.host is not None else None
        self.best: tuple[Assignment, ...] | None = None
        self.seen: dict[tuple[int, int | None, tuple[int, ...]], Cost] = {}
        self.steps = 0

    def run(self) -> tuple[Assignment, ...] | None:
        """It, or None where there is none or too much to go through."""
        if not self.ways:
            return None
        self.volumes, self.costs = volumes_ahead(self.ways), costs_ahead(self.ways)
        self._from(0, self.usable, self.host, ())
        return self.best

    def _from(self, at: int, free: list[int], host: int | None, placed: tuple[Assignment, ...]) -> None:
        cost = Cost.of(placed)
        if self._is_hopeless(at, free, host, cost):
            return
        if at == len(self.ways):
            self.best = placed
            return
        for way in self.ways[at]:
            if host is not None and way.host > host:
                continue
            for devices in self._different(way, free):
                self.steps += 1
                left = [size - way.need * (index in devices) for index, size in enumerate(free)]
                self._from(at + 1, left, None if host is None else host - way.host, (*placed, _assigned(way, devices)))

    def _is_hopeless(self, at: int, free: list[int], host: int | None, cost: Cost) -> bool:
        if self.steps > MOST_STEPS or self.volumes[at] > sum(free) or not have_room(self.ways[at:], free):
            return True
        if self.best is not None and Cost.of(self.best) <= cost + self.costs[at]:
            return True
        if at < len(self.ways) and self.ways[at][0].devices:
            return False  # it matters which devices have room
        key = (at, host, tuple(sorted(free)))
        if key in self.seen and self.seen[key] <= cost:
            return True
        self.seen[key] = cost
        return False

    def _different(self, way: Way, free: list[int]) -> Iterator[tuple[int, ...]]:
        """Devices with room, fullest first; of those with equally much left the first ones."""
        if way.devices:
            if all(free[index] >= way.need for index in way.devices):
                yield way.devices
            return
        seen: set[tuple[int, ...]] = set()
        fitting = sorted((size, index) for index, size in enumerate(free) if size >= way.need)
        for some in itertools.combinations(fitting, way.demand.division.gpus):
            sizes = tuple(size for size, _ in some)
            if sizes not in seen:
                seen.add(sizes)
                yield tuple(sorted(index for _, index in some))


def _assigned(way: Way, devices: tuple[int, ...]) -> Assignment:
    return Assignment(way.demand, tuple(sorted(devices)))


def have_room(ways: list[list[Way]], free: list[int]) -> bool:
    """Whether each of some services could be next on devices with so many free bytes."""
    descending = sorted(free, reverse=True)
    return all(any(way.need <= descending[way.cost.ranks - 1] for way in some) for some in ways)


def volumes_ahead(ways: list[list[Way]]) -> list[int]:
    """Bytes of all devices that the services from one on take at least."""
    least = [min(way.need * way.cost.ranks for way in some) for some in ways]
    return [sum(least[at:]) for at in range(len(least) + 1)]


def costs_ahead(ways: list[list[Way]]) -> list[Cost]:
    """What the services from one on cost at least."""
    stages = [min(way.cost.stages for way in some) for some in ways]
    ranks = [min(way.cost.ranks for way in some) for some in ways]
    return [Cost(sum(stages[at:]), sum(ranks[at:])) for at in range(len(ways) + 1)]
