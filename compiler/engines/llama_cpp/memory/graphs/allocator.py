"""How large ggml's graph allocator makes a buffer (ggml/src/ggml-alloc.c, ggml_gallocr_alloc_graph_impl, b10435).

The allocator takes the smallest free block that is large enough, gives blocks back when the last reader is done, and
lets an elementwise operation overwrite its operand. The buffer is as large as the highest end of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from compiler.engines.llama_cpp.memory.units import CUDA_ALIGNMENT, padded

_ENDLESS = 1 << 256
Layout = tuple[int | str, ...]


@dataclass(slots=True, eq=False)
class Node:
    """A tensor of a graph.

    Attributes:
        size: bytes.
        layout: equal for tensors of one type and shape, without gaps; what overwrites must be like its operand.
        sources: what it is computed from, in the order of the operation.
        viewed: the tensor whose memory it is a part of; None where it has memory of its own.
        overwrites: the operation may write into the memory of a source.
        is_external: weights and caches, which lie in other buffers.
        is_kept: read after the graph is done, and never freed.
    """

    size: int
    layout: Layout = ()
    sources: tuple[Node, ...] = ()
    viewed: Node | None = None
    overwrites: bool = False
    is_external: bool = False
    is_kept: bool = False
    readers: int = field(default=0, init=False)
    views: int = field(default=0, init=False)
    offset: int = field(default=0, init=False)
    holds: bool = field(default=False, init=False)


class _Blocks:
    """Free blocks of a buffer without end, by offset."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = [(0, _ENDLESS)]
        self.highest = 0

    def take(self, size: int) -> int:
        """The offset of a block: the smallest before the last that is large enough, the latest of equals."""
        if size == 0:
            return 0
        best = len(self._free) - 1
        least = _ENDLESS
        for index, (_, free) in enumerate(self._free[:-1]):
            if size <= free <= least:
                best, least = index, free
        offset, free = self._free[best]
        if free == size:
            del self._free[best]
        else:
            self._free[best] = (offset + size, free - size)
        self.highest = max(self.highest, offset + size)
        return offset

    def give(self, offset: int, size: int) -> None:
        """Give a block back, and join it with its neighbours."""
        if size == 0:
            return
        index = next(i for i, (start, _) in enumerate(self._free) if start > offset)
        start, free = self._free[index]
        if offset + size == start:
            self._free[index] = (offset, size + free)
        else:
            self._free.insert(index, (offset, size))
        self._join(index)

    def _join(self, index: int) -> None:
        if index == 0:
            return
        before, size = self._free[index - 1]
        offset, free = self._free[index]
        if before + size == offset:
            self._free[index - 1 : index + 1] = [(before, size + free)]


def buffer_bytes(nodes: Sequence[Node]) -> int:
    """The size of the buffer for nodes in the order in which they are computed, inputs first."""
    blocks = _Blocks()
    for node in nodes:
        if node.viewed is not None:
            node.viewed.views += 1
        for source in node.sources:
            source.readers += 1
    for node in nodes:
        for each in (*node.sources, node):
            _allocate(blocks, each)
        for source in node.sources:
            _release(blocks, source)
    return blocks.highest


def _allocate(blocks: _Blocks, node: Node) -> None:
    if node.holds or node.is_external or node.viewed is not None:
        return
    node.holds = True
    overwritten = _overwritten(node) if node.overwrites else None
    if overwritten is None:
        node.offset = blocks.take(_aligned(node.size))
        return
    node.offset, overwritten.holds = overwritten.offset, False


def _overwritten(node: Node) -> Node | None:
    """A source of the same layout that nothing else reads."""
    for source in node.sources:
        is_free = source.holds and not source.is_kept and source.layout == node.layout
        if is_free and source.readers == 1 and source.views == 0:
            return source
    return None


def _release(blocks: _Blocks, source: Node) -> None:
    source.readers -= 1
    if source.readers or source.views:
        return
    owner = source if source.viewed is None else source.viewed
    if owner is not source:
        owner.views -= 1
    if owner.holds and not owner.is_kept and not owner.readers and not owner.views:
        owner.holds = False
        blocks.give(owner.offset, _aligned(owner.size))


def _aligned(size: int) -> int:
    return padded(size, CUDA_ALIGNMENT)
