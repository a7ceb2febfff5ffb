"""What a rank holds of its GPU before vLLM first looks at what is free: the CUDA context, and NCCL of several ranks."""

from __future__ import annotations

from compiler.catalog.hardware.gpus import shares_memory
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases.overheads import GpuOverheads, Overhead
from compiler.units import ByteRange

_HOPPER = 9
_ALL_OF_A_BOARD = 8
NVLINK_SWITCHED = (9, 10)
"""Major compute capabilities of cards whose ranks mostly talk over NVLink."""


def context_memory(overheads: GpuOverheads, shape: ServerShape) -> Overhead:
    """Of one rank; a context grows with the multiprocessors of its card, where they are known, within bounds."""
    if shape.ranks > 1:
        return _of_several(overheads, shape)
    bounds, growth = overheads.context_single.bytes, overheads.context_growth
    count = shape.multiprocessors
    if growth is None or count is None or shares_memory(shape.compute_capability):
        return overheads.context_single
    expected = min(max(growth.each * count, bounds.low), growth.most_expected)
    high = min(growth.base + growth.most_each * count, bounds.high)
    return Overhead(ByteRange(bounds.low, expected, high), overheads.context_single.source)


def _of_several(overheads: GpuOverheads, shape: ServerShape) -> Overhead:
    major = shape.compute_capability[0] if shape.compute_capability is not None else 0
    if major not in NVLINK_SWITCHED:
        return overheads.context_pcie
    return overheads.context_hopper if major == _HOPPER and shape.ranks < _ALL_OF_A_BOARD else overheads.context_nvlink
