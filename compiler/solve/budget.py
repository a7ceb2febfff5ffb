"""Turn a placement into budgets: start order, leftover memory to KV caches, ledgers, utilization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from compiler.memory.ledger import DeviceLedger, RowKind, ServerLedger, Verdict
from compiler.solve.demand import Demand, Device
from compiler.solve.place import Assignment, Choice, Measure
from compiler.spec.models import ServiceSpec

# Left free on every device when leftover memory becomes KV cache: the allocator's fragmentation has no formula.
HEADROOM_PERMILLE = 20

UTILIZATION_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Server:
    """A placed service with its KV cache and its share of the device's total.

    Attributes:
        start_after: services that must be ready before this one starts.
        utilization: in 1/UTILIZATION_STEPS, rounded down, so that vLLM's start-up check asks for no more than is free.
    """

    demand: Demand
    devices: tuple[int, ...]
    blocks: int
    start_after: tuple[str, ...]
    utilization: int


@dataclass(frozen=True, slots=True)
class Solution:
    """A stack that fits. Servers are in start order."""

    servers: tuple[Server, ...]
    ledgers: tuple[DeviceLedger, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Placed:
    """A placement and the choice it was made for. Assignments are in start order."""

    assignments: tuple[Assignment, ...]
    choice: Choice

    @property
    def services(self) -> Mapping[str, ServiceSpec]:
        """The services of the spec."""
        return self.choice.services

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices of the node."""
        return self.choice.setting.devices

    @property
    def measure(self) -> Measure:
        """How bytes are counted."""
        return self.choice.measure

    def on(self, device: int) -> tuple[Assignment, ...]:
        """Assignments that use a device."""
        return tuple(assignment for assignment in self.assignments if device in assignment.devices)


def budget(assignments: Iterable[Assignment], choice: Choice, verdict: Verdict) -> Solution:
    """Size every KV cache, then the ledgers and utilizations that follow."""
    placement = Placed(tuple(sorted(assignments, key=_start_order)), choice)
    blocks = _kv_blocks(placement)
    ledgers = tuple(_ledger(index, placement, blocks) for index in range(len(placement.devices)))
    servers = tuple(
        Server(
            demand=assignment.demand,
            devices=assignment.devices,
            blocks=blocks[assignment.demand.service],
            start_after=_start_after(assignment, placement.assignments[:position]),
            utilization=_utilization(assignment, ledgers, placement.measure),
        )
        for position, assignment in enumerate(placement.assignments)
    )
    return Solution(servers, ledgers, verdict)


def _start_order(assignment: Assignment) -> tuple[int, str]:
    """Largest weights first: it takes longest to load, and finds the least fragmented device."""
    weights = next(row for row in assignment.demand.rows if row.kind is RowKind.WEIGHTS)
    return -weights.bytes.high, assignment.demand.service


def _start_after(assignment: Assignment, earlier: Sequence[Assignment]) -> tuple[str, ...]:
    """The last earlier service on each of its devices; the ones before it are ready by then."""
    names: list[str] = []
    for device in assignment.devices:
        sharing = [other.demand.service for other in earlier if device in other.devices]
        names.extend(sharing[-1:])
    return tuple(dict.fromkeys(names))


def _kv_blocks(placement: Placed) -> dict[str, int]:
    """Required blocks first, then leftover memory by `share`, in rounds until nobody can use more."""
    blocks = {a.demand.service: a.demand.required_blocks for a in placement.assignments}
    growing = [a for a in placement.assignments if placement.services[a.demand.service].share > 0]
    while growing:
        gains = {a.demand.service: _gain(a, growing, placement, blocks) for a in growing}
        for name, gain in gains.items():
            blocks[name] += gain
        growing = [a for a in growing if gains[a.demand.service] and blocks[a.demand.service] < a.demand.useful_blocks]
    return blocks


def _gain(assignment: Assignment, growing: Sequence[Assignment], placement: Placed, blocks: Mapping[str, int]) -> int:
    """Blocks that this service may add in this round: its share of what is left on its fullest device."""
    demand, services = assignment.demand, placement.services
    offers = [demand.useful_blocks - blocks[demand.service]]
    for index in assignment.devices:
        shares = sum(services[a.demand.service].share for a in growing if index in a.devices)
        offer = _left_for_kv(index, placement, blocks) * services[demand.service].share // shares
        offers.append(offer // demand.layout.bytes_per_block)
    return max(0, min(offers))


def _left_for_kv(index: int, placement: Placed, blocks: Mapping[str, int]) -> int:
    device, here = placement.devices[index], [a.demand for a in placement.on(index)]
    used = sum(placement.measure(d.fixed) + blocks[d.service] * d.layout.bytes_per_block for d in here)
    return device.usable - used - device.total * HEADROOM_PERMILLE // 1000


def _ledger(index: int, placement: Placed, blocks: Mapping[str, int]) -> DeviceLedger:
    device = placement.devices[index]
    servers = tuple(
        ServerLedger(a.demand.service, (*a.demand.rows, a.demand.kv_row(blocks[a.demand.service])))
        for a in placement.on(index)
    )
    return DeviceLedger(index, device.total, device.total_source, device.reserve, servers)


def _utilization(assignment: Assignment, ledgers: Sequence[DeviceLedger], measure: Measure) -> int:
    ledger = ledgers[assignment.devices[0]]
    server = next(server for server in ledger.servers if server.service == assignment.demand.service)
    return max(1, measure(server.budget) * UTILIZATION_STEPS // ledger.total)
