"""What `llama-server` is started with, as far as memory depends on it, and what llama.cpp makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from types import MappingProxyType

from compiler.gguf.types import TensorType

CACHE_TYPES: Mapping[str, TensorType] = MappingProxyType(
    {
        "f32": TensorType(0, "f32", 1, 4),
        "f16": TensorType(1, "f16", 1, 2),
        "bf16": TensorType(30, "bf16", 1, 2),
        "q8_0": TensorType(8, "q8_0", 32, 34),
        "q5_1": TensorType(7, "q5_1", 32, 24),
        "q5_0": TensorType(6, "q5_0", 32, 22),
        "q4_1": TensorType(3, "q4_1", 32, 20),
        "q4_0": TensorType(2, "q4_0", 32, 18),
        "iq4_nl": TensorType(20, "iq4_nl", 32, 18),
    }
)
"""What `--cache-type-k` and `-v` take (common/arg.cpp, b10435)."""
CELLS = 256
"""Contexts are padded to so many tokens (src/llama-context.cpp, b10435)."""
_LEAST_SHARE, _MOST_SHARE = 1e-30, 1e30
"""What a float of single precision sums up without loss of all meaning."""
MOST_SLOTS = 256
"""LLAMA_MAX_SEQ (src/llama-cparams.h, b10435)."""


class SettingsError(ValueError):
    """Settings that `llama-server` refuses, or that its memory cannot be told for."""


class FlashAttention(Enum):
    """`--flash-attn`. AUTO, the server's default, turns it off without a word where its probe finds it elsewhere."""

    ON = auto()
    OFF = auto()
    AUTO = auto()


class Pooling(StrEnum):
    """`--pooling`: what is made of a text's tokens; RANK is a score, the others are one vector."""

    MEAN = "mean"
    CLS = "cls"
    LAST = "last"
    RANK = "rank"


@dataclass(frozen=True, slots=True)
class Settings:
    """Flags of `llama-server` that decide memory.

    Attributes:
        context: `--ctx-size`, tokens; 0 for as many as the model was trained on.
        slots: `--parallel`, requests at once.
        unified: `--kv-unified`: the slots share one context.
        batch: `--batch-size`, tokens; `ubatch` of them are computed at once.
        gpu_layers: `--n-gpu-layers`, counted from the last and with the output; None for all.
        cpu_moe: `--n-cpu-moe`: of so many layers from the first, experts stay on the host.
        split: `--tensor-split`: the devices' shares of the layers; as many as there are devices, none without a GPU.
        offload_kv: caches lie beside their layers; `--no-kv-offload` has them on the host.
        full_window: `--swa-full`: windows get as many cells as contexts.
        op_offload: prompts are computed on the card with weights of the host; `--no-op-offload` has the host do it.
        is_dry: a start that takes no memory and says what it would take, as the planner of `--fit` makes it. It forgets
            that norms are computed with the layer whose weight they have, and says too much of several cards
            (ggml/src/ggml-backend.cpp, ggml_backend_sched_reserve_size).
        pooling: of a server of vectors or scores (`--embedding`, `--rerank`); None for one that answers with text.
        image_tokens: of the largest image (`--image-max-tokens`); 0 of a server that reads text alone.
    """

    context: int
    slots: int
    unified: bool = False
    batch: int = 2048
    ubatch: int = 512
    gpu_layers: int | None = None
    cpu_moe: int = 0
    key_type: str = "f16"
    value_type: str = "f16"
    flash_attention: FlashAttention = FlashAttention.ON
    split: tuple[float, ...] = (1.0,)
    offload_kv: bool = True
    full_window: bool = False
    op_offload: bool = True
    pooling: Pooling | None = None
    image_tokens: int = 0
    is_dry: bool = False

    def __post_init__(self) -> None:
        counts = (self.context, self.gpu_layers or 0, self.cpu_moe, self.slots - 1, self.batch - 1, self.ubatch - 1)
        if min(counts) < 0 or self.slots > MOST_SLOTS:
            raise SettingsError(f"counts are below the least, or more than {MOST_SLOTS} slots: {self}")
        for name in (self.key_type, self.value_type):
            if name not in CACHE_TYPES:
                raise SettingsError(f"`{name[:40]}` is no type of a cache: {', '.join(CACHE_TYPES)}")
        if any(share < 0 for share in self.split) or (self.split and not _LEAST_SHARE < sum(self.split) < _MOST_SHARE):
            raise SettingsError(f"`{self.split}` does not share out layers")
        if self.flash_attention is FlashAttention.OFF and CACHE_TYPES[self.value_type].block > 1:
            raise SettingsError("a quantized cache of values needs flash attention")

    @property
    def devices(self) -> int:
        """GPUs that the server uses."""
        return len(self.split)

    @property
    def is_quantized(self) -> bool:
        """Whether either cache is quantized, so that kernels need copies of it."""
        return CACHE_TYPES[self.key_type].block > 1 or CACHE_TYPES[self.value_type].block > 1


@dataclass(frozen=True, slots=True)
class Contexts:
    """What llama.cpp makes of context, slots and batches (src/llama-context.cpp, constructor, b10435).

    Attributes:
        total: tokens of all slots together, as the server prints them.
        cells: of one stream; there are `streams` of them.
        window_cells: of one stream in the cache of windows; 0 without windows.
        tokens: of a ubatch, in whole sequences.
        slots: of the settings.
        outputs: tokens of a ubatch that something is read of: all that are pooled, else the last of each slot.
    """

    total: int
    cells: int
    streams: int
    window_cells: int
    tokens: int
    slots: int
    outputs: int


def contexts(settings: Settings, trained: int, window: int) -> Contexts:
    """Sizes of caches and batches for a model that was trained on so many tokens, with such a window or 0."""
    wanted = settings.context or trained
    context = _padded(wanted, CELLS)
    cells = context if settings.unified else _padded(max(context // settings.slots, 1), CELLS)
    total = context if settings.unified else cells * settings.slots
    ubatch = min(settings.ubatch, settings.batch, wanted)
    sharing = settings.slots if settings.unified else 1
    # src/llama-kv-cache-iswa.cpp: what a ubatch adds must fit beside the window.
    window_cells = _padded(min(cells, window * sharing + ubatch), CELLS) if window else 0
    if window and settings.full_window:
        window_cells = cells
    streams = 1 if settings.unified else settings.slots
    # tools/server/server-context.cpp, server_output_limits.
    outputs = settings.slots if settings.pooling is None else ubatch
    return Contexts(total, cells, streams, window_cells, _padded(ubatch, settings.slots), settings.slots, outputs)


def _padded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def pooled_batch(tokens: int, slots: int) -> int:
    """The least batch for texts of so many tokens that `llama-server` starts with.

    A ubatch is reserved in whole sequences, and pooled by a matrix that the batch gives the size of: where the slots
    do not divide it, ggml ends the process (src/llama-context.cpp, graph_reserve; src/llama-graph.cpp, build_pooling).
    """
    return _padded(tokens, slots)
