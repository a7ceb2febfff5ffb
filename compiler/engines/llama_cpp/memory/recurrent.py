"""States of recurrent layers, to the byte: they grow with slots, not with context.

src/llama-memory-recurrent.cpp, constructor, b10435.
"""

from __future__ import annotations

from compiler.engines.llama_cpp.memory.placement import Placement
from compiler.engines.llama_cpp.models.shape import Layer, Shape


def state_bytes(shape: Shape, slots: int, places: Placement, device: int) -> int:
    """Of all slots in all recurrent layers on a device, or on the HOST."""
    layers = places.caches_on(device)
    return layer_states(shape, shape.main_layers[layers.start : layers.stop]) * slots


def layer_states(shape: Shape, layers: tuple[Layer, ...]) -> int:
    """Of one sequence in some of a model's layers."""
    if not shape.state.bytes:
        return 0
    return sum(layer.is_recurrent for layer in layers) * shape.state.bytes
