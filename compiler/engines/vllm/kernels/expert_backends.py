"""Kernels for experts that a server may be told to take (`--moe-backend`), and whether their layout is known here.

What the ledger counts are tensors as they are created (compiler/checkpoints/parameters/experts.py) and the padding of
Marlin (kernel_padding.py). A kernel is known where vLLM 0.33.0 keeps these: Marlin repacks 4-bit weights in place
(vllm/model_executor/layers/quantization/utils/marlin_utils.py, marlin_utils_fp4.py), Triton's kernels read weights as
they are stored. Others swizzle, pad or widen scales (fused_moe/oracle), which nobody has worked out here.
"""

from __future__ import annotations

from collections.abc import Mapping

from compiler.checkpoints.architecture import Architecture, Experts
from compiler.checkpoints.parameters.experts import marlin_runs
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import expert_shape
from compiler.checkpoints.quantization.read import Packing

AUTO, MARLIN, TRITON = "auto", "marlin", "triton"

# Styles of packing (None: none) and the kernels whose layout is known for them.
_KNOWN: Mapping[str | None, str] = {
    None: TRITON,
    "awq": MARLIN,
    "ct-fp8": TRITON,
    "ct-nvfp4": MARLIN,
    "fp8": TRITON,
    "gpt-oss-mxfp4": MARLIN,
    "gptq": MARLIN,
    "int8": TRITON,
    "mxfp4": MARLIN,
    "nvfp4": MARLIN,
    "wna16": MARLIN,
}
_MARLIN_GROUPED = ("awq", "gptq", "wna16")
_FP8_FROM = (8, 9)  # vllm/platforms/cuda.py:supports_fp8
# fused_moe/experts/triton_moe.py:is_supported_config, of experts in multiples of 32
_TRITON_EXPERTS, _TRITON_UNIT = 1024, 32
_MARLIN_UNIT = 64  # inputs: marlin_utils_fp4.py:prepare_nvfp4_moe_layer_for_marlin


def known_backend(packing: Packing | None) -> str | None:
    """The kernel other than vLLM's own choice whose layout is known for experts packed like this; None if none is."""
    return _KNOWN.get(packing.style if packing is not None else None)


def why_not_run(
    architecture: Architecture, packing: Packing | None, backend: str, capability: tuple[int, int]
) -> str | None:
    """Why vLLM would refuse that kernel for these experts on this GPU, as a half-sentence; None if it runs them."""
    style = packing.style if packing is not None else None
    for experts in experts_of(architecture):
        shape = expert_shape(experts, Parallelism())
        if packing is not None and style in _MARLIN_GROUPED and not marlin_runs(shape, packing):
            return (
                f"Marlin takes no experts of {experts.inputs} inputs and width {experts.intermediate} in these groups"
            )
        if backend == MARLIN and style not in _MARLIN_GROUPED and experts.inputs % _MARLIN_UNIT:
            return f"Marlin takes experts whose inputs are a multiple of {_MARLIN_UNIT}, these have {experts.inputs}"
        if backend == TRITON and -(-experts.count // _TRITON_UNIT) * _TRITON_UNIT >= _TRITON_EXPERTS:
            return f"Triton takes fewer than {_TRITON_EXPERTS} experts, these are {experts.count}"
    if backend == TRITON and style in ("fp8", "ct-fp8") and capability < _FP8_FROM:
        return "Triton multiplies FP8 from compute capability 8.9 on"
    return None


def experts_of(architecture: Architecture) -> tuple[Experts, ...]:
    """The routed experts of each kind of layer."""
    return tuple(module for layer in architecture.kinds for module in layer.modules if isinstance(module, Experts))
