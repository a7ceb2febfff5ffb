"""What kernels of other GPUs make of the parameters that Hopper's take as they are.

The layouts of compiler/memory/layouts.py and expert_layouts.py are those that vLLM 0.33.0 answers for on compute
capability 9.0. What is padded or widened is made so before the weights are loaded, and logs count it with them.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.memory.architecture import Architecture, Experts, Layer, Linear
from compiler.memory.packing import Quantization, Uniform
from compiler.memory.parallelism import Parallelism

_HOPPER = 9
# Hopper's Triton kernel takes gpt-oss as it is. Marlin (7.5 to 8.9 and 12.x) and TRT-LLM (10.x) want the tiles of other
# MXFP4 models (select_mxfp4_moe_backend and mxfp4_round_up_hidden_size_and_intermediate_size in
# fused_moe/oracle/mxfp4.py).
_NARROW, _WIDE = "gpt-oss-mxfp4", "mxfp4"
# Elsewhere GateLinear keeps a router that computes in float32 as float32 (fused_moe/router/gate_linear.py).
_FLOAT32_ROUTERS, _NARROW_ROUTERS_ON, _WIDENING = "NemotronH", (9, 10), 2


def fitted(quantization: Quantization | None, capability: tuple[int, int] | None) -> Quantization | None:
    """The quantization whose layouts a GPU's kernels want of this checkpoint; its own on Hopper and on CPUs."""
    packing = quantization.experts if quantization is not None else None
    if quantization is None or packing is None or packing.style != _NARROW:
        return quantization
    if capability is None or capability[0] == _HOPPER:
        return quantization
    wide = replace(packing, style=_WIDE)
    return replace(quantization, experts=wide, chooser=Uniform(None, wide))


def widened_routers(architecture: Architecture, parallelism: Parallelism, capability: tuple[int, int] | None) -> int:
    """Bytes on one rank by which routers are wider than Hopper's; none on CPUs."""
    if capability is None or capability[0] in _NARROW_ROUTERS_ON:
        return 0
    if not architecture.name.startswith(_FLOAT32_ROUTERS):
        return 0
    return sum(_routers(architecture.layers[index]) for index in parallelism.layers(architecture.num_layers))


def _routers(layer: Layer) -> int:
    counts = {module.count for module in layer.modules if isinstance(module, Experts)}
    routers = (module for module in layer.modules if isinstance(module, Linear) and not module.quantized)
    return sum(router.outputs * router.inputs * _WIDENING for router in routers if router.outputs in counts)
