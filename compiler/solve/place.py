"""Put services on devices. Deterministic, and greedy: heaviest service first, on the emptiest devices that take it.

A service costs as many steps as its GPUs times the logarithm of all GPUs, so that whole fleets can be placed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from compiler.engines.interface.demand import Demand, Division, Rank, Variant
from compiler.engines.interface.device import Machine
from compiler.engines.interface.terms import Terms
from compiler.ledger import HOST
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
    """A way to divide a service that found no place.

    Attributes:
        device: the tightest of its devices, or HOST where its devices have room.
        free: bytes there.
        short: what that lacks.
    """

    demand: Demand
    device: int
    free: int
    short: int


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A service that found no place.

    Attributes:
        demand: the one that came closest to fitting.
        device: the index where it came closest, or HOST for main memory.
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

    @property
    def rank(self) -> Rank:
        """What finds no place."""
        return self.demand.heaviest if self.device != HOST else host_rank(self.demand)

    def size(self, demand: Demand) -> ByteRange:
        """What a service takes where this one came closest."""
        return demand.required if self.device != HOST else host_rank(demand).required

    def short(self, measure: Measure) -> int:
        """Bytes that are missing."""
        return measure(self.size(self.demand)) - self.free


def host_rank(demand: Demand) -> Rank:
    """What a demand takes of main memory, for one of which that is counted."""
    assert demand.host is not None  # noqa: S101  main memory was too small for it
    return demand.host


class FreeMemory:
    """Free bytes of every device. Ties are settled by index, so that the same stack is placed the same way.

    Attributes:
        host: of main memory beside GPUs; None where nobody counts it.
    """

    def __init__(self, machine: Machine) -> None:
        self.bytes = [device.usable for device in machine.devices]
        self.host = machine.host.usable if machine.host is not None else None
        self._ascending = sorted((free, -index) for index, free in enumerate(self.bytes))

    def emptiest(self, count: int) -> tuple[int, ...]:
        """Indices of those with the most free."""
        return tuple(-index for _, index in reversed(self._ascending[-count:]))

    def tightest(self, need: int, count: int) -> tuple[int, ...]:
        """Indices of those with the least free that still take `need`; the emptiest where too few do."""
        start = bisect_left(self._ascending, (need, -len(self.bytes)))
        fitting = self._ascending[start : start + count]
        return tuple(-index for _, index in fitting) if len(fitting) == count else self.emptiest(count)

    def host_lacks(self, demand: Demand, measure: Measure) -> int:
        """Bytes of main memory that are missing for a demand; none where nobody counts it."""
        if self.host is None or demand.host is None:
            return 0
        return max(0, measure(demand.host.required) - self.host)

    def take_host(self, demand: Demand, measure: Measure) -> None:
        """Use what a demand takes of main memory."""
        if self.host is not None and demand.host is not None:
            self.host -= measure(demand.host.required)

    def take(self, index: int, size: int) -> None:
        """Use bytes of a device."""
        free = self.bytes[index]
        del self._ascending[bisect_left(self._ascending, (free, -index))]
        insort(self._ascending, (free - size, -index))
        self.bytes[index] = free - size


@dataclass(frozen=True, slots=True)
class Choice:
    """What is placed: every service with its variant, the machine they share, and how bytes are counted.

    Attributes:
        offloads: whether parts of a variant may stay in main memory.
        most: of a service that must not be divided any further, how it is now.
        known: demands that were worked out already. Choices that come from one another share them.
    """

    services: Mapping[str, Terms]
    variants: Mapping[str, Variant]
    machine: Machine
    measure: Measure
    offloads: bool = True
    most: Mapping[str, Division] = field(default_factory=dict)
    known: dict[tuple[str, Hashable, Terms, Division], Demand] = field(default_factory=dict, compare=False, repr=False)

    def demand(self, name: str, division: Division) -> Demand:
        """The demand of a service, divided like this."""
        variant, terms = self.variants[name], self.services[name]
        key = (name, variant.key, terms, division)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = variant.demand(name, terms, division)
        return found

    def offloaded(self, name: str) -> tuple[Division, ...]:
        """Ways to divide a service with parts in main memory, if there may be any."""
        return self.variants[name].offloads if self.offloads else ()

    def exchanged(self, variants: Mapping[str, Variant]) -> Choice:
        """The same with other variants."""
        return replace(self, variants=variants)

    def seating(self, seats: Mapping[str, int]) -> Choice:
        """The same with other numbers of requests at once where the spec has none."""
        return replace(
            self, services={name: replace(terms, seats=seats[name]) for name, terms in self.services.items()}
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
    stayed = staying(choice, assignments)
    return stayed if room(choice, stayed) >= 0 else None


def staying(choice: Choice, assignments: Iterable[Assignment]) -> tuple[Assignment, ...]:
    """Every service where it was, with what it demands now, whether or not there is room for it."""
    demands = ((choice.demand(one.demand.service, one.demand.division), one.devices) for one in assignments)
    return tuple(Assignment(demand, devices) for demand, devices in demands)


def room(choice: Choice, assignments: Iterable[Assignment]) -> int:
    """Bytes that are left of the fullest device, or of main memory; negative where they are missing."""
    free = [device.usable for device in choice.machine.devices]
    host = choice.machine.host.usable if choice.machine.host is not None else None
    for assignment in assignments:
        need = choice.measure(assignment.demand.required)
        for index in assignment.devices:
            free[index] -= need
        if host is not None and assignment.demand.host is not None:
            host -= choice.measure(assignment.demand.host.required)
    return min(free) if host is None else min(*free, host)


def sharing(assignments: Iterable[Assignment]) -> tuple[tuple[Assignment, ...], ...]:
    """Groups of services that share no device with those of another group."""
    at_device: dict[int, list[Assignment]] = {}
    for assignment in assignments:
        joined = {id(at_device[index]): at_device[index] for index in assignment.devices if index in at_device}
        members = [*(member for group in joined.values() for member in group), assignment]
        at_device.update(dict.fromkeys((index for member in members for index in member.devices), members))
    return tuple(tuple(group) for group in {id(group): group for group in at_device.values()}.values())


def _place_all(choice: Choice, *, emptiest_first: bool) -> tuple[Assignment, ...] | Shortfall:
    free = FreeMemory(choice.machine)
    assignments: list[Assignment] = []
    order = heaviest_first(choice)
    for position, name in enumerate(order):
        found = _place_one(choice, name, free, emptiest_first=emptiest_first)
        if found is None:
            waiting = tuple(
                choice.demand(other, choice.variants[other].divisions[0]) for other in order[position + 1 :]
            )
            misses = tuple(_misses(choice, name, free, emptiest_first=emptiest_first))
            return _shortfall(misses, assignments, waiting)
        assignments.append(found)
        for index in found.devices:
            free.take(index, choice.measure(found.demand.required))
        free.take_host(found.demand, choice.measure)
    return tuple(assignments)


def heaviest_first(choice: Choice) -> list[str]:
    """The order in which services are placed."""
    return sorted(choice.services, key=lambda name: _weight(name, choice))


def _weight(name: str, choice: Choice) -> tuple[bool, int, str]:
    """Services whose GPUs the spec names come first, then the heaviest; names settle ties."""
    return (
        not choice.services[name].gpus,
        -choice.measure(choice.demand(name, choice.variants[name].undivided).required),
        name,
    )


def divisions_of(choice: Choice, name: str) -> Iterator[Division]:
    """Every way to divide a service over devices alone, in the order in which they are tried."""
    variant, most = choice.variants[name], choice.most.get(name)
    for division in (*variant.divisions, *variant.fallbacks):
        if most is None or (division.gpus <= most.gpus and division.is_fallback <= most.is_fallback):
            yield division


def _divided(choice: Choice, name: str) -> Iterator[Demand]:
    """A service in each of these ways."""
    return (choice.demand(name, division) for division in divisions_of(choice, name))


def _place_one(choice: Choice, name: str, free: FreeMemory, *, emptiest_first: bool) -> Assignment | None:
    """The first way to divide it that fits."""
    for demand in _divided(choice, name):
        seat = _seat(choice, demand, free, emptiest_first=emptiest_first)
        if seat.has_room and not free.host_lacks(demand, choice.measure):
            return Assignment(demand, tuple(sorted(seat.indices)))
    offloaded = _first_offload(choice, name, free, emptiest_first=emptiest_first)
    if offloaded >= len(choice.offloaded(name)):
        return None
    demand = choice.demand(name, choice.offloaded(name)[offloaded])
    seat = _seat(choice, demand, free, emptiest_first=emptiest_first)
    if not seat.has_room or free.host_lacks(demand, choice.measure):
        return None
    return Assignment(demand, tuple(sorted(seat.indices)))


@dataclass(frozen=True, slots=True)
class _Seat:
    """The devices that a demand would get, of which the tightest has so many free bytes."""

    indices: tuple[int, ...]
    need: int
    tightest: int
    free: int

    @property
    def has_room(self) -> bool:
        return self.free >= self.need


def _seat(choice: Choice, demand: Demand, free: FreeMemory, *, emptiest_first: bool) -> _Seat:
    need = choice.measure(demand.required)
    indices = _indices(choice, demand, need, free, emptiest_first=emptiest_first)
    tightest = min(indices, key=lambda index: (free.bytes[index], index))
    return _Seat(indices, need, tightest, free.bytes[tightest])


def _first_offload(choice: Choice, name: str, free: FreeMemory, *, emptiest_first: bool) -> int:
    """The first way with parts in main memory whose devices have room, by halving; their number where none has.

    Main memory is left most by that one, so that none behind it fits there where it does not.
    """
    offloads = choice.offloaded(name)
    return bisect_left(
        range(len(offloads)),
        1,
        key=lambda at: int(
            _seat(choice, choice.demand(name, offloads[at]), free, emptiest_first=emptiest_first).has_room
        ),
    )


def _misses(choice: Choice, name: str, free: FreeMemory, *, emptiest_first: bool) -> Iterator[Miss]:
    """What each way lacked; with parts in main memory, the first with room on devices, or the last without."""
    offloads = choice.offloaded(name)
    first = _first_offload(choice, name, free, emptiest_first=emptiest_first)
    near = (choice.demand(name, division) for division in offloads[first : first + 1] or offloads[-1:])
    for demand in (*_divided(choice, name), *near):
        seat = _seat(choice, demand, free, emptiest_first=emptiest_first)
        if not seat.has_room or free.host is None:
            yield Miss(demand, seat.tightest, seat.free, seat.need - seat.free)
        else:
            yield Miss(demand, HOST, free.host, free.host_lacks(demand, choice.measure))


def _shortfall(misses: tuple[Miss, ...], placed: Iterable[Assignment], waiting: tuple[Demand, ...]) -> Shortfall:
    closest = min(misses, key=lambda miss: miss.short)
    if closest.device == HOST:
        before = tuple(assignment.demand for assignment in placed if assignment.demand.host is not None)
    else:
        before = tuple(assignment.demand for assignment in placed if closest.device in assignment.devices)
    return Shortfall(closest.demand, closest.device, closest.free, before, waiting, misses)


def _indices(choice: Choice, demand: Demand, need: int, free: FreeMemory, *, emptiest_first: bool) -> tuple[int, ...]:
    if choice.machine.nodes > 1:
        return tuple(_on_each_node(choice.machine, demand))
    if demand.terms.gpus:
        return demand.terms.gpus
    if emptiest_first:
        return free.emptiest(demand.division.gpus)
    return free.tightest(need, demand.division.gpus)


def _on_each_node(machine: Machine, demand: Demand) -> Iterator[int]:
    """As many devices of every node, which has nothing else on them: those that the spec names, or the first."""
    count = demand.division.gpus // machine.nodes
    own = demand.terms.gpus or tuple(range(count))
    for node in range(machine.nodes):
        yield from (node * machine.devices_each + index for index in own)
