"""Put services on devices. Deterministic, and greedy: heaviest service first, on the emptiest devices that take it.

A service costs as many steps as its GPUs times the logarithm of all GPUs, so that whole fleets can be placed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from compiler.engines.interface.terms import Terms
from compiler.engines.vllm.demand import Demand, Setting, demand_of
from compiler.engines.vllm.judge.splits import Degrees
from compiler.engines.vllm.judge.variants import Variant
from compiler.units import ByteRange

# How the bytes of an interval are counted: by their high end for a proof, by the expected value for the margin.
Measure = Callable[[ByteRange], int]


@dataclass(frozen=True, slots=True)
class Assignment:
    """A service on its devices, by index."""

    demand: Demand
    devices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Miss:
    """A way to divide a service that found no place. `short` is what the tightest of its devices lacks."""

    demand: Demand
    device: int
    free: int
    short: int


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A service that found no place.

    Attributes:
        demand: the one that came closest to fitting.
        device: the index where it came closest.
        free: bytes left there by the services placed before.
        before: those services on that device.
        after: services that were not placed yet.
        misses: every way to divide it that was tried.
    """

    demand: Demand
    device: int
    free: int
    before: tuple[Demand, ...]
    after: tuple[Demand, ...] = ()
    misses: tuple[Miss, ...] = ()

    def short(self, measure: Measure) -> int:
        """Bytes that are missing."""
        return measure(self.demand.required) - self.free


class FreeMemory:
    """Free bytes of every device. Ties are settled by index, so that the same stack is placed the same way."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self.bytes = list(sizes)
        self._ascending = sorted((free, -index) for index, free in enumerate(self.bytes))

    def emptiest(self, count: int) -> tuple[int, ...]:
        """Indices of those with the most free."""
        return tuple(-index for _, index in reversed(self._ascending[-count:]))

    def tightest(self, need: int, count: int) -> tuple[int, ...]:
        """Indices of those with the least free that still take `need`; the emptiest where too few do."""
        start = bisect_left(self._ascending, (need, -len(self.bytes)))
        fitting = self._ascending[start : start + count]
        return tuple(-index for _, index in fitting) if len(fitting) == count else self.emptiest(count)

    def take(self, index: int, size: int) -> None:
        """Use bytes of a device."""
        free = self.bytes[index]
        del self._ascending[bisect_left(self._ascending, (free, -index))]
        insort(self._ascending, (free - size, -index))
        self.bytes[index] = free - size


@dataclass(frozen=True, slots=True)
class Choice:
    """What is placed: every service with its variant, the setting they share, and how bytes are counted.

    Attributes:
        known: demands that were worked out already. Choices that come from one another share them, and so do services
            that ask the same of the same model.
    """

    services: Mapping[str, Terms]
    variants: Mapping[str, Variant]
    setting: Setting
    measure: Measure
    known: dict[tuple[str, Terms, Degrees], Demand] = field(default_factory=dict, compare=False, repr=False)

    def demand(self, name: str, degrees: Degrees) -> Demand:
        """The demand of a service, divided like this."""
        variant, terms = self.variants[name], self.services[name]
        key = (variant.name, terms, degrees)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = demand_of(name, terms, variant, self.setting, degrees)
        return found if found.service == name else replace(found, service=name, variant=variant)

    def exchanged(self, variants: Mapping[str, Variant]) -> Choice:
        """The same with other variants."""
        return replace(self, variants=variants)

    def seating(self, sequences: int) -> Choice:
        """The same with another limit of sequences where the spec has none."""
        return replace(
            self, services={name: replace(terms, default_seqs=sequences) for name, terms in self.services.items()}
        )

    def asking(self, name: str, terms: Terms) -> Choice:
        """The same with other terms for one service."""
        return replace(self, services={**self.services, name: terms})


def place(choice: Choice) -> tuple[Assignment, ...] | Shortfall:
    """Place every service with its smallest KV cache, or say which one found no place.

    Spreading is tried first because it leaves each service the most KV cache; packing second.
    """
    spread = _place_all(choice, emptiest_first=True)
    if isinstance(spread, tuple):
        return spread
    packed = _place_all(choice, emptiest_first=False)
    return packed if isinstance(packed, tuple) else spread


def stay(choice: Choice, assignments: Iterable[Assignment]) -> tuple[Assignment, ...] | None:
    """Every service where it was, with what it demands now; None if a device has not enough for that."""
    free = [device.usable for device in choice.setting.devices]
    stayed = []
    for assignment in assignments:
        demand = choice.demand(assignment.demand.service, assignment.demand.degrees)
        for index in assignment.devices:
            free[index] -= choice.measure(demand.required)
            if free[index] < 0:
                return None
        stayed.append(Assignment(demand, assignment.devices))
    return tuple(stayed)


def sharing(assignments: Iterable[Assignment]) -> tuple[tuple[Assignment, ...], ...]:
    """Groups of services that share no device with those of another group."""
    at_device: dict[int, list[Assignment]] = {}
    for assignment in assignments:
        joined = {id(at_device[index]): at_device[index] for index in assignment.devices if index in at_device}
        members = [*(member for group in joined.values() for member in group), assignment]
        at_device.update(dict.fromkeys((index for member in members for index in member.devices), members))
    return tuple(tuple(group) for group in {id(group): group for group in at_device.values()}.values())


def _place_all(choice: Choice, *, emptiest_first: bool) -> tuple[Assignment, ...] | Shortfall:
    free = FreeMemory(device.usable for device in choice.setting.devices)
    assignments: list[Assignment] = []
    order = sorted(choice.services, key=lambda name: _weight(name, choice))
    for position, name in enumerate(order):
        found = _place_one(choice, name, free, emptiest_first=emptiest_first)
        if found is None:
            waiting = tuple(choice.demand(other, choice.variants[other].degrees[0]) for other in order[position + 1 :])
            misses = tuple(_misses(choice, name, free, emptiest_first=emptiest_first))
            return _shortfall(misses, assignments, waiting)
        assignments.append(found)
        for index in found.devices:
            free.take(index, choice.measure(found.demand.required))
    return tuple(assignments)


def _weight(name: str, choice: Choice) -> tuple[bool, int, str]:
    """Services whose GPUs the spec names come first, then the heaviest; names settle ties."""
    return not choice.services[name].gpus, -choice.measure(choice.demand(name, Degrees()).required), name


def _divided(choice: Choice, name: str) -> Iterator[Demand]:
    """A service in every way to divide it, in the order in which they are tried."""
    variant = choice.variants[name]
    for degrees in (*variant.degrees, *variant.pipelines):
        yield choice.demand(name, degrees)


def _place_one(choice: Choice, name: str, free: FreeMemory, *, emptiest_first: bool) -> Assignment | None:
    """The first way to divide it that fits."""
    for demand in _divided(choice, name):
        need = choice.measure(demand.required)
        indices = _indices(demand, need, free, emptiest_first=emptiest_first)
        if all(free.bytes[index] >= need for index in indices):
            return Assignment(demand, tuple(sorted(indices)))
    return None


def _misses(choice: Choice, name: str, free: FreeMemory, *, emptiest_first: bool) -> Iterator[Miss]:
    for demand in _divided(choice, name):
        need = choice.measure(demand.required)
        indices = _indices(demand, need, free, emptiest_first=emptiest_first)
        tightest = min(indices, key=lambda index: (free.bytes[index], index))
        yield Miss(demand, tightest, free.bytes[tightest], need - free.bytes[tightest])


def _shortfall(misses: tuple[Miss, ...], placed: Iterable[Assignment], waiting: tuple[Demand, ...]) -> Shortfall:
    closest = min(misses, key=lambda miss: miss.short)
    before = tuple(assignment.demand for assignment in placed if closest.device in assignment.devices)
    return Shortfall(closest.demand, closest.device, closest.free, before, waiting, misses)


def _indices(demand: Demand, need: int, free: FreeMemory, *, emptiest_first: bool) -> tuple[int, ...]:
    if demand.terms.gpus:
        return demand.terms.gpus
    if emptiest_first:
        return free.emptiest(demand.degrees.gpus)
    return free.tightest(need, demand.degrees.gpus)
