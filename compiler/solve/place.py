"""Put services on devices. Deterministic, and greedy: heaviest service first, on the emptiest devices that take it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from compiler.solve.demand import Demand, Setting, demand_of
from compiler.solve.variants import Variant
from compiler.spec.models import ServiceSpec
from compiler.units import ByteRange

# How the bytes of an interval are counted: by their high end for a proof, by the expected value for the margin.
Measure = Callable[[ByteRange], int]


@dataclass(frozen=True, slots=True)
class Assignment:
    """A service on its devices, by index."""

    demand: Demand
    devices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A service that found no place.

    Attributes:
        demand: the one that came closest to fitting.
        device: the index where it came closest.
        free: bytes left there by the services placed before.
        before: those services on that device.
        after: services that were not placed yet, each as one rank.
    """

    demand: Demand
    device: int
    free: int
    before: tuple[Demand, ...]
    after: tuple[Demand, ...] = ()

    def short(self, measure: Measure) -> int:
        """Bytes that are missing."""
        return measure(self.demand.required) - self.free


@dataclass(slots=True)
class _State:
    free: list[int]
    assignments: list[Assignment]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is placed: every service with its variant, the setting they share, and how bytes are counted.

    Attributes:
        known: demands that were worked out already, by service, variant and degree. They belong to one setting; choices
            that differ in variants only share them.
    """

    services: Mapping[str, ServiceSpec]
    variants: Mapping[str, Variant]
    setting: Setting
    measure: Measure
    known: dict[tuple[str, str, int], Demand] = field(default_factory=dict, compare=False, repr=False)

    def demand(self, name: str, degree: int) -> Demand:
        """The demand of a service on each of `degree` devices."""
        variant = self.variants[name]
        key = (name, variant.name, degree)
        if key not in self.known:
            self.known[key] = demand_of(name, self.services[name], variant, self.setting, degree)
        return self.known[key]

    def exchanged(self, variants: Mapping[str, Variant]) -> Choice:
        """The same with other variants."""
        return replace(self, variants=variants)

    def seating(self, max_num_seqs: int) -> Choice:
        """The same with another limit of sequences where the spec has none."""
        return replace(self, setting=replace(self.setting, max_num_seqs=max_num_seqs), known={})


def place(choice: Choice) -> tuple[Assignment, ...] | Shortfall:
    """Place every service with its smallest KV cache, or say which one found no place.

    Spreading is tried first because it leaves each service the most KV cache; packing second.
    """
    spread = _place_all(choice, emptiest_first=True)
    if isinstance(spread, tuple):
        return spread
    packed = _place_all(choice, emptiest_first=False)
    return packed if isinstance(packed, tuple) else spread


def _place_all(choice: Choice, *, emptiest_first: bool) -> tuple[Assignment, ...] | Shortfall:
    state = _State([device.usable for device in choice.setting.devices], [])
    order = sorted(choice.services, key=lambda name: _weight(name, choice))
    for position, name in enumerate(order):
        found = _place_one(choice, _demands(name, choice), state, emptiest_first=emptiest_first)
        if isinstance(found, Shortfall):
            return replace(found, after=tuple(_demands(other, choice)[0] for other in order[position + 1 :]))
        state.assignments.append(found)
        for index in found.devices:
            state.free[index] -= choice.measure(found.demand.required)
    return tuple(state.assignments)


def _weight(name: str, choice: Choice) -> tuple[bool, int, str]:
    """Services whose GPUs the spec names come first, then the heaviest; names settle ties."""
    return not choice.services[name].gpus, -choice.measure(choice.demand(name, 1).required), name


def _demands(name: str, choice: Choice) -> tuple[Demand, ...]:
    return tuple(choice.demand(name, degree) for degree in choice.variants[name].degrees)


def _place_one(
    choice: Choice, demands: Sequence[Demand], state: _State, *, emptiest_first: bool
) -> Assignment | Shortfall:
    """The first degree that fits; else the one that comes closest."""
    shortfalls: list[Shortfall] = []
    for demand in demands:
        need = choice.measure(demand.required)
        indices = _indices(choice.services[demand.service], demand, need, state, emptiest_first=emptiest_first)
        tightest = min(indices, key=lambda index: (state.free[index], index))
        if state.free[tightest] >= need:
            return Assignment(demand, tuple(sorted(indices)))
        before = tuple(a.demand for a in state.assignments if tightest in a.devices)
        shortfalls.append(Shortfall(demand, tightest, state.free[tightest], before))
    return min(shortfalls, key=lambda shortfall: shortfall.short(choice.measure))


def _indices(
    service: ServiceSpec, demand: Demand, need: int, state: _State, *, emptiest_first: bool
) -> tuple[int, ...]:
    if service.gpus:
        return service.gpus
    degree = demand.shape.tensor_parallel_size
    by_free = sorted(range(len(state.free)), key=lambda index: (-state.free[index], index))
    if emptiest_first:
        return tuple(by_free[:degree])
    fitting = [index for index in reversed(by_free) if state.free[index] >= need]
    return tuple(fitting[:degree]) if len(fitting) >= degree else tuple(by_free[:degree])
