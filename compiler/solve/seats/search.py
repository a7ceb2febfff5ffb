"""The search for a node for every service, in time that barely grows faster than their number.

The state of the search is one, and steps are taken back: the bytes that each node has left, and for each kind of node
its members by what their GPUs have left. The node that a service would like best is looked up there, and only those
that are looked at are placed anew. Nodes of one kind with services that demand the same are alike: of several only the
first is tried, what was found of one is known of all, and arrangements from which nothing came are not tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from compiler.engines.interface.demand import Demand
from compiler.solve.attempt import expected, high
from compiler.solve.nodes import Node, Seats
from compiler.solve.place import Measure
from compiler.solve.seats.needs import Needs
from compiler.solve.seats.rooms import Rooms
from compiler.spec.models import Spec
from compiler.spec.nodes.parts import machine_of_part

# Ways to go back to, beyond one for each service, before a search is given up.
_MOST_TRIALS = 1024
# The same where it is only asked whether a change would help: one that is so hard to place is not worth offering.
_MOST_OF_A_TRIAL = 16


@dataclass(frozen=True)  # without slots: what follows from it is worked out once
class Search:
    """A search for seats.

    Attributes:
        rank: of the variants; services are lowered together, one step at a time, until all have a seat.
        is_spread: whether the emptiest node comes first, or the fullest.
        most: ways to go back to before it is given up.
    """

    nodes: tuple[Node, ...]
    spec: Spec
    measure: Measure
    rank: int
    is_spread: bool = True
    most: int = _MOST_TRIALS

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Services whose node is to be found, heaviest first."""
        free = (name for name in self.spec.services if self.only(name) is None)
        return tuple(sorted(free, key=lambda name: (-self._weight(name), name)))

    def _weight(self, name: str) -> int:
        node = next(node for node in self.kinds.values() if name in node.variants)
        return self.measure(self.demand(name, node).required)

    @cached_property
    def kinds(self) -> Mapping[int, Node]:
        """The first node of each kind."""
        return {node.kind: node for node in reversed(self.nodes)}

    def places(self, name: str) -> Iterable[Node]:
        """The node that the spec names for a service, or one of each kind."""
        only = self.only(name)
        return self.kinds.values() if only is None else [self.nodes[self.positions[only]]]

    def only(self, name: str) -> str | None:
        """The node on which the spec has a service; None where several come in question."""
        named = self.spec.services[name].node
        found = () if named is None else self.members[named]
        return found[0] if len(found) == 1 else None

    @cached_property
    def members(self) -> Mapping[str, tuple[str, ...]]:
        """Nodes by what a service may name."""
        return self.spec.members()

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """Of nodes in the spec, by name."""
        return {node.name: position for position, node in enumerate(self.nodes)}

    @cached_property
    def beside(self) -> Mapping[int, tuple[int, ...]]:
        """The positions of all parts of a machine, by each of them; machines without parts are left out."""
        machines: dict[str, list[int]] = {}
        for position, node in enumerate(self.nodes):
            machines.setdefault(machine_of_part(node.name), []).append(position)
        return {one: tuple(parts) for parts in machines.values() if len(parts) > 1 for one in parts}

    def demand(self, name: str, node: Node) -> Demand:
        """Of a service on one GPU of a node."""
        variant = node.variants[name][min(self.rank, len(node.variants[name]) - 1)]
        return node.least.exchanged({name: variant}).demand(name, variant.undivided)

    @cached_property
    def needs(self) -> Needs:
        """What services take."""
        return Needs(self)

    def run(self) -> Seats | None:
        """Seats for all services, or None."""
        rooms = Rooms(self)
        named = ((name, self.only(name)) for name in self.spec.services)
        if not all(node is None or rooms.seat_on(node, name) for name, node in named) or self.needs.exceed(rooms):
            return None
        order, failed = self.order, set[int]()
        levels = [rooms.options(order[0])] if order else []
        for _ in range(len(order) + self.most):
            if len(rooms.steps) == len(order):
                return rooms.seats
            step = next(levels[-1], None)
            if step is None:
                failed.add(rooms.arrangement)
                levels.pop()
                if not levels:
                    return None
                rooms.take_back()
                continue
            rooms.sit(step)
            if rooms.arrangement in failed:
                rooms.take_back()
            elif len(levels) < len(order):
                levels.append(rooms.options(order[len(levels)]))
        return rooms.seats if len(rooms.steps) == len(order) else None

    def stuck(self) -> tuple[str, Seats]:
        """The first service that finds no seat when nothing moves on, and the seats of those before it."""
        rooms = Rooms(self)
        for name in self.spec.services:
            only = self.only(name)
            if only is not None and not rooms.seat_on(only, name):
                return name, rooms.seats
        for name in self.order:
            step = next(rooms.options(name), None)
            if step is None:
                return name, rooms.seats
            rooms.sit(step)
        raise AssertionError("the search would have found these seats")


def most_variants(nodes: Iterable[Node]) -> int:
    """Of any service on any node; nodes of one kind differ in who may run there."""
    offers = {id(node.variants): node.variants for node in nodes}.values()
    return max((len(variants) for offer in offers for variants in offer.values()), default=1)


def find_seats(nodes: tuple[Node, ...], spec: Spec, *, is_trial: bool = False) -> Seats | None:
    """Seats where all services are proven to fit; else where they are expected to.

    Args:
        is_trial: only what compiles is of interest, which within the margin is so where the policy says so.
    """
    most = _MOST_OF_A_TRIAL if is_trial else _MOST_TRIALS
    ranks = range(most_variants(nodes))
    for measure in (high,) if is_trial and spec.policy.margin != "allow" else (high, expected):
        for rank in ranks:
            for is_spread in (True, False):
                seats = Search(nodes, spec, measure, rank, is_spread, most).run()
                if seats is not None:
                    return seats
    return None
