"""What a device's memory is used for, as parts that lie side by side: the picture of a ledger, for every medium."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from compiler.ledger import HOST, DeviceLedger, RowKind, ServerLedger
from compiler.plan.ir import CpuNode, Plan


class PartKind(StrEnum):
    """What a part of the memory is for."""

    RESERVE = "reserve"
    WEIGHTS = "weights"
    KV_CACHE = "KV cache"
    OTHER = "other"
    MARGIN = "margin"
    FREE = "free"


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes that lie side by side; `service` is None for what no server takes."""

    kind: PartKind
    service: str | None
    bytes: int


@dataclass(frozen=True, slots=True)
class Share:
    """What one server takes of a device, in bytes; all expected, but `high`, which is the most it may take in all."""

    service: str
    weights: int
    kv_cache: int
    other: int
    high: int

    @property
    def expected(self) -> int:
        """All of it."""
        return self.weights + self.kv_cache + self.other


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """Devices of one node that are used alike, next to each other.

    Attributes:
        node: its name.
        indices: of the devices, ascending.
        is_cpu: whether it is the main memory of a machine without GPUs.
        total, reserve: bytes of each of them.
        shares: of its servers, in start order.
        ledger: of the first; the others' have the same rows.
    """

    node: str
    indices: tuple[int, ...]
    is_cpu: bool
    total: int
    reserve: int
    shares: tuple[Share, ...]
    ledger: DeviceLedger

    def serves(self, service: str) -> bool:
        """Whether a server takes any of it."""
        return any(share.service == service for share in self.shares)

    @property
    def label(self) -> str:
        """As messages name devices: `gpu01:0`, and `gpu01:0-3` for several."""
        if self.is_cpu:
            return self.node
        if self.indices == (HOST,):
            return f"{self.node} memory"
        first, last = self.indices[0], self.indices[-1]
        return f"{self.node}:{first}" if first == last else f"{self.node}:{first}-{last}"

    @property
    def left_expected(self) -> int:
        """Bytes that are likely to be free."""
        return self.total - self.reserve - sum(share.expected for share in self.shares)

    @property
    def left(self) -> int:
        """Bytes that are free even if every estimate is at its high end; negative if it would not fit then."""
        return self.total - self.reserve - sum(share.high for share in self.shares)

    @property
    def parts(self) -> tuple[Part, ...]:
        """From the first byte to the last: together they are `total`.

        The margin is what estimates may take beyond what is expected.
        """
        free = max(0, self.left)
        margin = Part(PartKind.MARGIN, None, max(0, self.left_expected - free))
        return (
            Part(PartKind.RESERVE, None, self.reserve),
            *(part for share in self.shares for part in _parts_of(share)),
            margin,
            Part(PartKind.FREE, None, free),
        )


def _parts_of(share: Share) -> Iterator[Part]:
    yield Part(PartKind.WEIGHTS, share.service, share.weights)
    yield Part(PartKind.KV_CACHE, share.service, share.kv_cache)
    yield Part(PartKind.OTHER, share.service, share.other)


def device_uses(plan: Plan) -> tuple[DeviceUse, ...]:
    """Of a node's devices, by index; neighbours that are used alike are one."""
    return tuple(_use(plan, tuple(alike)) for _, alike in groupby(plan.ledgers, key=_content))


def _content(device: DeviceLedger) -> object:
    return device.index == HOST, device.total, device.reserve, device.servers


def _use(plan: Plan, alike: tuple[DeviceLedger, ...]) -> DeviceUse:
    first = alike[0]
    return DeviceUse(
        node=plan.node.name,
        indices=tuple(device.index for device in alike),
        is_cpu=isinstance(plan.node, CpuNode),
        total=first.total,
        reserve=first.reserve,
        shares=tuple(map(_share, first.servers)),
        ledger=first,
    )


def _share(server: ServerLedger) -> Share:
    weights = _expected(server, {RowKind.WEIGHTS})
    kv_cache = _expected(server, {RowKind.KV_CACHE})
    other = _expected(server, set(RowKind) - {RowKind.WEIGHTS, RowKind.KV_CACHE})
    return Share(server.service, weights, kv_cache, other, server.bytes.high)


def _expected(server: ServerLedger, kinds: Iterable[RowKind]) -> int:
    return sum(row.bytes.expected for row in server.rows if row.kind in kinds)
