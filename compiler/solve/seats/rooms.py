"""What every node has, and has left, while a search goes forth and back."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compiler.solve.nodes import Node, Seats
from compiler.solve.place import Assignment, Measure

if TYPE_CHECKING:
    from compiler.solve.seats.search import Search

# What of a node decides what else finds place there: its kind, and the classes of its services, sorted.
State = tuple[int, tuple[int, ...]]
# Free bytes of each GPU, most first.
Free = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A service more on a node.

    Attributes:
        position: of the node.
        state: of the node with it.
        free: bytes that its GPUs then have left.
    """

    name: str
    position: int
    state: State
    free: Free


class Rooms:
    """What every node has, and has left, while a search goes forth and back."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._names: list[tuple[str, ...]] = [()] * len(search.nodes)
        self._states: list[State] = [(node.kind, ()) for node in search.nodes]
        self._free = [_usable(node) for node in search.nodes]
        self._index: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for position in range(len(search.nodes)):
            self._enter(position)
        self._placed: dict[State, Free | None] = {}
        ports = Counter(service.port for service in search.spec.services.values())
        self._contested = frozenset(port for port, count in ports.items() if count > 1)
        self._many = frozenset(filter(None, map(search.spec.replica_of, search.spec.services)))
        self.arrangement = sum(map(hash, self._states))
        self.steps: list[tuple[Step, State, Free]] = []

    @property
    def seats(self) -> Seats:
        """Which services are where."""
        return {node.name: names for node, names in zip(self._search.nodes, self._names, strict=True)}

    @property
    def room(self) -> int:
        """Bytes that are left of all GPUs of all nodes."""
        return sum(map(sum, self._free))

    def seat_on(self, node: str, name: str) -> bool:
        """Seat a service for good on the node that the spec names; whether it has place there."""
        step = self._step(name, self._search.positions[node])
        if step is None:
            return False
        self.sit(step)
        self.steps.pop()
        return True

    def sit(self, step: Step) -> None:
        """Take a step."""
        self.steps.append((step, self._states[step.position], self._free[step.position]))
        self._names[step.position] = (*self._names[step.position], step.name)
        self._change(step.position, step.state, step.free)

    def take_back(self) -> None:
        """Undo the last step."""
        step, state, free = self.steps.pop()
        self._names[step.position] = self._names[step.position][:-1]
        self._change(step.position, state, free)

    def _change(self, position: int, state: State, free: Free) -> None:
        self._leave(position)
        self.arrangement += hash(state) - hash(self._states[position])
        self._states[position], self._free[position] = state, free
        self._enter(position)

    def _enter(self, position: int) -> None:
        """Where nodes of a kind stand by the bytes that the tightest of so many GPUs has, the emptiest node first."""
        kind = self._search.nodes[position].kind
        for count, free in enumerate(self._free[position], start=1):
            insort(self._index.setdefault((kind, count), []), (-free, position))

    def _leave(self, position: int) -> None:
        kind = self._search.nodes[position].kind
        for count, free in enumerate(self._free[position], start=1):
            members = self._index[kind, count]
            del members[bisect_left(members, (-free, position))]

    def options(self, name: str) -> Iterator[Step]:
        """Where a service fits: on fewest GPUs first, then the emptiest or the fullest node; each alike only once."""
        tried: set[tuple[State, frozenset[int], int]] = set()
        for position in self._apart(name):
            node = self._search.nodes[position]
            ports = self._ports(position)
            alike = (self._states[position], ports, self._siblings(name, position))
            if name not in node.variants or self._search.spec.services[name].port in ports or alike in tried:
                continue
            tried.add(alike)
            step = self._step(name, position)
            if step is not None:
                yield step

    def _apart(self, name: str) -> Iterable[int]:
        """Nodes as they are promising; of those where as few GPUs are enough, first that with fewest of its kin."""
        found = self._promising(name)
        if self._search.spec.service_of(name) in self._many:
            found = iter(sorted(found, key=lambda each: (each[0], self._siblings(name, each[1]))))
        return (position for _, position in found)

    def _siblings(self, name: str, position: int) -> int:
        """Servers of the same service on a node."""
        own = self._search.spec.service_of(name)
        return (
            sum(self._search.spec.service_of(other) == own for other in self._names[position])
            if own in self._many
            else 0
        )

    def _ports(self, position: int) -> frozenset[int]:
        """Those on a node that another service may want."""
        if not self._contested:
            return self._contested
        services, beside = self._search.spec.services, self._search.beside.get(position, (position,))
        names = (name for one in beside for name in self._names[one])
        return self._contested.intersection(services[name].port for name in names)

    def _step(self, name: str, position: int) -> Step | None:
        """The service on that node, beside those that are there; None where they have not place together."""
        kind, classes = self._states[position]
        state = (kind, tuple(sorted((*classes, self._search.needs.class_of(name)))))
        if state not in self._placed:
            self._placed[state] = self._place(name, position)
        free = self._placed[state]
        return None if free is None else Step(name, position, state, free)

    def _place(self, name: str, position: int) -> Free | None:
        node, search = self._search.nodes[position], self._search
        found = node.place((*self._names[position], name), search.rank, search.measure)
        return _left(node, found, search.measure) if isinstance(found, tuple) else None

    def _promising(self, name: str) -> Iterator[tuple[float, int]]:
        """Nodes with room as they are, by the GPUs that it takes, best first; then those where others make room."""
        kinds = [kind for kind in self._search.kinds.values() if name in kind.variants]
        seen: set[int] = set()
        for gpus, _, position in heapq.merge(*(self._with_room(name, kind) for kind in kinds)):
            if position not in seen:
                seen.add(position)
                yield gpus, position
        least = min((way.gpus * way.need for kind in kinds for way in self._search.needs.ways(name, kind)), default=0)
        for position, free in enumerate(self._free):
            # Somewhere else on that node, or partly in main memory.
            if position not in seen and (sum(free) >= least or self._search.nodes[position].machine.host is not None):
                yield math.inf, position

    def _with_room(self, name: str, kind: Node) -> Iterator[tuple[int, int, int]]:
        for way in self._search.needs.ways(name, kind):
            members = self._index.get((kind.kind, way.gpus), [])
            end = bisect_left(members, (1 - way.need,))
            if self._search.is_spread:
                for index in range(end):
                    less, position = members[index]
                    yield way.gpus, less + way.need, position
                continue
            while end:
                # Of those that have as much left, the first in the spec's order first.
                start = bisect_left(members, (members[end - 1][0],))
                for index in range(start, end):
                    less, position = members[index]
                    yield way.gpus, -less - way.need, position
                end = start


def _usable(node: Node) -> Free:
    return tuple(sorted((device.usable for device in node.machine.devices), reverse=True))


def _left(node: Node, placed: tuple[Assignment, ...], measure: Measure) -> Free:
    free = [device.usable for device in node.machine.devices]
    for assignment in placed:
        for index in assignment.devices:
            free[index] -= measure(assignment.demand.required)
    return tuple(sorted(free, reverse=True))
