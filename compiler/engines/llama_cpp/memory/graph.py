"""Sizes of a ubatch's tensors, of which bounds are made where a graph is not laid out node by node."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from compiler.engines.llama_cpp.memory.cache import cells_of
from compiler.engines.llama_cpp.memory.graphs.pooling import averages
from compiler.engines.llama_cpp.models.shape import Attention, Layer, Shape
from compiler.engines.llama_cpp.settings import CACHE_TYPES, Contexts, FlashAttention, Settings

_FLOAT, _HALF, _INDEX = 4, 2, 8
_ROTATION = 64
"""Least side of the matrices that rotate keys and values before they are quantized (src/llama-kv-cache.cpp)."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Bytes of tensors of one ubatch.

    Attributes:
        residual: what layers hand on.
        forward: an FFN's inner width; `experts` the same of all experts that are used, `expert_outputs` their results.
        query: of all heads.
        masks: f16 with flash attention, else f32; `indices` of cells without it; `rotations` for a quantized cache.
        copies: f16 copies that kernels make of a cache of another type.
        scores: of all heads against all cells, without flash attention.
        logits: of the last tokens of all slots, or of all tokens that are pooled.
        layer_cache: keys and values that the widest layer reads of all contexts, in f16 or more.
    """

    residual: int
    forward: int
    experts: int
    expert_outputs: int
    query: int
    masks: int
    indices: int
    rotations: int
    copies: int
    scores: int
    logits: int
    layer_cache: int

    @property
    def inputs(self) -> int:
        """What lives through the whole graph, on the card and, pinned, on the host."""
        return self.masks + self.indices + self.rotations


# Quantizations of one model have the same graph.
@lru_cache(maxsize=256)
def graph_of(shape: Shape, settings: Settings, sizes: Contexts) -> Graph:
    """The sizes for a model, all of whose layers are on cards."""
    if shape.architecture.is_encoder:
        return _encoder_graph(shape, settings, sizes)
    layers = [layer for layer in set(shape.main_layers) if layer.has_cache]
    row = _FLOAT * sizes.tokens
    flash = settings.flash_attention is not FlashAttention.OFF
    cells = sizes.cells + sizes.window_cells
    widest_element = _FLOAT if "f32" in (settings.key_type, settings.value_type) else _HALF
    widest = max((_read_width(layer) for layer in layers), default=0)
    return Graph(
        residual=shape.embedding * row,
        forward=max(layer.feed_forward for layer in shape.layers) * row,
        experts=shape.experts.used * shape.experts.feed_forward * row,
        expert_outputs=shape.experts.used * shape.embedding * row,
        query=max((layer.heads * layer.key_length for layer in layers), default=0) * row,
        masks=cells * sizes.tokens * (_HALF if flash else _FLOAT) if layers else 0,
        indices=0 if flash else _indices(shape, layers, sizes),
        rotations=_rotations(shape, layers, settings) if flash else 0,
        copies=max((_copy(layer, settings, sizes) for layer in layers if flash and settings.devices), default=0),
        scores=0 if flash else max((cells_of(layer, sizes) * layer.heads for layer in layers), default=0) * row,
        logits=shape.vocabulary * _FLOAT * sizes.outputs,
        layer_cache=widest * sizes.cells * sizes.streams * widest_element,
    )


def _read_width(layer: Layer) -> int:
    """A latent is read twice, as keys and, but for what is rotated, as values."""
    if layer.attention is Attention.LATENT:
        return layer.key_width + layer.kv_heads * layer.value_length
    return layer.key_width + layer.value_width


def _encoder_graph(shape: Shape, settings: Settings, sizes: Contexts) -> Graph:
    """Tokens see those of their own batch; what pools them is with the masks."""
    row = _FLOAT * sizes.tokens
    flash = settings.flash_attention is not FlashAttention.OFF
    masks = len({layer.is_windowed for layer in shape.layers}) * sizes.tokens**2 * (_HALF if flash else _FLOAT)
    return Graph(
        residual=shape.embedding * row,
        forward=max(layer.feed_forward for layer in shape.layers) * row,
        experts=shape.experts.used * shape.experts.feed_forward * row,
        expert_outputs=shape.experts.used * shape.embedding * row,
        query=max(layer.heads * layer.key_length for layer in shape.layers) * row,
        masks=masks + (sizes.slots * row if averages(shape.architecture, settings.pooling) else 0),
        indices=0,
        rotations=0,
        copies=0,
        scores=0 if flash else max(layer.heads for layer in shape.layers) * sizes.tokens * row,
        logits=0,
        layer_cache=0,
    )


def _indices(shape: Shape, layers: list[Layer], sizes: Contexts) -> int:
    """A cell's place for each element of a transposed value, in the cache of contexts and in that of windows."""
    if shape.is_latent or not layers:
        return 0
    caches = 2 if sizes.window_cells else 1
    return sizes.tokens * max(layer.value_width for layer in layers) * _INDEX * caches


def _copy(layer: Layer, settings: Settings, sizes: Contexts) -> int:
    """ggml/src/ggml-cuda/fattn-common.cuh, ggml_cuda_flash_attn_ext_get_f16_extra_data, b10435."""
    cells = cells_of(layer, sizes) * sizes.streams * _HALF
    keys = 0 if settings.key_type == "f16" else layer.key_width * cells
    return keys + (0 if settings.value_type == "f16" else layer.value_width * cells)


def _rotations(shape: Shape, layers: list[Layer], settings: Settings) -> int:
    """Only where all heads of a cache are of one length, which whole blocks of 64 make up."""
    total = 0
    for windowed in (False, True):
        lengths = {layer.key_length for layer in layers if layer.is_windowed is windowed}
        if shape.is_latent or len(lengths) != 1 or min(lengths) == 0 or min(lengths) % _ROTATION:
            continue
        side = min(lengths) & -min(lengths)
        total += side * side * _FLOAT if CACHE_TYPES[settings.key_type].block > 1 else 0
        total += _ROTATION * _ROTATION * _FLOAT if CACHE_TYPES[settings.value_type].block > 1 else 0
    return total
