"""What a graph reads beside weights: positions, places in caches, masks, and rotations for quantized caches."""

from __future__ import annotations

from compiler.engines.llama_cpp.memory.graphs.allocator import Layout, Node
from compiler.engines.llama_cpp.memory.graphs.builder import FLOAT, HALF, INDEX, LONG_INDEX, GraphBuilder
from compiler.engines.llama_cpp.memory.units import CUDA_ALIGNMENT, padded
from compiler.engines.llama_cpp.models.shape import Attention, Layer, Shape
from compiler.engines.llama_cpp.settings import CACHE_TYPES, Contexts, FlashAttention, Settings

_ROTATION = 64
"""Least side of a rotation (src/llama-kv-cache.cpp, b10435)."""


class Inputs:
    """Inputs of one graph, made as they are first read; the caches of contexts and of windows have their own."""

    def __init__(self, graph: GraphBuilder, shape: Shape, settings: Settings, sizes: Contexts) -> None:
        self._graph, self._shape, self._settings, self._sizes = graph, shape, settings, sizes
        self._flash = settings.flash_attention is not FlashAttention.OFF
        self._sides = {windowed: self._key_rotation(windowed=windowed) for windowed in (False, True)}
        self._value_sides = {windowed: self._value_rotation(windowed=windowed) for windowed in (False, True)}

    @property
    def positions(self) -> Node:
        """Of a ubatch's tokens."""
        return self._graph.input("positions", INDEX * self._shape.architecture.positions * self._sizes.tokens)

    def mixed_embeddings(self, size: int, layout: Layout) -> None:
        """The way of ubatches that mix tokens and embeddings, in the graph even if it is not gone: build_inp_embd."""
        graph = self._graph
        copied = graph.compute(size, layout, graph.input("mixed", size, layout))
        rows = graph.input("mixed_rows", size, layout)
        slots = graph.input("mixed_slots", LONG_INDEX * self._sizes.tokens)
        graph.expand(copied)
        graph.expand(Node(0, layout, (rows, slots, copied), viewed=copied))

    def mask(self, layer: Layer) -> Node:
        """Which tokens see which cells of a layer's cache; f16 for flash attention."""
        size = self._cells(layer) * self._sizes.tokens * (HALF if self._flash else FLOAT)
        return self._graph.input(f"mask {layer.is_windowed}", size)

    def scores(self, layer: Layer) -> int:
        """Bytes of all heads' scores against all cells, without flash attention."""
        return self._cells(layer) * self._sizes.tokens * layer.heads * FLOAT

    def store_keys(self, layer: Layer, key: Node) -> None:
        """Keys of a ubatch, into the cache."""
        places = self._graph.input(f"key places {layer.is_windowed}", LONG_INDEX * self._sizes.tokens)
        self._graph.store(key, places)

    def store_values(self, layer: Layer, value: Node) -> None:
        """Values likewise; without flash attention each element has a place, as values are transposed."""
        elements = self._sizes.tokens
        if not self._flash:
            elements *= max(each.kv_heads * each.value_length for each in self._shape.layers)
            if value.viewed is not None and value.layout == ("part",):
                size = FLOAT * layer.kv_heads * layer.value_length * self._sizes.tokens
                value = self._graph.compute(size, ("flat", size), value)
        self._graph.store(value, self._graph.input(f"value places {layer.is_windowed}", LONG_INDEX * elements))

    def copies(self, layer: Layer, size: int) -> int:
        """Bytes of attention's result and of the f16 copies that a card's kernels make of a cache of another type.

        ggml/src/ggml-cuda/fattn-common.cuh, ggml_cuda_flash_attn_ext_get_f16_extra_data; a latent's key has its value.
        """
        if not self._settings.devices:
            return size
        elements = self._cells(layer) * self._sizes.streams * layer.kv_heads * HALF
        if self._settings.key_type != "f16":
            size = padded(size, CUDA_ALIGNMENT) + elements * layer.key_length
        if self._settings.value_type != "f16" and layer.attention is not Attention.LATENT:
            size = padded(size, CUDA_ALIGNMENT) + elements * layer.value_length
        return size

    def rotated(self, layer: Layer, query: Node, key: Node, value: Node) -> tuple[Node, Node, Node]:
        """Queries and keys rotated alike, and values, before they are quantized."""
        side = self._sides[layer.is_windowed]
        if side:
            rotation = self._rotation("key", layer, side)
            query = self._rotate(query, rotation, FLOAT * layer.heads * layer.key_length * self._sizes.tokens)
            key = self._rotate(key, rotation, FLOAT * layer.key_width * self._sizes.tokens)
        if self._value_sides[layer.is_windowed]:
            size = FLOAT * layer.kv_heads * layer.value_length * self._sizes.tokens
            value = self._rotate(value, self._rotation("value", layer, _ROTATION), size)
        return query, key, value

    def unrotated(self, layer: Layer, attended: Node) -> Node:
        """Attention's result, turned back."""
        if not self._value_sides[layer.is_windowed]:
            return attended
        size = FLOAT * layer.heads * layer.value_length * self._sizes.tokens
        return self._rotate(attended, self._rotation("value", layer, _ROTATION), size)

    def _rotation(self, name: str, layer: Layer, side: int) -> Node:
        return self._graph.input(f"{name} rotation {layer.is_windowed}", FLOAT * side * side)

    def _rotate(self, node: Node, rotation: Node, size: int) -> Node:
        return self._graph.view(self._graph.compute(size, ("rotated",), rotation, self._graph.view(node)), node.layout)

    def _cells(self, layer: Layer) -> int:
        if layer.attends_to_batch:
            return self._sizes.tokens
        return self._sizes.window_cells if layer.is_windowed else self._sizes.cells

    def _lengths(self, *, windowed: bool, of_values: bool) -> set[int]:
        return {
            layer.value_length if of_values else layer.key_length
            for layer in self._shape.main_layers
            if layer.has_cache and layer.is_windowed is windowed
        }

    def _key_rotation(self, *, windowed: bool) -> int:
        """The side of the rotation: the largest power of two that divides all heads' length; 0 for none."""
        lengths = self._lengths(windowed=windowed, of_values=False)
        is_quantized = CACHE_TYPES[self._settings.key_type].block > 1
        if not is_quantized or len(lengths) != 1 or min(lengths) % _ROTATION or self._shape.is_latent:
            return 0
        return min(lengths) & -min(lengths)

    def _value_rotation(self, *, windowed: bool) -> bool:
        lengths = self._lengths(windowed=windowed, of_values=True)
        is_quantized = CACHE_TYPES[self._settings.value_type].block > 1
        return is_quantized and len(lengths) == 1 and min(lengths) % _ROTATION == 0 and not self._shape.is_latent
