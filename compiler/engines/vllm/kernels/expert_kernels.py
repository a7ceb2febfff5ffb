"""Experts that no kernel of a GPU takes (vllm/model_executor/layers/fused_moe of 0.33.0)."""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture, Experts
from compiler.checkpoints.parameters.experts import served_block
from compiler.checkpoints.parameters.modules import rank_modules
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.parameters.weights import expert_shape
from compiler.checkpoints.quantization.read import Quantization
from compiler.engines.vllm.releases.quantization import Capability

# From here on a GPU multiplies FP8 itself, and Triton's kernel serves blocks of any size (experts/triton_moe.py).
_FP8_CAPABILITY: Capability = (8, 9)
# Of the only kernel below it (experts/marlin_moe.py:_supports_quant_scheme).
_MARLIN_BLOCK = (128, 128)


def check_experts(
    architecture: Architecture,
    quantization: Quantization | None,
    parallelism: Parallelism,
    capability: Capability | None,
) -> None:
    """Refuse FP8 blocks that ranks cut smaller than a GPU's only kernel takes (oracle/fp8.py).

    Args:
        parallelism: must be legal; see `check_split`.
        capability: of the GPU; None on a CPU.

    Raises:
        SplitError: with the widths and the block.
    """
    if capability is None or capability >= _FP8_CAPABILITY:
        return
    for packed, _ in rank_modules(architecture, quantization, parallelism):
        module, packing = packed.fused.modules[0], packed.packing
        if not isinstance(module, Experts) or packing is None:
            continue
        block = served_block(expert_shape(module, parallelism), packing)
        if block not in (None, _MARLIN_BLOCK):
            raise SplitError(
                f"experts of width {module.intermediate} in FP8 blocks of {block[0]} by {block[1]} on a rank: "
                f"below compute capability 8.9 vLLM serves blocks of 128 by 128 only"
            )
