"""One start of `llama-server`, as its log has it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class BufferKind(StrEnum):
    """What a buffer is for, as the log names it; what it names otherwise is `other`."""

    MODEL = "model"
    KV = "KV"
    RECURRENT = "RS"
    OUTPUT = "output"
    COMPUTE = "compute"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Buffer:
    """One buffer.

    Attributes:
        device: as llama.cpp names it: CUDA0, CUDA_Host, CPU, CPU_Mapped, CPU_REPACK.
        hundredths: of a MiB, rounded as printed; see `hundredths_of`.
    """

    device: str
    kind: BufferKind
    hundredths: int


@dataclass(frozen=True, slots=True)
class Cache:
    """One KV cache: a model with a sliding window has two. `streams` of `sequences` have cells of their own."""

    hundredths: int
    cells: int
    layers: int
    sequences: int
    streams: int
    type_k: str
    type_v: str


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """A row of the memory breakdown, in whole MiB. The host's has no total, no free and no unaccounted memory."""

    device: str
    model: int
    context: int
    compute: int
    total: int | None = None
    free: int | None = None
    unaccounted: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Memory that a device did not give.

    Attributes:
        size: in bytes; where the log says MiB alone, rounded to its hundredths.
    """

    device: str
    size: int


@dataclass(frozen=True, slots=True)
class StartupLog:
    """The last start in a log. What the log does not say is None or empty.

    Attributes:
        model: its name as its header has it.
        build: the number, which a third party's build may not have set; `commit` is upstream's all the same.
        context: cells over all slots, and `slot_context` those of one request (n_ctx, n_ctx_seq).
        flash_attention: as it was resolved, where it was left to the server.
        layers_offloaded: with the output layer, of `layers`.
        splits: of the graph of a whole ubatch.
        copies: of inputs, more than one where ubatches are pipelined over devices.
        buffers: of the model; those of the others (a draft's, a projector's) are `other_buffers`.
        longest_prompt: tokens of the longest that was computed, without what was cached.
        breakdown: what was taken at the end; of a start that did not get ready what `--fit` projected.
        refusal: memory that was not given, if the start ended with it.
        error: what it says of the model that it could not load.
        is_ready: whether it went on to listen with its model loaded.
    """

    model: str | None
    build: int | None
    commit: str | None
    context: int | None
    slot_context: int | None
    batch: int | None
    ubatch: int | None
    sequences: int | None
    slots: int | None
    is_unified: bool | None
    flash_attention: bool | None
    layers_offloaded: int | None
    layers: int | None
    splits: int | None
    copies: int | None
    longest_prompt: int | None
    buffers: tuple[Buffer, ...]
    other_buffers: tuple[Buffer, ...]
    caches: tuple[Cache, ...]
    breakdown: tuple[DeviceMemory, ...]
    refusal: Refusal | None
    error: str | None
    is_ready: bool

    def hundredths(self, kind: BufferKind) -> dict[str, int]:
        """The buffers of a kind added up by device, in hundredths of a MiB, each rounded by itself."""
        sums: dict[str, int] = {}
        for buffer in self.buffers:
            if buffer.kind is kind:
                sums[buffer.device] = sums.get(buffer.device, 0) + buffer.hundredths
        return sums
