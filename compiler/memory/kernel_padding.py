"""What kernels of other GPUs add to the parameters as they are created on Hopper.

The layouts of compiler/memory/layouts.py and expert_layouts.py are those that vLLM 0.33.0 answers for on compute
capability 9.0.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.memory.architecture import Architecture, Experts, Layer, Linear
from compiler.memory.expert_backends import MARLIN
from compiler.memory.expert_layouts import ExpertShape, expert_parameters
from compiler.memory.packing import Packing, Quantization
from compiler.memory.shape import ServerShape
from compiler.memory.weights import expert_shape

# Marlin and TRT-LLM (mxfp4_round_up_hidden_size_and_intermediate_size in fused_moe/oracle/mxfp4.py).
_HIDDEN_TILE, _WIDTH_TILE = 256, 128
_PADDED = "gpt-oss-mxfp4"
# Marlin's for NVFP4 (quantization/utils/marlin_utils_fp4.py:prepare_nvfp4_moe_layer_for_marlin), by what the inputs are
# a multiple of. It is vLLM's own choice where the GPU does not compute in FP4, below 10.0.
_NVFP4, _NVFP4_INPUTS, _NVFP4_TILES, _COMPUTES_FP4 = ("nvfp4", "ct-nvfp4"), 128, (64, 128), 10
_HOPPER = 9
# Elsewhere GateLinear keeps a router that computes in float32 as float32 (fused_moe/router/gate_linear.py).
_FLOAT32_ROUTERS, _NARROW_ROUTERS_ON, _WIDENING = "NemotronH", (9, 10), 2


def kernel_padding(architecture: Architecture, quantization: Quantization | None, shape: ServerShape) -> int:
    """Bytes on one rank beyond its parameters as they are created on Hopper; none on CPUs."""
    if shape.compute_capability is None:
        return 0
    packing = quantization.experts if quantization is not None else None
    layers = (architecture.layers[index] for index in shape.parallelism.layers(architecture.num_layers))
    known: dict[int, int] = {}
    total = 0
    for layer in layers:
        if id(layer) not in known:
            known[id(layer)] = _experts(layer, packing, shape) + _routers(architecture, layer, shape)
        total += known[id(layer)]
    return total


def _experts(layer: Layer, packing: Packing | None, shape: ServerShape) -> int:
    if packing is None:
        return 0
    total = 0
    for module in layer.modules:
        if isinstance(module, Experts):
            kept = expert_shape(module, shape.parallelism)
            total += _bytes(_padded(kept, packing, shape), packing, shape) - _bytes(kept, packing, shape)
    return total


def _padded(kept: ExpertShape, packing: Packing, shape: ServerShape) -> ExpertShape:
    """Experts of the size that the kernel keeps them in."""
    assert shape.compute_capability is not None  # noqa: S101  kernel_padding leaves CPUs out
    major, is_marlin = shape.compute_capability[0], shape.moe_backend == MARLIN
    if packing.style == _PADDED and (is_marlin or major != _HOPPER):
        return replace(kept, inputs=_up(kept.inputs, _HIDDEN_TILE), intermediate=_up(kept.intermediate, _WIDTH_TILE))
    if packing.style in _NVFP4 and (is_marlin or major < _COMPUTES_FP4):
        return replace(kept, intermediate=_up(kept.intermediate, _NVFP4_TILES[kept.inputs % _NVFP4_INPUTS != 0]))
    return kept


def _bytes(experts: ExpertShape, packing: Packing, shape: ServerShape) -> int:
    return sum(parameter.loaded_bytes(shape.served_dtype) for parameter in expert_parameters(experts, packing))


def _routers(architecture: Architecture, layer: Layer, shape: ServerShape) -> int:
    assert shape.compute_capability is not None  # noqa: S101  kernel_padding leaves CPUs out
    if not architecture.name.startswith(_FLOAT32_ROUTERS) or shape.compute_capability[0] in _NARROW_ROUTERS_ON:
        return 0
    counts = {module.count for module in layer.modules if isinstance(module, Experts)}
    routers = (module for module in layer.modules if isinstance(module, Linear) and not module.quantized)
    return sum(router.outputs * router.inputs * _WIDENING for router in routers if router.outputs in counts)


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit
