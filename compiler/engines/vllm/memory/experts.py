"""Scratch of the kernels of experts."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.checkpoints.architecture import Architecture, Experts
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.engines.vllm.kernels.expert_backends import MARLIN
from compiler.engines.vllm.memory.shape import ServerShape

_HOPPER = 9
_ONE_KERNEL = ("gpt-oss-mxfp4", "ct-mxfp4")


def experts_keep(checkpoint: Checkpoint, shape: ServerShape) -> bool:
    """Whether experts take their scratch from vLLM's workspaces, not inside their kernel.

    On Hopper gpt-oss's MXFP4 runs in one kernel (OAITritonMxfp4ExpertsMonolithic in gpt_oss_triton_kernels_moe.py), and
    DeepSeek V4's in Marlin's (select_deepseek_v4_mxfp4_moe_backend in fused_moe/oracle/mxfp4.py).
    """
    packing = checkpoint.quantization.experts if checkpoint.quantization is not None else None
    hopper = shape.compute_capability is not None and shape.compute_capability[0] == _HOPPER
    own_choice = shape.moe_backend != MARLIN
    return not (hopper and own_choice and packing is not None and packing.style in _ONE_KERNEL)


def expert_workspaces(architecture: Architecture, shape: ServerShape) -> int:
    """Scratch of the fused experts, shared by all layers.

    Two buffers with a row for each token and expert that serves it: the first projection's outputs and the second's
    (workspace_shapes in vllm/model_executor/layers/fused_moe). Data parallelism gathers the tokens of all ranks.
    """
    return max((_workspaces(module, shape) for module in experts_of(architecture)), default=0)


def experts_of(architecture: Architecture) -> Iterator[Experts]:
    """Of layers that are not the same object: layers that are alike share one."""
    for layer in architecture.kinds:
        yield from (module for module in layer.modules if isinstance(module, Experts))


def _workspaces(module: Experts, shape: ServerShape) -> int:
    width = module.intermediate
    if not shape.expert_parallel:
        width //= shape.parallelism.expert_ranks
    first = width * (2 if module.gated else 1)
    rows = shape.max_num_batched_tokens * shape.data_parallel_size * module.top_k
    return rows * (max(width, module.inputs) + max(first, module.inputs)) * SERVED_BYTES[shape.served_dtype]
