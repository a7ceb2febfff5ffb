"""What torch's caching allocator adds to the bytes of parameters.

Tensors of 10 MiB and more get a segment of their own, a multiple of 2 MiB; what is left of it is split off only if it
is more than 1 MiB, and counts as allocated otherwise (get_allocation_size and should_split in
c10/cuda/CUDACachingAllocator.cpp). While vLLM loads weights, nothing is split off behind tensors of 20 MiB and more
(`max_split_size_mb:20` of vllm/v1/worker/gpu_worker.py:load_model): what logs call the weights counts all of it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.parameters.modules import Packed, rank_modules
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import module_parameters
from compiler.checkpoints.quantization.formats import Quantization
from compiler.units import MIB, ByteRange

_OWN_SEGMENT = 10 * MIB
_SEGMENT_UNIT = 2 * MIB
_SMALLEST_SPLIT = MIB


@lru_cache(maxsize=4096)
def weights_rounding(
    architecture: Architecture,
    quantization: Quantization | None,
    parallelism: Parallelism,
    *,
    served_dtype: str,
    largest_split: int | None,
) -> ByteRange:
    """Bytes beyond the parameters' own: those that count as allocated, at most the rest of every segment.

    Repacking after loading makes other tensors of quantized weights, in segments that others may have left: there it is
    known only at most, and twice was seen (5.38 GiB of 5.21 in logs of Qwen2.5-7B in AWQ).

    Args:
        largest_split: a tensor as large or larger keeps the rest of its segment; None: none does.
    """
    rank = replace(parallelism, stage=0)
    counted = reserved = 0
    for packed, count in rank_modules(architecture, quantization, parallelism):
        more, rest = _rounding(packed, rank, served_dtype, largest_split)
        # Which tensors share one is not known of layers that are only bounded.
        each = _SEGMENT_UNIT if architecture.assumed else rest
        counted, reserved = counted + more * count, reserved + each * count
    if quantization is None:
        return ByteRange(counted, counted, reserved)
    return ByteRange(0, counted, reserved + counted)


@lru_cache(maxsize=65536)
def _rounding(
    packed: Packed, parallelism: Parallelism, served_dtype: str, largest_split: int | None
) -> tuple[int, int]:
    """Of one module: bytes that count as allocated, and the rest of its segments."""
    counted = reserved = 0
    for parameter in module_parameters(packed.fused, packed.packing, parallelism):
        size = parameter.loaded_bytes(served_dtype)
        rest = -size % _SEGMENT_UNIT if size >= _OWN_SEGMENT else 0
        whole = rest <= _SMALLEST_SPLIT or (largest_split is not None and size >= largest_split)
        counted += rest if whole else 0
        reserved += rest
    return counted, reserved
