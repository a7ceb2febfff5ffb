"""Memory outside torch's allocator that appears while profiling."""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture
from compiler.engines.vllm.memory.context import NVLINK_SWITCHED
from compiler.engines.vllm.memory.shape import ServerShape, processors
from compiler.engines.vllm.releases.overheads import GpuOverheads, Overhead
from compiler.units import ByteRange

_SPECIALIZED = 16  # Triton compiles a kernel of its own for numbers that this divides


def non_torch_growth(overheads: GpuOverheads, architecture: Architecture, shape: ServerShape) -> Overhead:
    """Kernels, their stacks and NCCL's buffers."""
    if shape.tensor_parallel_size * shape.data_parallel_size > 1:
        fast = shape.compute_capability is not None and shape.compute_capability[0] in NVLINK_SWITCHED
        return overheads.non_torch_nvlink if fast else overheads.non_torch_pcie
    if shape.pipeline_parallel_size > 1:
        return overheads.non_torch_pipeline
    if not overheads.stack[2] or architecture.pooling:
        return overheads.non_torch_single
    multiprocessors, threads = processors(shape)
    odd = architecture.vocab_size % _SPECIALIZED != 0
    per_thread = overheads.stack_odd_vocabulary if odd else overheads.stack
    stack = ByteRange(*(each * multiprocessors * threads for each in per_thread))
    source = f"{overheads.non_torch_single.source}; kernels' stacks: {overheads.stack_source}"
    return Overhead(overheads.non_torch_single.bytes + stack, source)
