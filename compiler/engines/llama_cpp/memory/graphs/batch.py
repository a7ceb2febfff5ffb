"""Attention of an encoder, which caches nothing: all tokens of a batch see each other, or a window of it.

src/llama-graph.cpp, build_attn of llm_graph_input_attn_no_cache and build_attn_mha, b10435.
"""

from __future__ import annotations

from compiler.engines.llama_cpp.memory.graphs.allocator import Node
from compiler.engines.llama_cpp.memory.graphs.builder import FLOAT, HALF, GraphBuilder
from compiler.engines.llama_cpp.memory.graphs.inputs import Inputs
from compiler.engines.llama_cpp.models.shape import Layer


def attend_to_batch(
    graph: GraphBuilder, inputs: Inputs, layer: Layer, parts: tuple[Node, Node, Node], tokens: int, *, flash: bool
) -> Node:
    """The result for queries, keys and values, a row for each token."""
    for part in parts:
        graph.expand(part)
    query, key, value = parts
    size = FLOAT * tokens * layer.heads * layer.value_length
    split = graph.view(graph.view(query))
    if flash:
        attended = _attend(graph, inputs, layer, (split, key, value), tokens)
        result = graph.view(attended, ("flat", size))
    else:
        scores = graph.compute(inputs.scores(layer), ("scores",), graph.view(key), split)
        shares = graph.change(scores, inputs.mask(layer))
        turned = graph.compute(FLOAT * tokens * layer.value_width, ("turned",), graph.view(graph.view(value)))
        mixed = graph.compute(size, ("mixed",), turned, shares)
        result = graph.compute(size, ("flat", size), graph.view(mixed))
    graph.expand(result)
    return result


def _attend(graph: GraphBuilder, inputs: Inputs, layer: Layer, parts: tuple[Node, Node, Node], tokens: int) -> Node:
    """Keys and values are cast to f16 for the kernel, which no cache has done here."""
    query, key, value = parts
    keys = graph.compute(HALF * tokens * layer.key_width, ("keys",), graph.view(key))
    values = graph.compute(HALF * tokens * layer.value_width, ("values",), graph.view(value))
    size = FLOAT * tokens * layer.heads * layer.value_length
    return graph.compute(size, ("attended",), query, keys, values, inputs.mask(layer))
