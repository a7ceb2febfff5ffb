"""What torch's caching allocator adds to the bytes of parameters.

Tensors of 10 MiB and more get a segment of their own, a multiple of 2 MiB; what is left of it is split off only if it
is more than 1 MiB, and counts as allocated otherwise (get_allocation_size and should_split in
c10/cuda/CUDACachingAllocator.cpp).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from compiler.memory.architecture import Architecture
from compiler.memory.packed import Packed, rank_modules
from compiler.memory.parallelism import Parallelism
from compiler.memory.quantized import Quantization
from compiler.memory.weights import module_parameters
from compiler.units import MIB, ByteRange

_OWN_SEGMENT = 10 * MIB
_SEGMENT_UNIT = 2 * MIB
_SMALLEST_SPLIT = MIB


def weights_rounding(
    architecture: Architecture, quantization: Quantization | None, parallelism: Parallelism, *, served_dtype: str
) -> ByteRange:
    """Bytes beyond the parameters' own: those that count as allocated, at most the rest of every segment.

    Repacking after loading makes other tensors of quantized weights, so that there it is known only at most.
    """
    rank = replace(parallelism, stage=0)
    counted = reserved = 0
    for packed, count in rank_modules(architecture, quantization, parallelism):
        more, rest = _rounding(packed, rank, served_dtype)
        # Which tensors share one is not known of layers that are only bounded.
        each = _SEGMENT_UNIT if architecture.assumed else rest
        counted, reserved = counted + more * count, reserved + each * count
    return ByteRange(0 if quantization is not None else counted, counted, reserved)


@lru_cache(maxsize=65536)
def _rounding(packed: Packed, parallelism: Parallelism, served_dtype: str) -> tuple[int, int]:
    """Of one module: bytes that count as allocated, and the rest of its segments."""
    counted = reserved = 0
    for parameter in module_parameters(packed.fused, packed.packing, parallelism):
        size = parameter.loaded_bytes(served_dtype)
        rest = -size % _SEGMENT_UNIT if size >= _OWN_SEGMENT else 0
        counted += rest if rest <= _SMALLEST_SPLIT else 0
        reserved += rest
    return counted, reserved
