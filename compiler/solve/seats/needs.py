"""What services take on each kind of node, while their seats are looked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compiler.engines.interface.demand import Variant
from compiler.solve.nodes import Node

if TYPE_CHECKING:
    from compiler.solve.seats.rooms import Rooms
    from compiler.solve.seats.search import Search


@dataclass(frozen=True, slots=True)
class Way:
    """A way to divide a service over GPUs of a kind of node, and the bytes that it takes of each of them."""

    gpus: int
    need: int


class Needs:
    """What services take on each kind of node, and which of them demand the same."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._classes: dict[object, int] = {}
        self._class_of: dict[str, int] = {}
        self._ways: dict[tuple[int, int], tuple[Way, ...]] = {}

    def class_of(self, name: str) -> int:
        """The same number for services that demand the same on all kinds of nodes."""
        found = self._class_of.get(name)
        if found is None:
            # Variants of alike services are one object (see `judge_field`), which the nodes keep.
            nodes = [node for node in self._search.places(name) if name in node.variants]
            key = tuple((node.kind, node.least.services[name], id(node.variants[name])) for node in nodes)
            found = self._class_of[name] = self._classes.setdefault(key, len(self._classes))
        return found

    def ways(self, name: str, node: Node) -> tuple[Way, ...]:
        """Every way to divide it over GPUs of such a node, on fewest first."""
        key = (self.class_of(name), node.kind)
        found = self._ways.get(key)
        if found is None:
            variant = node.variants[name][min(self._search.rank, len(node.variants[name]) - 1)]
            ways = sorted(self._ways_of(name, node, variant), key=lambda way: way.gpus)
            found = self._ways[key] = tuple(ways)
        return found

    def exceed(self, rooms: Rooms) -> bool:
        """Whether all services together take more than all nodes have, however they are placed."""
        wanted = Counter(map(self.class_of, self._search.order))
        named = {self.class_of(name): name for name in self._search.order}
        return sum(count * self._least(named[each]) for each, count in wanted.items()) > rooms.room

    def _least(self, name: str) -> int:
        """Bytes that it takes of all GPUs of a node together at least; none where main memory may hold some of it."""
        kinds = [kind for kind in self._search.kinds.values() if name in kind.variants]
        if any(variant.offloads for kind in kinds for variant in kind.variants[name]):
            return 0
        return min((way.gpus * way.need for kind in kinds for way in self._smallest(name, kind)), default=0)

    def _smallest(self, name: str, node: Node) -> Iterator[Way]:
        """In its variant of this rank, or in any where that is its last: those are tried in every combination."""
        variants = node.variants[name]
        tried = variants if self._search.rank >= len(variants) - 1 else (variants[self._search.rank],)
        for variant in tried:
            yield from self._ways_of(name, node, variant)

    def _ways_of(self, name: str, node: Node, variant: Variant) -> Iterator[Way]:
        choice = node.least.exchanged({name: variant})
        for division in (*variant.divisions, *variant.fallbacks):
            yield Way(division.gpus, self._search.measure(choice.demand(name, division).required))
