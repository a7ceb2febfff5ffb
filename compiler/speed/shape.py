"""What decides how fast a model is on a server: what is read and what is multiplied for each token."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from compiler.speed.constants import Era


class Arithmetic(StrEnum):
    """How most weights are stored and multiplied; W4 and W8 are integers that are multiplied in 16 bits."""

    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    W4 = "w4"
    FP4 = "fp4"
    MXFP4 = "mxfp4"
    FP4_EXPERTS = "fp4moe"
    W8 = "w8"
    GGUF = "gguf"


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters that every token goes through.

    Attributes:
        bytes_each: of a stored parameter, its share of scales included.
    """

    parameters: int
    bytes_each: float

    @property
    def size(self) -> float:
        """Bytes."""
        return self.parameters * self.bytes_each


@dataclass(frozen=True, slots=True)
class Experts:
    """Routed experts, of which a token goes through a few.

    Attributes:
        layers: that have them.
        count, active: in a layer, and how many of these serve one token.
        parameters: of one expert.
        bytes_each: of a stored parameter, its share of scales included.
    """

    layers: int
    count: int
    active: int
    parameters: int
    bytes_each: float

    @property
    def size(self) -> float:
        """Bytes of all experts of all layers."""
        return self.layers * self.count * self.parameters * self.bytes_each


@dataclass(frozen=True, slots=True)
class KvGroup:
    """Layers that keep alike of each token.

    Attributes:
        elements: of one layer for one token.
        window: tokens that are kept; None for all.
        query_width: elements of the queries of one token in one layer.
    """

    layers: int
    elements: int
    window: int | None
    query_width: int

    def kept(self, tokens: float) -> float:
        """Of so many tokens, those that are kept and read."""
        return tokens if self.window is None else min(tokens, self.window)


@dataclass(frozen=True, slots=True)
class Shape:
    """A model as a server runs it.

    Attributes:
        attention: projections of attention, of linear attention and of state-space layers too.
        dense: feed-forward layers, shared experts and routers.
        head: the output head. Input embeddings are looked up, which takes no time.
        kv_heads: over how many ranks the cache is divided at most; 1 where all ranks keep the same (MLA).
        kv_bytes: of an element of the cache.
        state_elements: of the recurrent states of one sequence, over all layers.
        all_reduces: of one step over all layers.
        linear_attention: whether layers with recurrent states are among them.
        era: of the engine's release.
        eager: no step is recorded as a graph.
        block_scales: whether weights of 8 bits have a scale for each block, not for each row.
        unlike: what of it no measured model had, in words; None where nothing is.
    """

    layers: int
    hidden: int
    attention: Part
    dense: Part
    head: Part
    experts: Experts | None
    kv: tuple[KvGroup, ...]
    kv_heads: int
    kv_bytes: float
    all_reduces: int
    arithmetic: Arithmetic
    state_elements: int = 0
    linear_attention: bool = False
    era: Era = Era.ASYNC
    eager: bool = False
    lora: bool = False
    block_scales: bool = False
    unlike: str | None = None

    @property
    def weights(self) -> float:
        """Bytes that lie on the devices together, without input embeddings."""
        parts = self.attention.size + self.dense.size + self.head.size
        return parts + (self.experts.size if self.experts is not None else 0)

    def cache_bytes(self, tokens: float, ranks: int) -> float:
        """Of one sequence of so many tokens on one of the ranks, with its states."""
        kept = sum(group.layers * group.elements * group.kept(tokens) for group in self.kv)
        return kept * self.kv_bytes / min(ranks, self.kv_heads) + self.state_elements * STATE_BYTES / ranks


@dataclass(frozen=True, slots=True)
class Replica:
    """A model on its cards.

    Attributes:
        ranks: cards that work on each token side by side.
    """

    shape: Shape
    ranks: int


STATE_BYTES = 4
"""Moved for each element of a state in a step: it is read and written in 16 bits, or read in 32."""
