"""The ledger: every use of a device's memory in bytes, with its source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from compiler.units import ByteRange, total


class Basis(StrEnum):
    """How a figure is known: to the byte; to the byte if config.json is right; within an interval."""

    EXACT = "exact"
    DERIVED = "derived"
    ESTIMATE = "estimate"


ASSUMED = "assumed: full attention in every layer, an upper bound"
"""What the source of a row says where the architecture has no formulas."""


DRAFT_WEIGHTS = "weights of the draft"
"""How the title of a row begins that is of a second model, which guesses tokens for the first."""


class RowKind(StrEnum):
    """A row of a server's ledger, in the order in which the memory is taken."""

    OUTSIDE = "outside"
    WEIGHTS = "weights"
    BUFFERS = "buffers"
    ACTIVATION = "activation"
    NON_TORCH = "non_torch"
    CUDA_GRAPHS = "cuda_graphs"
    KV_CACHE = "kv_cache"
    PROCESS = "process"


class Verdict(StrEnum):
    """What the ledger proves: at the high end of every interval, only at the expected values, or not at all."""

    FITS = "fits"
    MARGIN = "fits, within the margin of error"
    UNFIT = "does not fit"


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One use of a device's memory by one server. `source` says where the figure comes from."""

    kind: RowKind
    title: str
    bytes: ByteRange
    basis: Basis
    source: str

    def as_assumed(self) -> LedgerRow:
        """The same of a model that is only bounded from above."""
        return replace(self, basis=Basis.ESTIMATE, source=f"{ASSUMED}; {self.source}")


@dataclass(frozen=True, slots=True)
class ServerLedger:
    """What one server takes of one device, rows in the order in which it takes it."""

    service: str
    rows: tuple[LedgerRow, ...]

    @property
    def bytes(self) -> ByteRange:
        """All of it, inside and outside vLLM's own budget."""
        return total(row.bytes for row in self.rows)

    @property
    def budget(self) -> ByteRange:
        """What vLLM counts against `total × gpu_memory_utilization`."""
        return total(row.bytes for row in self.rows if row.kind is not RowKind.OUTSIDE)


HOST = -1
"""In place of a device's index: main memory beside GPUs."""


@dataclass(frozen=True, slots=True)
class DeviceLedger:
    """One GPU, or the memory of a CPU node. Servers are in start order; `slack` is what is left at the high end."""

    index: int
    total: int
    total_source: str
    reserve: int
    servers: tuple[ServerLedger, ...]

    @property
    def used(self) -> ByteRange:
        """Everything taken, the reserve included."""
        return ByteRange.exact(self.reserve) + total(server.bytes for server in self.servers)

    @property
    def slack(self) -> int:
        """Bytes left when every estimate is at its high end; negative if they would not fit then."""
        return self.total - self.used.high
