"""What towers of images share: patches, layers, and the ways to the model's width (tools/mtmd/clip.cpp, b10435).

Only sizes and the order of operations matter, as in `transformer`. Attention is flash attention, whose mask, keys and
values are cast to f16.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from compiler.engines.llama_cpp.memory.graphs.allocator import Node
from compiler.engines.llama_cpp.memory.graphs.builder import FLOAT, HALF, GraphBuilder
from compiler.engines.llama_cpp.models.tower import Kind, Tower

_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Image:
    """An image as a tower gets it: patches of it, and rows of embeddings that it becomes.

    Attributes:
        frames: images of one size that follow each other without text, of which Qwen's towers make one.
        is_copied: to a card, each frame by itself (ggml/src/ggml-backend.cpp: a view is where its tensor is).
    """

    patches: int
    rows: int
    frames: int = 1
    is_copied: bool = True


class TowerGraph:
    """The graph of one image. A node's layout is the bytes of an element and the elements of each dimension."""

    def __init__(self, tower: Tower, image: Image) -> None:
        self.tower, self.image, self.graph = tower, image, GraphBuilder()
        self.positions = image.patches + (1 if tower.has("v.class_embd") else 0)

    # Operations ----------------------------------------------------------------------------------------------------

    def new(self, layout: tuple[int, ...], *sources: Node) -> Node:
        """A tensor of its own."""
        return self.graph.compute(prod(layout), layout, *sources)

    def like(self, operand: Node, *others: Node) -> Node:
        """Of an operand's form, and in its place where nothing else reads that."""
        return self.graph.change(operand, *others)

    def changed(self, operand: Node, layout: tuple[int, ...], *others: Node) -> Node:
        """The same through a view, which is never overwritten."""
        return Node(prod(layout), layout, (operand, *others), overwrites=True)

    def view(self, node: Node, *layout: int) -> Node:
        """Another form of a tensor, or a part of it."""
        return self.graph.view(node, layout)

    def turned(self, node: Node, *layout: int) -> Node:
        """A copy with other dimensions first."""
        return self.new(layout, self.view(node))

    def input(self, name: str, *layout: int) -> Node:
        """What the host brings."""
        return self.graph.input(name, prod(layout), layout)

    def norm(self, state: Node, name: str, layout: tuple[int, ...], *, by_root: bool) -> Node:
        """A norm, with its weight and bias where it has them; only that by the root of squares overwrites."""
        normed = self.changed(state, layout) if by_root else self.new(layout, state)
        for part in ("weight", "bias"):
            normed = self.like(normed, self.graph.weights) if self.tower.has(f"{name}.{part}") else normed
        return normed

    def multiply(self, operand: Node, name: str, rows: int, width: int) -> Node:
        """A matrix times so many rows, and its bias; Gemma 4 clamps what goes in and comes out, in its place."""
        layout = (FLOAT, width, rows)
        if self.tower.kind is Kind.GEMMA_4:
            return self.view(self.new(layout, self.graph.weights, self.view(operand)), *layout)
        result = self.new(layout, self.graph.weights, operand)
        return self.like(result, self.graph.weights) if self.tower.has(f"{name}.bias") else result

    # Patches -------------------------------------------------------------------------------------------------------

    def pixels(self) -> Node:
        """The image."""
        return self._frames("pixels", 1)

    def pair(self) -> tuple[Node, Node]:
        """Two frames: one image twice, or two images."""
        if self.image.frames == 1:
            return self.pixels(), self.pixels()
        if self.image.is_copied:
            return self._frames("first", 1), self._frames("second", 1)
        both = self._frames("both", self.image.frames)
        return self.view(both), self.view(both)

    def _frames(self, name: str, count: int) -> Node:
        return self.input(name, FLOAT, count * _CHANNELS, self.image.patches * self.tower.patch**2)

    def unrolled(self, pixels: Node) -> Node:
        """Each patch times the matrix of patches; which is why patches are unrolled (ggml/src/ggml.c, ggml_conv_2d)."""
        kernel = self.tower.tensors["v.patch_embd.weight"]
        element = FLOAT if kernel.type.name == "bf16" else HALF
        count, weights = self.image.patches, self.graph.weights
        rows = self.new((element, _CHANNELS * self.tower.patch**2, count), weights, pixels)
        mixed = self.new((FLOAT, count, self.tower.embedding), self.view(rows), self.view(weights))
        return self.turned(self.view(mixed), FLOAT, count, self.tower.embedding, 1)

    def patches(self, pixels: Node) -> Node:
        """Patches, an embedding each."""
        inp = self.turned(self.view(self.unrolled(pixels)), FLOAT, self.tower.embedding, self.image.patches)
        return self.like(inp, self.graph.weights) if self.tower.has("v.patch_embd.bias") else inp

    def resized_places(self) -> Node:
        """The learned places, brought to the image's form; as they are where it has as many patches."""
        count, width = self.image.patches, self.tower.embedding
        if self.tower.rows("v.position_embd.weight") == count:
            return self.graph.weights
        resized = self.new((FLOAT, count, width), self.view(self.view(self.graph.weights)))
        return self.turned(resized, FLOAT, width, count)

    # Layers --------------------------------------------------------------------------------------------------------

    @property
    def residual(self) -> tuple[int, ...]:
        """The form of what layers hand on."""
        return FLOAT, self.tower.embedding, self.positions

    @property
    def heads(self) -> tuple[int, ...]:
        """The form of queries, keys and values."""
        return FLOAT, self.tower.head, self.tower.heads, self.positions

    def separate(self, normed: Node) -> tuple[Node, Node, Node]:
        """Queries, keys and values, from one matrix or three."""
        wide = self.tower.heads * self.tower.head
        if self.tower.has("attn_qkv.weight"):
            whole = self.multiply(normed, "attn_qkv", self.positions, 3 * wide)
            query, key, value = (self.view(whole, *self.heads, 0) for _ in range(3))
        else:
            names = ("attn_q", "attn_k", "attn_v")
            query, key, value = (self.multiply(normed, name, self.positions, wide) for name in names)
            query, key, value = (self.view(each, *self.heads) for each in (query, key, value))
        return self._normed(query, "attn_q_norm"), self._normed(key, "attn_k_norm"), value

    def _normed(self, part: Node, name: str) -> Node:
        if not self.tower.has(f"{name}.weight"):
            return part
        return self.norm(part, name, self.heads, by_root=True)

    def attend(self, query: Node, key: Node, value: Node, mask: Node | None = None) -> Node:
        """What patches learn of each other."""
        for each in (query, key, value):
            self.graph.expand(each)
        head, heads = self.tower.head, self.tower.heads
        kept = (HALF, head, self.positions, heads)
        cast = [self.new(kept, self.view(each)) for each in (key, value)]
        masks = () if mask is None else (self.new((HALF, self.positions, self.positions), mask),)
        attended = self.new((FLOAT, head, heads, self.positions), self.view(query), *cast, *masks)
        return self.multiply(self.view(attended), "attn_out", self.positions, self.tower.embedding)

    def feed_forward(self, operand: Node, rows: int) -> Node:
        """A layer's FFN, with a gate or without."""
        # Old files have the two matrices' names the wrong way round, which the server puts right.
        inner = prod(self.tower.tensors["ffn_up.weight"].shape) // self.tower.embedding
        risen = self.multiply(operand, "ffn_up", rows, inner)
        if self.tower.has("ffn_gate.weight"):
            opened = self.multiply(operand, "ffn_gate", rows, inner)
            risen = self.new((FLOAT, inner, rows), opened, risen)
        else:
            risen = self.like(risen)
        return self.multiply(risen, "ffn_down", rows, self.tower.embedding)

    def perceptron(self, operand: Node, rows: int, first: str, last: str) -> Node:
        """Two matrices, by which embeddings come to the model's width."""
        inner, outer = (self.tower.tensors[f"{name}.weight"].shape[-1] for name in (first, last))
        return self.multiply(self.like(self.multiply(operand, first, rows, inner)), last, rows, outer)
