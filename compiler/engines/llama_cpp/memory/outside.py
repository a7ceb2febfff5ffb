"""What a process takes of a card beside the buffers that llama.cpp accounts for."""

from __future__ import annotations

from compiler.engines.llama_cpp.memory.graph import Graph
from compiler.engines.llama_cpp.releases.rules import ContextMemory, Release
from compiler.units import MIB, ByteRange

CONTEXT = ByteRange(150 * MIB, 200 * MIB, 450 * MIB)
"""CUDA context, libraries and kernels' workspace: 164 MiB on an 8 GiB laptop card of 2026, 297 MiB on an A40
(start-up logs against the driver's own figure); the high end leaves room for cuBLAS and larger cards."""

_ESTIMATE = ContextMemory(CONTEXT, "start-up logs of two other cards against the driver's figure")


def context_memory(release: Release, devices: int) -> ContextMemory:
    """Of each of so many cards of a server: as measured, or the interval of all cards."""
    measured = release.context_single if devices == 1 else release.context_parallel
    return measured or _ESTIMATE


def pool_bytes(graph: Graph) -> ByteRange:
    """CUDA's pool of temporaries: a ubatch's activations quantized for the matrix kernels, 9 bytes for 8 elements.

    ggml/src/ggml-cuda/mmq.cu, block_q8_1_mmq (144 bytes for 128 elements), b10435. What is not multiplied in quantized
    form is converted instead, which is not more than twice that.
    """
    size = max(graph.residual, graph.forward, graph.experts) * 9 // 32
    return ByteRange(0, size // 2, 2 * size)
