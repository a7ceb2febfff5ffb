"""A ubatch of a transformer on one card, layer by layer (src/llama-graph.cpp and src/models/ of b10435).

Only sizes and the order of operations matter; what a class computes besides (scales, soft caps) overwrites its operand.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from compiler.engines.llama_cpp.memory.blocks import Blocks, LayerTensors
from compiler.engines.llama_cpp.memory.graphs.allocator import Node, buffer_bytes
from compiler.engines.llama_cpp.memory.graphs.builder import FLOAT, INDEX, GraphBuilder
from compiler.engines.llama_cpp.memory.graphs.layer import LayerGraph, Whole
from compiler.engines.llama_cpp.memory.graphs.pooling import averages, pool
from compiler.engines.llama_cpp.models.keys import ModelError
from compiler.engines.llama_cpp.models.shape import Layer, Shape
from compiler.engines.llama_cpp.releases.rules import Rules
from compiler.engines.llama_cpp.settings import Contexts, Settings

_REPEATS = 3
"""A pair of layers that follow each other this often has shown all that it does to the buffer."""


_MOST_SUMS = 20_000
_COPIES = 4
"""GGML_SCHED_MAX_COPIES (ggml/CMakeLists.txt, b10435): ubatches that cards compute one behind the other."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one card computes of a model: the layers from `first` to before `end`, perhaps the output.

    Attributes:
        is_pipelined: other cards compute the rest.
    """

    first: int
    end: int
    has_output: bool
    is_pipelined: bool


@lru_cache(maxsize=256)
def transformer_bytes(
    shape: Shape, blocks: Blocks, rules: Rules, settings: Settings, sizes: Contexts, *, part: Part
) -> int:
    """The compute buffer of a card that holds a part of a model and its caches.

    Raises:
        ModelError: layers that are all different, with so many experts each that laying them out would take seconds.
    """
    graph = GraphBuilder(_COPIES if part.is_pipelined else 1)
    return buffer_bytes(_Transformer(graph, shape, rules, settings, sizes).build(blocks, part))


class _Transformer(Whole):
    """All of its part of a model.

    Attributes:
        stack: embeddings beside what images add to the first layers; None where they come from another card.
    """

    stack: Node | None = None

    def build(self, blocks: Blocks, part: Part) -> list[Node]:
        """All nodes, inputs first."""
        if self.rules.mixes_inputs and part.first == 0:
            self.inputs.mixed_embeddings(self.rows.size, self.rows.layout)
        layers = list(zip(self.shape.main_layers, blocks.layers, strict=True))
        kept = _representative(layers, part)
        if len(kept) * self.shape.experts.used > _MOST_SUMS:
            raise ModelError(f"{len(kept)} layers differ, and each sums up {self.shape.experts.used} experts")
        state = self._embeddings(is_first=part.first == 0) if kept else self.graph.weights
        if self.rules.mixes_inputs and part.first == 0 and self.shape.architecture.scales_embeddings:
            state = self.graph.change(state, self.graph.input("scales", FLOAT * self.rows.tokens))
        normed = None
        if self.settings.is_dry and 0 < part.first < len(layers) and _begins_with_norm(layers[part.first]):
            normed = self.graph.input("normed", self.rows.size, self.rows.layout)
        for index in kept:
            layer = LayerGraph(self, index, *layers[index])
            state = layer.build(state, normed, is_last=index == len(layers) - 1)
            state = self._stacked(state, index)
            normed = None
        if part.has_output:
            self._logits(state, is_alone=part.first == len(layers))
        else:
            is_norm_here = self.settings.is_dry and part.end < len(layers) and _begins_with_norm(layers[part.end])
            self._hand_on(state, has_norm=is_norm_here)
        return self.graph.all_nodes

    def _embeddings(self, *, is_first: bool) -> Node:
        """What a card is given, or the host looks up beside room for embeddings that come instead of tokens."""
        size, layout, stacked = self.rows.size, self.rows.layout, self.shape.stacked
        if self.settings.devices:
            state = self.graph.input("state", size, layout)
        else:
            self.graph.input("embeddings", (1 + stacked) * size).is_kept = True
            state = self.graph.compute(size, layout, self.graph.input("tokens", INDEX * self.rows.tokens))
            self.graph.expand(state)
        if is_first and stacked:
            self.stack = self.graph.compute((1 + stacked) * size, ("stack",), state)
            return self.graph.view(self.stack, layout)
        return self._marked(state) if is_first else state

    def _stacked(self, state: Node, index: int) -> Node:
        """What an image would add after a layer is a part of the inputs (src/models/qwen3vl.cpp)."""
        if index >= self.shape.stacked:
            return state
        stack = self.stack or self.graph.input("stack", (1 + self.shape.stacked) * self.rows.size)
        return self.graph.change(state, self.graph.view(stack))

    def _marked(self, state: Node) -> Node:
        """With what else an encoder adds of a token, its type and its place, and their norm."""
        architecture = self.shape.architecture
        on_card = self.settings.devices > 0
        if architecture.types_tokens:
            types = self.graph.input("types", FLOAT * self.rows.embedding) if on_card else self.graph.weights
            state = self.graph.change(state, types)
        if architecture.places_tokens:
            size, layout = self.rows.size, self.rows.layout
            places = self.graph.input("places", size, layout) if on_card else None
            state = self.graph.change(places or self.graph.compute(size, layout, self.inputs.positions), state)
        return self.norm(state) if architecture.norms_embeddings else state

    def _logits(self, state: Node, *, is_alone: bool) -> None:
        """What is sampled from, or pooled; a card may have the output alone."""
        rows, pooling, architecture = self.sizes.outputs, self.settings.pooling, self.shape.architecture
        if is_alone:
            state = self.graph.input("last", FLOAT * self.shape.embedding * rows)
        if not architecture.norms_after:
            state = self.norm(state)
        if pooling is not None:
            state.is_kept = True
        if not architecture.is_encoder:
            # Those that pool compute logits all the same, of every token.
            logits = self.graph.multiply(FLOAT * self.shape.vocabulary * rows, ("logits",), state)
            logits.is_kept = True
            self.graph.expand(logits)
        if pooling is not None:
            by_mean = averages(architecture, pooling)
            pool(self.graph, state, self.shape.embedding, self.sizes, by_mean=by_mean)

    def _hand_on(self, state: Node, *, has_norm: bool) -> None:
        """What the next card reads: the residual, in a dry start its norm without the weight too."""
        state.is_kept = True
        handed = self.graph.change(state) if has_norm else state
        handed.is_kept = True
        self.graph.expand(handed)


def _begins_with_norm(layer: tuple[Layer, LayerTensors]) -> bool:
    return layer[1].has("attn_norm.weight")


def _representative(layers: list[tuple[Layer, LayerTensors]], part: Part) -> list[int]:
    """Layers of a part, enough for its largest buffer: each pair of neighbours a few times, and the last."""
    seen: Counter[tuple[object, object]] = Counter()
    kept = []
    for index in range(part.first, part.end):
        pair = (layers[index - 1] if index > part.first else None, layers[index])
        seen[pair] += 1
        if seen[pair] <= _REPEATS or index == part.end - 1:
            kept.append(index)
    return kept
