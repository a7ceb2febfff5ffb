"""The ledger of `plan.json` as a type: every use of a device's memory."""

from __future__ import annotations

from pydantic import BaseModel

from compiler.ledger import Basis, RowKind


class Size(BaseModel):
    """Bytes, known to lie between two ends; exact where all three are equal.

    Attributes:
        low: at least.
        expected: most likely.
        high: at most; what does not fit then is an error.
    """

    low: int
    expected: int
    high: int


class Row(BaseModel):
    """One use of a device's memory by one server.

    Attributes:
        kind: what it is.
        title: what it is, for people.
        bytes: how much.
        basis: to the byte; to the byte if config.json is right; or within an interval.
        source: where the figure comes from.
    """

    kind: RowKind
    title: str
    bytes: Size
    basis: Basis
    source: str


class Server(BaseModel):
    """What one server takes of one device.

    Attributes:
        service: whose server.
        budget_bytes: what vLLM counts against `gpu_memory_utilization`.
        rows: in the order in which it takes the memory.
    """

    service: str
    budget_bytes: Size
    rows: list[Row]


class Memory(BaseModel):
    """Main memory beside GPUs, where it is counted.

    Attributes:
        total_bytes: as the spec has it.
        total_source: where that figure comes from.
        reserve_bytes: that the spec keeps free.
        used_bytes: everything taken, the reserve included.
        slack_bytes: left when every estimate is at its high end.
        servers: in start order.
    """

    total_bytes: int
    total_source: str
    reserve_bytes: int
    used_bytes: Size
    slack_bytes: int
    servers: list[Server]


class Device(BaseModel):
    """One GPU, or the memory of a CPU node.

    Attributes:
        index: on its node.
        total_bytes: as CUDA reports them.
        total_source: where that figure comes from.
        reserve_bytes: that the spec keeps free.
        used_bytes: everything taken, the reserve included.
        slack_bytes: left when every estimate is at its high end.
        servers: in start order.
    """

    index: int
    total_bytes: int
    total_source: str
    reserve_bytes: int
    used_bytes: Size
    slack_bytes: int
    servers: list[Server]
