"""Linear attention by gated delta nets (src/models/qwen35.cpp, qwen3next.cpp and delta-net-base.cpp, b10435)."""

from __future__ import annotations

from compiler.engines.llama_cpp.memory.graphs.allocator import Layout, Node
from compiler.engines.llama_cpp.memory.graphs.builder import GraphBuilder
from compiler.engines.llama_cpp.memory.graphs.recurrent import Recurrent, keep_state, state_rows


def delta_net(graph: GraphBuilder, net: Recurrent, normed: Node, layout: Layout) -> Node:
    """The layer's result, a view as the residual is laid out."""
    graph.expand(normed)
    state, unit = net.state, net.unit
    mixed = graph.view(graph.multiply(unit * state.projected, ("mixed",), normed))
    gate = graph.multiply(unit * state.inner, ("gate",), normed)
    strength, decay = _gates(graph, net, normed)
    kept = state_rows(graph, net.convolution)
    window = graph.compute(unit * state.projected + net.convolution, ("window",), graph.view(kept), mixed)
    keep_state(graph, window)
    memory = graph.view(state_rows(graph, net.recurrence))
    convolved = graph.change(graph.compute(unit * state.projected, ("convolved",), window, graph.weights))
    width = (state.projected - state.inner) // 2
    query, key = (graph.compute(unit * width, ("normed", width), graph.view(convolved)) for _ in range(2))
    if net.repeats_heads and width < state.inner:
        query, key = (
            graph.view(graph.compute(unit * state.inner, ("repeated",), graph.view(each))) for each in (query, key)
        )
    size = unit * state.inner + net.recurrence
    result = graph.compute(size, ("delta",), query, key, graph.view(convolved), decay, strength, memory)
    keep_state(graph, result)
    return _gated(graph, net, graph.view(result), gate, layout)


def _gates(graph: GraphBuilder, net: Recurrent, normed: Node) -> tuple[Node, Node]:
    """How strongly a token is written, and how fast the state decays."""
    size = net.unit * net.heads
    if net.tensors.has("ssm_ba.weight"):
        both = graph.multiply(2 * size, ("both_gates",), normed)
        strength = graph.view(graph.change(graph.compute(size, ("strength",), graph.view(graph.view(both)))))
        decay = graph.change(graph.compute(size, ("decay",), graph.view(graph.view(both))), graph.weights)
        return strength, graph.view(graph.change(graph.change(decay), graph.weights))
    strength = Node(size, ("strength",), (graph.view(graph.multiply(size, ("beta",), normed)),), overwrites=True)
    biased = Node(
        size, ("decay",), (graph.view(graph.multiply(size, ("alpha",), normed)), graph.weights), overwrites=True
    )
    decay = graph.change(graph.change(biased), graph.weights)
    return strength, graph.view(decay)


def _gated(graph: GraphBuilder, net: Recurrent, result: Node, gate: Node, layout: Layout) -> Node:
    size, inner = net.unit * net.state.inner, ("inner_gate",)
    normed = graph.change(Node(size, inner, (result,), overwrites=True), graph.weights)
    opened = Node(size, inner, (graph.view(gate),), overwrites=True)
    gated = graph.view(graph.change(normed, opened))
    return graph.view(graph.multiply(net.unit * net.embedding, ("projected",), gated), layout)
