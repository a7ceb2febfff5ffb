"""Short convolutions (src/models/lfm2.cpp) and selective state spaces (src/models/mamba-base.cpp), b10435."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.engines.llama_cpp.memory.blocks import LayerTensors
from compiler.engines.llama_cpp.memory.graphs.allocator import Layout, Node
from compiler.engines.llama_cpp.memory.graphs.builder import FLOAT, INDEX, GraphBuilder
from compiler.engines.llama_cpp.models.shape import State
from compiler.engines.llama_cpp.releases.rules import Rules
from compiler.engines.llama_cpp.settings import Contexts


@dataclass(frozen=True, slots=True)
class Recurrent:
    """Sizes of one layer.

    Attributes:
        state: what it keeps of a sequence.
        embedding: width of the residual.
        repeats_heads: as of Architecture.
    """

    state: State
    sizes: Contexts
    tensors: LayerTensors
    embedding: int
    repeats_heads: bool
    rules: Rules

    @property
    def unit(self) -> int:
        """Bytes of one element of all tokens."""
        return FLOAT * self.sizes.tokens

    @property
    def heads(self) -> int:
        """Of values."""
        return self.tensors.rows_of("ssm_dt.bias")

    @property
    def convolution(self) -> int:
        """Bytes of the convolutions' states of all sequences."""
        return FLOAT * self.state.convolution * self.sizes.slots

    @property
    def recurrence(self) -> int:
        """Bytes of the recurrences' states of all sequences."""
        return FLOAT * self.state.recurrence * self.sizes.slots


def state_rows(graph: GraphBuilder, size: int) -> Node:
    """States of a ubatch's sequences, taken out of the cache at once."""
    rows = graph.compute(size, ("state",), graph.weights, graph.input("state rows", INDEX))
    graph.expand(rows)
    return rows


def keep_state(graph: GraphBuilder, new: Node) -> None:
    """Write a part of a tensor back into the cache."""
    graph.expand(Node(0, (), (graph.view(new),), viewed=graph.weights))


def short_convolution(graph: GraphBuilder, net: Recurrent, normed: Node, layout: Layout) -> Node:
    """The layer's result, a view as the residual is laid out."""
    size = net.unit * net.embedding
    kept = state_rows(graph, net.convolution)
    chunks = graph.multiply(3 * size, ("chunks",), graph.view(normed))
    gated = Node(size, ("gated",), (graph.view(chunks), graph.view(chunks)), overwrites=True)
    window = graph.compute(size + net.convolution, ("window",), graph.view(kept), graph.view(gated))
    keep_state(graph, window)
    convolved = graph.compute(size, ("convolved",), window, graph.weights)
    mixed = Node(size, ("convolved",), (graph.view(chunks), convolved), overwrites=True)
    return graph.view(graph.multiply(size, ("projected",), mixed), layout)


def state_space(graph: GraphBuilder, net: Recurrent, normed: Node, layout: Layout) -> Node:
    """Likewise, of the second Mamba."""
    state, unit = net.state, net.unit
    inner: Layout = ("inner_state",)
    kept = state_rows(graph, net.convolution)
    whole = graph.multiply(unit * (state.inner + state.projected + net.heads), ("whole",), graph.view(normed))
    window = graph.compute(
        unit * state.projected + net.convolution, ("window",), graph.view(kept), graph.view(graph.view(whole))
    )
    keep_state(graph, window)
    convolved = graph.compute(unit * state.projected, ("convolved",), window, graph.weights)
    convolved = graph.change(graph.change(convolved, graph.weights))
    parts = [graph.view(convolved) for _ in range(3)]
    steps = graph.change(graph.compute(unit * net.heads, ("steps",), graph.view(whole)), graph.weights)
    places = graph.input("state rows", INDEX)
    scanned = graph.compute(
        unit * state.inner + net.recurrence, ("scanned",), graph.weights, parts[0], steps, parts[1], parts[2], places
    )
    graph.expand(scanned)
    if net.rules.gathers_states:
        others = net.recurrence - net.recurrence // net.sizes.slots
        keep_state(graph, graph.compute(others, ("state",), graph.weights, places))
    keep_state(graph, scanned)
    size = unit * state.inner
    skipped = Node(size, inner, (parts[0], graph.weights), overwrites=True)
    summed = Node(size, inner, (graph.view(scanned), skipped), overwrites=True)
    gated = graph.compute(size, ("gated",), graph.compute(size, ("gate",), graph.view(whole)), summed)
    if net.tensors.has("ssm_norm.weight"):
        gated = graph.change(Node(size, ("grouped",), (graph.view(gated),), overwrites=True), graph.weights)
    projected = graph.multiply(unit * net.embedding, layout, graph.view(gated))
    return projected if net.rules.projects_flat else graph.view(projected, layout)
