"""What the server takes of the host: weights, pinned buffers, and what the server keeps of past prompts."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.engines.llama_cpp.memory.cache import Caches
from compiler.engines.llama_cpp.memory.recurrent import layer_states
from compiler.engines.llama_cpp.models.shape import Shape
from compiler.engines.llama_cpp.settings import Contexts
from compiler.units import MIB, ByteRange

PROMPT_CACHE = 8192 * MIB
"""`--cache-ram` where it is not given (common/common.h, b10435)."""
CHECKPOINTS = 32
"""`--ctx-checkpoints` of a slot where it is not given (common/common.h, b10435)."""
PROCESS = ByteRange(60 * MIB, 120 * MIB, 400 * MIB)
"""Code, threads, vocabulary, the HTTP server and the driver's part in the process: an estimate."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Flags of `llama-server` that decide the host's memory.

    Attributes:
        mapped: weights of the host are the file's pages (`--load-mode mmap`), which the system may drop; else they are
            the process's own.
        repacked: weights of the host are arranged anew for the processor; `--no-repack` stops it.
        prompt_cache: bytes, `--cache-ram`.
        checkpoints: of a slot, `--ctx-checkpoints`.
    """

    mapped: bool = True
    repacked: bool = True
    prompt_cache: int = PROMPT_CACHE
    checkpoints: int = CHECKPOINTS


def checkpoint_bytes(shape: Shape, caches: Caches, sizes: Contexts, host: HostSettings) -> ByteRange:
    """Checkpoints of all slots, each a copy of one slot's states and windows (tools/server, b10435).

    A server makes them as prompts grow: none at the start, and no more than it is let.
    """
    states = layer_states(shape, shape.main_layers)
    most = (states + caches.windows // sizes.streams) * host.checkpoints * sizes.slots
    return ByteRange(0, most // 2, most)


def repacked_bytes(weights: int, devices: int, host: HostSettings) -> ByteRange:
    """Copies of the host's weights in the processor's own order, while the file stays mapped.

    ggml/src/ggml-cpu/repack.cpp, b10435: which types have such an order depends on the processor. With a card, its
    pinned buffers come first in the order of choice, and nothing is repacked (src/llama-model.cpp, make_cpu_buft_list).
    """
    most = weights if host.repacked and host.mapped and not devices else 0
    return ByteRange(0, most // 2, most)
