"""What kernels pad of the weights.

A few kernels want tensors of other sizes than the checkpoint has; which kernel runs depends on the GPU, and on the one
that the server is told to take. On Hopper vLLM's own choice takes them as they are created.
Source: vLLM 0.33.0, vllm/model_executor/layers/fused_moe.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.checkpoints.architecture import Architecture, Experts, Layer, Linear
from compiler.checkpoints.parameters.experts import ExpertShape, expert_parameters
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import expert_shape
from compiler.checkpoints.quantization.read import Packing, Quantization, Uniform
from compiler.engines.vllm.kernels.expert_backends import AUTO, MARLIN

_HOPPER = 9
# Hopper's Triton kernel takes gpt-oss as it is. Marlin (7.5 to 8.9 and 12.x) and TRT-LLM (10.x) want the tiles of other
# MXFP4 models (select_mxfp4_moe_backend and mxfp4_round_up_hidden_size_and_intermediate_size in
# fused_moe/oracle/mxfp4.py).
_NARROW, _WIDE = "gpt-oss-mxfp4", "mxfp4"
# Marlin's for NVFP4 (quantization/utils/marlin_utils_fp4.py:prepare_nvfp4_moe_layer_for_marlin), by what the inputs are
# a multiple of. It is vLLM's own choice where the GPU does not compute in FP4, below 10.0.
_NVFP4, _NVFP4_INPUTS, _NVFP4_TILES, _COMPUTES_FP4 = ("nvfp4", "ct-nvfp4"), 128, (64, 128), 10
# Elsewhere GateLinear keeps a router that computes in float32 as float32 (fused_moe/router/gate_linear.py).
_FLOAT32_ROUTERS, _NARROW_ROUTERS_ON, _WIDENING = "NemotronH", (9, 10), 2

Capability = tuple[int, int]


def fitted(
    quantization: Quantization | None, capability: Capability | None, moe_backend: str = AUTO
) -> Quantization | None:
    """The quantization whose layouts the kernels want of this checkpoint; its own on CPUs, and by default on Hopper."""
    packing = quantization.experts if quantization is not None else None
    if quantization is None or packing is None or packing.style != _NARROW:
        return quantization
    if capability is None or (capability[0] == _HOPPER and moe_backend != MARLIN):
        return quantization
    wide = replace(packing, style=_WIDE)
    return replace(quantization, experts=wide, chooser=Uniform(None, wide))


def widened_bytes(
    architecture: Architecture,
    quantization: Quantization | None,
    parallelism: Parallelism,
    served_dtype: str,
    *,
    capability: Capability | None,
    moe_backend: str = AUTO,
) -> int:
    """Bytes on one rank by which experts and routers are wider than they are created; none on CPUs."""
    if capability is None:
        return 0
    packing = quantization.experts if quantization is not None else None
    pads = packing is not None and packing.style in _NVFP4 and (moe_backend == MARLIN or capability[0] < _COMPUTES_FP4)
    widens = architecture.name.startswith(_FLOAT32_ROUTERS) and capability[0] not in _NARROW_ROUTERS_ON
    if not pads and not widens:
        return 0
    known: dict[int, int] = {}
    total = 0
    for layer in (architecture.layers[index] for index in parallelism.layers(architecture.num_layers)):
        if id(layer) not in known:
            known[id(layer)] = _routers(layer) if widens else 0
            known[id(layer)] += _experts(layer, packing, parallelism, served_dtype) if pads and packing else 0
        total += known[id(layer)]
    return total


def _experts(layer: Layer, packing: Packing, parallelism: Parallelism, served_dtype: str) -> int:
    shapes = [expert_shape(module, parallelism) for module in layer.modules if isinstance(module, Experts)]
    return sum(_bytes(_padded(kept), packing, served_dtype) - _bytes(kept, packing, served_dtype) for kept in shapes)


def _padded(kept: ExpertShape) -> ExpertShape:
    """Experts of NVFP4 in the size in which Marlin keeps them."""
    unit = _NVFP4_TILES[kept.inputs % _NVFP4_INPUTS != 0]
    return replace(kept, intermediate=-(-kept.intermediate // unit) * unit)


def _bytes(experts: ExpertShape, packing: Packing, served_dtype: str) -> int:
    return sum(parameter.loaded_bytes(served_dtype) for parameter in expert_parameters(experts, packing))


def _routers(layer: Layer) -> int:
    counts = {module.count for module in layer.modules if isinstance(module, Experts)}
    routers = (module for module in layer.modules if isinstance(module, Linear) and not module.quantized)
    return sum(router.outputs * router.inputs * _WIDENING for router in routers if router.outputs in counts)
