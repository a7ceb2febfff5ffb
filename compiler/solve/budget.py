"""Turn a placement into budgets: start order, leftover memory to KV caches, ledgers, utilization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from compiler.catalog.hardware.gpus import shares_memory
from compiler.engines.interface.demand import Demand, Rank
from compiler.engines.interface.device import Device, Machine
from compiler.ledger import HOST, DeviceLedger, LedgerRow, RowKind, ServerLedger, Verdict
from compiler.solve.place import Assignment, Choice, Measure
from compiler.units import ByteRange

# Left free on every device when leftover memory becomes KV cache: the allocator's fragmentation has no formula.
HEADROOM_PERMILLE = 20

UTILIZATION_STEPS = 10_000

_NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class Server:
    """A placed service with its KV cache and its share of the device's total.

    Attributes:
        units: on every rank.
        start_after: services that must be ready before this one starts.
        utilization: in 1/UTILIZATION_STEPS, rounded down: who checks it as it starts asks for no more than is free.
        nodes: of a server that spans several, all of them, the one that answers first; `devices` are one node's.
    """

    demand: Demand
    devices: tuple[int, ...]
    units: int
    start_after: tuple[str, ...]
    utilization: int
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Solution:
    """A stack that fits. Servers are in start order.

    Attributes:
        host: of main memory beside GPUs; None where nobody counts it.
    """

    servers: tuple[Server, ...]
    ledgers: tuple[DeviceLedger, ...]
    verdict: Verdict
    host: DeviceLedger | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """One rank on its device."""

    demand: Demand
    rank: Rank


@dataclass(frozen=True, slots=True)
class Placed:
    """A placement.

    Attributes:
        assignments: in start order.
        tenants: for each device, in start order.
    """

    assignments: tuple[Assignment, ...]
    devices: tuple[Device, ...]
    tenants: tuple[tuple[Tenant, ...], ...]
    measure: Measure


def budget(assignments: Iterable[Assignment], choice: Choice, verdict: Verdict) -> Solution:
    """Size every KV cache, then the ledgers and utilizations that follow."""
    placed = _placed(tuple(sorted(assignments, key=start_order)), choice)
    units = _cache_units(placed)
    ledgers = tuple(_ledger(index, placed, units) for index in range(len(placed.devices)))
    budgets = {
        (ledger.index, server.service): placed.measure(server.budget) * UTILIZATION_STEPS // ledger.total
        for ledger in ledgers
        for server in ledger.servers
    }
    earlier = _earlier(placed)
    servers = tuple(
        Server(
            demand=assignment.demand,
            devices=assignment.devices,
            units=units[assignment.demand.service],
            start_after=earlier[assignment.demand.service],
            # One number serves all ranks, and the start-up check of each must pass.
            utilization=max(1, min(budgets.get((index, assignment.demand.service), 0) for index in assignment.devices)),
        )
        for assignment in placed.assignments
    )
    return Solution(servers, ledgers, verdict, _host_ledger(placed, choice.machine.host))


def unused(machine: Machine) -> Solution:
    """Of devices on which nothing runs."""
    ledgers = tuple(_empty(index, device) for index, device in enumerate(machine.devices))
    return Solution((), ledgers, Verdict.FITS, None if machine.host is None else _empty(HOST, machine.host))


def _empty(index: int, device: Device) -> DeviceLedger:
    return DeviceLedger(index, device.total, device.total_source, device.reserve, ())


def _placed(assignments: tuple[Assignment, ...], choice: Choice) -> Placed:
    tenants: list[list[Tenant]] = [[] for _ in choice.machine.devices]
    for assignment in assignments:
        devices = assignment.devices if is_on_devices(assignment.demand) else ()
        for position, index in enumerate(devices):
            tenants[index].append(Tenant(assignment.demand, assignment.demand.rank_at(position)))
    return Placed(assignments, choice.machine.devices, tuple(map(tuple, tenants)), choice.measure)


def cache_units(assignments: Iterable[Assignment], choice: Choice) -> dict[str, int]:
    """Of every service's KV cache, on each of its devices."""
    return _cache_units(_placed(tuple(sorted(assignments, key=start_order)), choice))


def start_order(placed: Assignment | Server) -> tuple[int, str]:
    """Largest weights first: it takes longest to load, and finds the least fragmented device."""
    demand = placed.demand
    parts = demand.ranks if is_on_devices(demand) or demand.host is None else (demand.host,)
    rows = (row for rank in parts for row in rank.rows if row.kind is RowKind.WEIGHTS)
    return -max(row.bytes.high for row in rows), demand.service


def is_on_devices(demand: Demand) -> bool:
    """Whether it takes anything of the devices that it was given; all of it may lie in main memory beside them."""
    return demand.required.high > 0


def _earlier(placed: Placed) -> dict[str, tuple[str, ...]]:
    """For each service, the last earlier one on each of its devices; the ones before it are ready by then."""
    last: dict[int, str] = {}
    found: dict[str, tuple[str, ...]] = {}
    for assignment in placed.assignments:
        devices = assignment.devices if is_on_devices(assignment.demand) else ()
        found[assignment.demand.service] = tuple(dict.fromkeys(last[index] for index in devices if index in last))
        last.update(dict.fromkeys(devices, assignment.demand.service))
    return found


def _cache_units(placed: Placed) -> dict[str, int]:
    """Required units first, then leftover memory by `share`: for all requests at their longest, then for prefixes."""
    units = {a.demand.service: a.demand.least_units for a in placed.assignments}
    growing = [a for a in placed.assignments if a.demand.terms.share > 0]
    requests = {a.demand.service: a.demand.useful_units for a in growing}
    _divide(growing, _left(placed, placed.measure, units), requests, units)
    # No promise needs prefixes: they get what is proven to be free, and nothing of a memory that the system uses too.
    if not any(_is_the_systems(device) for device in placed.devices):
        keeping = [a for a in growing if a.demand.keeps_prefixes]
        _divide(keeping, _left(placed, _high, units), dict.fromkeys(requests, _NO_LIMIT), units)
    return units


def _divide(
    growing: list[Assignment], left: list[int], limits: Mapping[str, int], units: dict[str, int]
) -> None:  # fmt: skip
    """Add units by `share` of what is left on each device, in rounds until nobody can use more."""
    while growing:
        shares = [0] * len(left)
        for assignment in growing:
            for index in assignment.devices:
                shares[index] += assignment.demand.terms.share
        gains = [
            _gain(assignment, left, shares, limits[assignment.demand.service] - units[assignment.demand.service])
            for assignment in growing
        ]
        for assignment, gain in zip(growing, gains, strict=True):
            units[assignment.demand.service] += gain
            for position, index in enumerate(assignment.devices):
                left[index] -= gain * assignment.demand.rank_at(position).unit_bytes
        growing = [
            assignment
            for assignment, gain in zip(growing, gains, strict=True)
            if gain and units[assignment.demand.service] < limits[assignment.demand.service]
        ]


def _by_device(placed: Placed) -> Iterable[tuple[Device, tuple[Tenant, ...]]]:
    return zip(placed.devices, placed.tenants, strict=True)


def _left(placed: Placed, measure: Measure, units: Mapping[str, int]) -> list[int]:
    """Bytes of each device that nobody has yet."""
    return [_left_for_kv(device, here, measure, units) for device, here in _by_device(placed)]


def _left_for_kv(device: Device, here: Iterable[Tenant], measure: Measure, units: Mapping[str, int]) -> int:
    """What nobody asked for is taken from a memory that the CPU uses too only where it is proven to be free."""
    counted = _high if shares_memory(device.capability) else measure
    used = sum(
        counted(tenant.rank.fixed)
        + sum(counted(row.bytes) for row in tenant.rank.cache_rows(units[tenant.demand.service]))
        for tenant in here
    )
    return device.usable - used - device.total * HEADROOM_PERMILLE // 1000


def _is_the_systems(device: Device) -> bool:
    """Whether other programs, and files that are read, use the same memory: of CPUs, and of GPUs without their own."""
    return device.capability is None or shares_memory(device.capability)


def _high(size: ByteRange) -> int:
    return size.high


def _gain(assignment: Assignment, left: list[int], shares: list[int], most: int) -> int:
    """Blocks that a service may add in this round, `most` at most: its share of what is left on its fullest device."""
    demand = assignment.demand
    offers = [most]
    for position, index in enumerate(assignment.devices):
        size = demand.rank_at(position).unit_bytes
        if size:  # a rank may have no cache of its own
            offers.append(left[index] * demand.terms.share // shares[index] // size)
    return max(0, min(offers))


def _cache_rows(tenant: Tenant, units: int) -> tuple[LedgerRow, ...]:
    needed = max(tenant.demand.useful_units, tenant.demand.least_units)
    return tenant.rank.cache_rows(units, prefixes=max(0, units - needed))


def _ledger(index: int, placed: Placed, units: Mapping[str, int]) -> DeviceLedger:
    device = placed.devices[index]
    servers = tuple(
        ServerLedger(tenant.demand.service, (*tenant.rank.rows, *_cache_rows(tenant, units[tenant.demand.service])))
        for tenant in placed.tenants[index]
    )
    return DeviceLedger(index, device.total, device.total_source, device.reserve, servers)


def _host_ledger(placed: Placed, host: Device | None) -> DeviceLedger | None:
    if host is None:
        return None
    demands = [assignment.demand for assignment in placed.assignments]
    servers = tuple(
        ServerLedger(demand.service, (*demand.host.rows, *demand.host.cache_rows(demand.least_units)))
        for demand in demands
        if demand.host is not None
    )
    return DeviceLedger(HOST, host.total, host.total_source, host.reserve, servers)
