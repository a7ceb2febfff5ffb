"""Keys and values, to the byte (src/llama-kv-cache.cpp and src/llama-kv-cache-iswa.cpp, constructors, b10435)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from compiler.engines.llama_cpp.memory.placement import Placement
from compiler.engines.llama_cpp.memory.sums import Sums
from compiler.engines.llama_cpp.memory.units import Sizes, cuda_bytes
from compiler.engines.llama_cpp.models.shape import Attention, Layer, Shape
from compiler.engines.llama_cpp.releases.rules import Rules
from compiler.engines.llama_cpp.settings import CACHE_TYPES, Contexts, FlashAttention, Settings


@dataclass(frozen=True, slots=True)
class Caches:
    """Caches of all layers.

    Attributes:
        windows: bytes on the host of those of windows.
    """

    layers: Sums
    windows: int

    def on(self, device: int, places: Placement) -> int:
        """Bytes of all whose cache is on a device, or on the HOST."""
        return self.layers.on(device, places.caches_on(device))


# Quantizations of one model cache the same.
@lru_cache(maxsize=256)
def layer_caches(shape: Shape, rules: Rules, settings: Settings, sizes: Contexts) -> Caches:
    """Each layer's cache where it lies on a card, and where it lies on the host; nothing for layers without.

    In some builds layers of multi-token prediction have one too.
    """
    keeps = rules.caches_prediction_layers and shape.architecture.name not in rules.filters_prediction_layers
    count = len(shape.layers) if keeps else len(shape.main_layers)
    widest = max(layer.value_width for layer in shape.layers)
    known: dict[Layer | None, Sizes] = {None: Sizes()}
    for layer in set(shape.layers):
        known[layer] = _layer_cache(layer, settings, sizes, widest) if layer.has_cache else Sizes()
    each = [known[layer if index < count else None] for index, layer in enumerate(shape.layers)]
    windows = sum(cache.host for cache, layer in zip(each, shape.layers, strict=True) if layer.is_windowed)
    return Caches(Sums.of(each), windows)


def cells_of(layer: Layer, sizes: Contexts) -> int:
    """Tokens of one stream that a layer caches."""
    return sizes.window_cells if layer.is_windowed else sizes.cells


def _layer_cache(layer: Layer, settings: Settings, sizes: Contexts, widest: int) -> Sizes:
    """Without flash attention values are transposed, and rows are as wide as the `widest`."""
    cells = cells_of(layer, sizes) * sizes.streams
    flash = settings.flash_attention is not FlashAttention.OFF
    keys = _tensor(settings.key_type, layer.key_width, cells)
    if layer.attention is Attention.LATENT:
        return keys
    return keys + _tensor(settings.value_type, layer.value_width if flash else widest, cells)


def _tensor(name: str, width: int, cells: int) -> Sizes:
    kind = CACHE_TYPES[name]
    size = kind.row_bytes(width) * cells
    return Sizes(cuda_bytes(kind, width, size), size)
