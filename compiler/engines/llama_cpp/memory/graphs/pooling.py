"""One vector or score of each text (src/llama-graph.cpp, build_pooling, b10435)."""

from __future__ import annotations

from compiler.engines.llama_cpp.memory.graphs.allocator import Node
from compiler.engines.llama_cpp.memory.graphs.builder import FLOAT, INDEX, GraphBuilder
from compiler.engines.llama_cpp.models.architectures import Architecture
from compiler.engines.llama_cpp.settings import Contexts, Pooling


def averages(architecture: Architecture, pooling: Pooling | None) -> bool:
    """Whether all tokens of a text are added up, for which there is a matrix of tokens and slots."""
    return pooling is Pooling.MEAN or (pooling is Pooling.RANK and architecture.ranks_by_mean)


def pool(graph: GraphBuilder, states: Node, embedding: int, sizes: Contexts, *, by_mean: bool) -> None:
    """From the states of all tokens; what a head computes of them then is small, and never the most."""
    size = FLOAT * embedding * sizes.slots
    if by_mean:
        turned = graph.compute(states.size, ("turned",), graph.view(states))
        pooled = graph.compute(size, ("pooled",), turned, graph.input("mean", FLOAT * sizes.tokens * sizes.slots))
    else:
        pooled = graph.compute(size, ("pooled",), states, graph.input("places of one", INDEX * sizes.slots))
    pooled.is_kept = True
    graph.expand(pooled)
