"""Turn a placement into budgets: start order, leftover memory to KV caches, ledgers, utilization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from compiler.catalog.hardware.gpus import shares_memory
from compiler.engines.vllm.demand import Demand, Device, Stage
from compiler.ledger import DeviceLedger, LedgerRow, RowKind, ServerLedger, Verdict
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
        blocks: on every rank.
        start_after: services that must be ready before this one starts.
        utilization: in 1/UTILIZATION_STEPS, rounded down, so that vLLM's start-up check asks for no more than is free.
    """

    demand: Demand
    devices: tuple[int, ...]
    blocks: int
    start_after: tuple[str, ...]
    utilization: int

    @property
    def kv_bytes(self) -> int:
        """For `--kv-cache-memory-bytes`: with it the rank with the largest blocks has just enough of them."""
        return self.blocks * self.demand.layout.bytes_per_block


@dataclass(frozen=True, slots=True)
class Solution:
    """A stack that fits. Servers are in start order."""

    servers: tuple[Server, ...]
    ledgers: tuple[DeviceLedger, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Tenant:
    """One rank on its device."""

    demand: Demand
    stage: Stage


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
    placed = _placed(tuple(sorted(assignments, key=_start_order)), choice)
    blocks = _kv_blocks(placed)
    ledgers = tuple(_ledger(index, placed, blocks) for index in range(len(placed.devices)))
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
            blocks=blocks[assignment.demand.service],
            start_after=earlier[assignment.demand.service],
            # One number serves all ranks, and the start-up check of each must pass.
            utilization=max(1, min(budgets[index, assignment.demand.service] for index in assignment.devices)),
        )
        for assignment in placed.assignments
    )
    return Solution(servers, ledgers, verdict)


def _placed(assignments: tuple[Assignment, ...], choice: Choice) -> Placed:
    tenants: list[list[Tenant]] = [[] for _ in choice.setting.devices]
    for assignment in assignments:
        for position, index in enumerate(assignment.devices):
            tenants[index].append(Tenant(assignment.demand, assignment.demand.stage_at(position)))
    return Placed(assignments, choice.setting.devices, tuple(map(tuple, tenants)), choice.measure)


def _start_order(assignment: Assignment) -> tuple[int, str]:
    """Largest weights first: it takes longest to load, and finds the least fragmented device."""
    rows = (row for stage in assignment.demand.stages for row in stage.rows if row.kind is RowKind.WEIGHTS)
    return -max(row.bytes.high for row in rows), assignment.demand.service


def _earlier(placed: Placed) -> dict[str, tuple[str, ...]]:
    """For each service, the last earlier one on each of its devices; the ones before it are ready by then."""
    last: dict[int, str] = {}
    found: dict[str, tuple[str, ...]] = {}
    for assignment in placed.assignments:
        names = (last[index] for index in assignment.devices if index in last)
        found[assignment.demand.service] = tuple(dict.fromkeys(names))
        last.update(dict.fromkeys(assignment.devices, assignment.demand.service))
    return found


def _kv_blocks(placed: Placed) -> dict[str, int]:
    """Required blocks first, then leftover memory by `share`: for all requests at their longest, then for prefixes."""
    blocks = {a.demand.service: a.demand.required_blocks for a in placed.assignments}
    growing = [a for a in placed.assignments if a.demand.terms.share > 0]
    requests = {a.demand.service: a.demand.useful_blocks for a in growing}
    _divide(growing, _left(placed, placed.measure, blocks), requests, blocks)
    # No promise needs prefixes: they get what is proven to be free, and nothing of a memory that the system uses too.
    if not any(_is_the_systems(device) for device in placed.devices):
        keeping = [a for a in growing if a.demand.keeps_prefixes]
        _divide(keeping, _left(placed, _high, blocks), dict.fromkeys(requests, _NO_LIMIT), blocks)
    return blocks


def _divide(
    growing: list[Assignment], left: list[int], limits: Mapping[str, int], blocks: dict[str, int]
) -> None:  # fmt: skip
    """Add blocks by `share` of what is left on each device, in rounds until nobody can use more."""
    while growing:
        shares = [0] * len(left)
        for assignment in growing:
            for index in assignment.devices:
                shares[index] += assignment.demand.terms.share
        gains = [
            _gain(assignment, left, shares, limits[assignment.demand.service] - blocks[assignment.demand.service])
            for assignment in growing
        ]
        for assignment, gain in zip(growing, gains, strict=True):
            blocks[assignment.demand.service] += gain
            for position, index in enumerate(assignment.devices):
                left[index] -= gain * assignment.demand.stage_at(position).layout.bytes_per_block
        growing = [
            assignment
            for assignment, gain in zip(growing, gains, strict=True)
            if gain and blocks[assignment.demand.service] < limits[assignment.demand.service]
        ]


def _by_device(placed: Placed) -> Iterable[tuple[Device, tuple[Tenant, ...]]]:
    return zip(placed.devices, placed.tenants, strict=True)


def _left(placed: Placed, measure: Measure, blocks: Mapping[str, int]) -> list[int]:
    """Bytes of each device that nobody has yet."""
    return [_left_for_kv(device, here, measure, blocks) for device, here in _by_device(placed)]


def _left_for_kv(device: Device, here: Iterable[Tenant], measure: Measure, blocks: Mapping[str, int]) -> int:
    """What nobody asked for is taken from a memory that the CPU uses too only where it is proven to be free."""
    counted = _high if shares_memory(device.capability) else measure
    used = sum(
        counted(tenant.stage.fixed)
        + sum(counted(row.bytes) for row in tenant.stage.cache_rows(blocks[tenant.demand.service]))
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
        size = demand.stage_at(position).layout.bytes_per_block
        if size:  # a stage may have no cache of its own
            offers.append(left[index] * demand.terms.share // shares[index] // size)
    return max(0, min(offers))


def _cache_rows(tenant: Tenant, blocks: int) -> tuple[LedgerRow, ...]:
    needed = max(tenant.demand.useful_blocks, tenant.demand.required_blocks)
    return tenant.stage.cache_rows(blocks, prefixes=max(0, blocks - needed))


def _ledger(index: int, placed: Placed, blocks: Mapping[str, int]) -> DeviceLedger:
    device = placed.devices[index]
    servers = tuple(
        ServerLedger(tenant.demand.service, (*tenant.stage.rows, *_cache_rows(tenant, blocks[tenant.demand.service])))
        for tenant in placed.tenants[index]
    )
    return DeviceLedger(index, device.total, device.total_source, device.reserve, servers)
