"""Put services on devices. Deterministic, and greedy: heaviest service first, on the emptiest devices that take it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from compiler.catalog.releases import Release
from compiler.memory.weights import SplitError, check_split
from compiler.solve.demand import Demand, Device, demand_of
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
    """

    demand: Demand
    device: int
    free: int
    before: tuple[Demand, ...]


@dataclass(frozen=True, slots=True)
class NoSplit:
    """A service for which no number of GPUs that it may use is legal."""

    service: str
    reasons: tuple[str, ...]


@dataclass(slots=True)
class _State:
    free: list[int]
    assignments: list[Assignment]


def place(
    services: Mapping[str, ServiceSpec],
    chosen: Mapping[str, Variant],
    *,
    release: Release,
    devices: Sequence[Device],
    measure: Measure,
) -> tuple[Assignment, ...] | Shortfall | NoSplit:
    """Place every service with its smallest KV cache, or say which one found no place.

    Spreading is tried first because it leaves each service the most KV cache; packing second.
    """
    first: Shortfall | NoSplit | None = None
    for emptiest_first in (True, False):
        found = _place_all(services, chosen, release, devices, measure, emptiest_first=emptiest_first)
        if isinstance(found, tuple):
            return found
        first = first or found
    assert first is not None  # noqa: S101  the loop runs twice
    return first


def _place_all(
    services: Mapping[str, ServiceSpec],
    chosen: Mapping[str, Variant],
    release: Release,
    devices: Sequence[Device],
    measure: Measure,
    *,
    emptiest_first: bool,
) -> tuple[Assignment, ...] | Shortfall | NoSplit:
    state = _State([device.usable for device in devices], [])
    for name in _order(services, chosen, release, devices, measure):
        options = _demands(name, services[name], chosen[name], release, devices)
        if isinstance(options, NoSplit):
            return options
        found = _place_one(services[name], options, state, measure, emptiest_first=emptiest_first)
        if isinstance(found, Shortfall):
            return found
        state.assignments.append(found)
        for index in found.devices:
            state.free[index] -= measure(found.demand.required)
    return tuple(state.assignments)


def _order(
    services: Mapping[str, ServiceSpec],
    chosen: Mapping[str, Variant],
    release: Release,
    devices: Sequence[Device],
    measure: Measure,
) -> list[str]:
    """Services whose GPUs the spec names first, then heaviest first; names settle ties."""

    def weight(name: str) -> tuple[bool, int, str]:
        whole = demand_of(name, services[name], chosen[name], release=release, device=devices[0], degree=1)
        return not services[name].gpus, -measure(whole.required), name

    return sorted(services, key=weight)


def _demands(
    name: str, service: ServiceSpec, variant: Variant, release: Release, devices: Sequence[Device]
) -> tuple[Demand, ...] | NoSplit:
    demands: list[Demand] = []
    reasons: list[str] = []
    for degree in _degrees(service, len(devices)):
        try:
            check_split(variant.architecture, variant.packing, degree)
        except SplitError as error:
            reasons.append(f"over {degree}: {error}")
            continue
        demands.append(demand_of(name, service, variant, release=release, device=devices[0], degree=degree))
    return tuple(demands) or NoSplit(name, tuple(reasons))


def _degrees(service: ServiceSpec, count: int) -> tuple[int, ...]:
    if service.gpus:
        return (len(service.gpus),)
    if service.tensor_parallel_size is not None:
        return (service.tensor_parallel_size,)
    return tuple(range(1, count + 1))


def _place_one(
    service: ServiceSpec, demands: Sequence[Demand], state: _State, measure: Measure, *, emptiest_first: bool
) -> Assignment | Shortfall:
    best: Shortfall | None = None
    for demand in demands:
        need = measure(demand.required)
        degree = demand.shape.tensor_parallel_size
        indices = _candidates(service, state, need, degree, emptiest_first=emptiest_first)
        if all(state.free[index] >= need for index in indices):
            return Assignment(demand, tuple(sorted(indices)))
        tightest = min(indices, key=lambda index: (state.free[index], index))
        before = tuple(a.demand for a in state.assignments if tightest in a.devices)
        shortfall = Shortfall(demand, tightest, state.free[tightest], before)
        if best is None or need - shortfall.free < measure(best.demand.required) - best.free:
            best = shortfall
    assert best is not None  # noqa: S101  there is at least one degree
    return best


def _candidates(
    service: ServiceSpec, state: _State, need: int, degree: int, *, emptiest_first: bool
) -> tuple[int, ...]:
    if service.gpus:
        return service.gpus
    by_free = sorted(range(len(state.free)), key=lambda index: (-state.free[index], index))
    if emptiest_first:
        return tuple(by_free[:degree])
    fitting = [index for index in reversed(by_free) if state.free[index] >= need]
    return tuple(fitting[:degree]) if len(fitting) >= degree else tuple(by_free[:degree])
