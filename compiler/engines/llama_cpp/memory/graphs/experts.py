"""A mixture of experts (src/llama-graph.cpp, build_moe_ffn, b10435)."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.engines.llama_cpp.memory.blocks import LayerTensors
from compiler.engines.llama_cpp.memory.graphs.allocator import Layout, Node
from compiler.engines.llama_cpp.memory.graphs.builder import FLOAT, GraphBuilder
from compiler.engines.llama_cpp.models.architectures import Architecture
from compiler.engines.llama_cpp.models.shape import Experts


@dataclass(frozen=True, slots=True)
class Router:
    """How one layer chooses experts."""

    experts: Experts
    tensors: LayerTensors
    architecture: Architecture
    embedding: int


def experts(graph: GraphBuilder, router: Router, normed: Node, tokens: int) -> Node:
    """The sum of what the experts give that each token chose."""
    chosen, shares = _choose(graph, router, normed, tokens)
    graph.expand(shares)
    inner = _inner(graph, router, graph.view(normed), chosen, tokens)
    size = FLOAT * router.experts.used * router.embedding * tokens
    results = graph.compute(size, ("results",), graph.weights, inner, chosen)
    if router.tensors.has("ffn_down_exps.bias"):
        results = graph.change(results, graph.weights, chosen)
    results = graph.change(results, shares)
    graph.expand(results)
    return _sum(graph, router, results, tokens)


def _choose(graph: GraphBuilder, router: Router, normed: Node, tokens: int) -> tuple[Node, Node]:
    """Which experts, and the share of each."""
    size, layout = FLOAT * router.experts.count * tokens, ("votes",)
    votes = graph.multiply(size, layout, normed, has_bias=router.tensors.has("ffn_gate_inp.bias"))
    late = router.architecture.weighs_chosen
    odds = votes if late else graph.change(votes)
    ranked = graph.change(odds, graph.weights) if router.tensors.has("exp_probs_b.bias") else odds
    chosen = graph.view(graph.compute(size, ("order",), ranked))
    flat: Layout = ("shares", 2)
    shares = graph.compute(FLOAT * router.experts.used * tokens, ("shares", 3), graph.view(odds), chosen)
    if late:
        return chosen, graph.view(Node(shares.size, flat, (graph.view(shares, flat),), overwrites=True), ("shares", 3))
    if router.architecture.sums_shares:
        spread = graph.view(shares, flat)
        total = graph.compute(FLOAT * tokens, ("total",), spread)
        total = graph.compute(FLOAT * tokens, ("total",), total)
        divided = Node(shares.size, flat, (spread, total), overwrites=True)
        shares = graph.view(divided, ("shares", 3))
    return chosen, shares


def _inner(graph: GraphBuilder, router: Router, normed: Node, chosen: Node, tokens: int) -> Node:
    size, layout = FLOAT * router.experts.used * router.experts.feed_forward * tokens, ("inner_experts",)
    names = router.tensors
    if names.has("ffn_gate_up_exps.weight"):
        both = graph.compute(2 * size, ("both",), graph.weights, normed, chosen)
        return graph.compute(size, layout, graph.view(both), graph.view(both))
    up = graph.compute(size, layout, graph.weights, normed, chosen)
    if names.has("ffn_up_exps.bias"):
        up = graph.change(up, graph.weights, chosen)
    if not names.has("ffn_gate_exps.weight"):
        return graph.change(up)
    gate = graph.compute(size, layout, graph.weights, normed, chosen)
    if names.has("ffn_gate_exps.bias"):
        gate = graph.change(gate, graph.weights, chosen)
    return graph.compute(size, layout, gate, up)


def _sum(graph: GraphBuilder, router: Router, results: Node, tokens: int) -> Node:
    size, layout = FLOAT * router.embedding * tokens, ("residual", tokens)
    parts = [graph.view(results, ("part", index)) for index in range(router.experts.used)]
    for part in parts:
        graph.expand(part)
    total = parts[0]
    for part in parts[1:]:
        total = Node(size, layout, (total, part), overwrites=True)
        graph.expand(total)
    return total if len(parts) > 1 else graph.compute(size, layout, total)
