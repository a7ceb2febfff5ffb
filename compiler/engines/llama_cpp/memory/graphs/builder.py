"""Nodes in the order in which llama.cpp adds them to a graph (ggml/src/ggml.c, ggml_build_forward_expand, b10435)."""

from __future__ import annotations

from compiler.engines.llama_cpp.memory.graphs.allocator import Layout, Node

FLOAT, HALF, INDEX, LONG_INDEX = 4, 2, 4, 8


class GraphBuilder:
    """A graph of one card.

    Attributes:
        weights: stands for every tensor of other buffers.
        nodes: in order; `inputs` are brought to the card before them, in the order in which they are first read.
        copies: of each input; with several, cards compute ubatches one behind the other, and inputs are never freed.
    """

    def __init__(self, copies: int = 1) -> None:
        self.copies = copies
        self.weights = Node(0, is_external=True)
        self.nodes: list[Node] = []
        self.inputs: dict[str, Node] = {}
        self._seen: set[int] = set()

    @property
    def all_nodes(self) -> list[Node]:
        """Inputs first, as the scheduler copies them when a card's part of a graph starts."""
        spare = [Node(each.size, is_kept=True) for each in self.inputs.values() for _ in range(self.copies - 1)]
        return [*spare, *self.inputs.values(), *self.nodes]

    def input(self, name: str, size: int, layout: Layout = ()) -> Node:
        """An input, the same for all that read it."""
        if name not in self.inputs:
            node = Node(size, layout, is_kept=self.copies > 1)
            self._seen.add(id(node))
            self.inputs[name] = node
        return self.inputs[name]

    def compute(self, size: int, layout: Layout, *sources: Node) -> Node:
        """A new tensor."""
        return Node(size, layout, sources)

    def change(self, operand: Node, *others: Node, layout: Layout | None = None) -> Node:
        """An elementwise operation, which overwrites an operand that nothing else reads."""
        size = owner(operand).size if operand.size == 0 else operand.size
        return Node(size, operand.layout if layout is None else layout, (operand, *others), overwrites=True)

    def view(self, node: Node, layout: Layout = ()) -> Node:
        """A part of a tensor, or another shape of it."""
        return Node(0, layout, (node,), viewed=owner(node))

    def multiply(self, size: int, layout: Layout, operand: Node, *, has_bias: bool = False) -> Node:
        """A matrix of weights times a tensor, and a bias."""
        result = self.compute(size, layout, self.weights, operand)
        return self.change(result, self.weights) if has_bias else result

    def store(self, part: Node, places: Node) -> None:
        """Write a part of a ubatch into a cache."""
        self.expand(Node(0, (), (self.view(part), places), viewed=self.weights))

    def expand(self, node: Node) -> None:
        """Add a node and, before it, all that it is computed from."""
        pending = [(node, False)]
        while pending:
            each, is_ready = pending.pop()
            if is_ready:
                self.nodes.append(each)
            elif id(each) not in self._seen and not each.is_external:
                self._seen.add(id(each))
                pending.append((each, True))
                pending.extend((source, False) for source in reversed(each.sources))


def owner(node: Node) -> Node:
    """The tensor that has the memory."""
    return node if node.viewed is None else node.viewed
