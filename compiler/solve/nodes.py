"""Which services run on which node. Servers that span nodes have theirs already (see groups.py).

The search is for a node for every service; then each node is solved as the stack that it would be alone, with ledgers
of its own. The heaviest service goes first, to the node where it takes fewest GPUs, among those to the one that then
has most left: the rule by which a node's GPUs are chosen. What finds no place then makes earlier ones move on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler.engines.interface.demand import Variant
from compiler.engines.interface.device import Machine
from compiler.engines.interface.pinned import PinnedEngines
from compiler.engines.interface.problem import Problem
from compiler.lock.models import Lock
from compiler.solve.attempt import high, least_terms, machine_of
from compiler.solve.field import Field, combinations, field_problems, judge_field, smallest, worth_trying
from compiler.solve.place import Assignment, Choice, Measure, Shortfall, place
from compiler.spec.alike import alike
from compiler.spec.models import Spec
from compiler.spec.nodes.models import NodeSpec
from compiler.spec.nodes.parts import index_in_part, machine_of_part
from compiler.spec.services import ServiceSpec

# Which services run on each node, by its name.
Seats = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Node:
    """A node, and what could run there.

    Attributes:
        kind: the same number for nodes that are alike, and for all of which services may ask alike.
        variants: of each service that may run here, best first.
        least: these services at their least, without variants.
        problems: why a service cannot run here, whatever else does.
    """

    name: str
    kind: int
    machine: Machine
    variants: Mapping[str, tuple[Variant, ...]]
    least: Choice
    problems: Mapping[str, tuple[Problem, ...]]

    def place(self, names: tuple[str, ...], rank: int, measure: Measure) -> tuple[Assignment, ...] | Shortfall:
        """These services, each with its variant of that rank, or its last if it has fewer."""
        variants = {name: self.variants[name] for name in names}
        choice = replace(
            self.least, services={name: self.least.services[name] for name in names}, variants={}, measure=measure
        )
        found = place(choice.exchanged({name: some[min(rank, len(some) - 1)] for name, some in variants.items()}))
        is_last = all(rank >= len(some) - 1 for some in variants.values())
        # Of variants that differ in how they can be divided, none needs least everywhere.
        if isinstance(found, Shortfall) and is_last and smallest(variants, choice) is None:
            tries = (place(choice.exchanged(chosen)) for chosen in combinations(variants))
            return next((fit for fit in tries if isinstance(fit, tuple)), found)
        return found


def judge_nodes(spec: Spec, lock: Lock, engines: PinnedEngines) -> tuple[Node, ...]:
    """Every node with the services that could run there. Nodes that are alike are judged once."""
    judged: dict[NodeSpec, Node] = {}
    kinds: dict[tuple[NodeSpec, str | None], int] = {}
    places = _Places(spec)
    nodes = []
    for name, node in spec.nodes.items():
        anonymous = alike(node)
        if anonymous not in judged:
            judged[anonymous] = _judge_node(name, spec, lock, engines)
        kind = kinds.setdefault((anonymous, places.entry(name)), len(kinds))
        nodes.append(places.for_its_own(name, replace(judged[anonymous], kind=kind)))
    return tuple(nodes)


def _judge_node(name: str, spec: Spec, lock: Lock, engines: PinnedEngines) -> Node:
    """As if the spec named no service's node."""
    machine = machine_of(spec.nodes[name])
    problems: dict[str, tuple[Problem, ...]] = {}
    for other, service in spec.services.items():
        message = _why_not_there(other, service, spec.nodes[name], machine)
        if message is not None:
            problems[other] = (Problem("E0404", other, (), message),)
    part = spec.on(name, (other for other in spec.services if other not in problems))
    field = judge_field(part, lock, engines, machine)
    for problem in field_problems(field, part, lock):
        problems[problem.service] = (*problems.get(problem.service, ()), problem)
    able = [other for other in part.services if other not in problems]
    least = Choice(least_terms({other: part.services[other] for other in able}, engines), {}, machine, high)
    variants = worth_trying(Field({other: field.variants[other] for other in able}, {}), least)
    return Node(name, 0, machine, variants, least, problems)


def _why_not_there(name: str, service: ServiceSpec, node: NodeSpec, machine: Machine) -> str | None:
    """Whether a service asks for devices that are not there."""
    is_cpu, count = machine.devices[0].capability is None, len(machine.devices)
    if service.device == "cpu" and not is_cpu:
        return f"service `{name}` runs on CPUs"
    if service.device == "gpu" and is_cpu:
        return f"service `{name}` runs on GPUs"
    away = [index for index in service.gpus if index_in_part(node, index) is None]
    if away:
        return f"service `{name}` asks for GPU {away[0]}, which is of another model"
    if service.ranks > count:
        return f"service `{name}` asks for {service.ranks} GPUs, its node has {count}"
    return None


class _Places:
    """Where services may run: on nodes that the spec names, which may be those of an entry with a count."""

    def __init__(self, spec: Spec) -> None:
        self._words: dict[str, list[str]] = {}
        for name, service in spec.services.items():
            if service.node is not None:
                self._words.setdefault(service.node, []).append(name)
        members = spec.members()
        self._named: dict[str, list[str]] = {}
        for word in self._words:
            for node in members[word]:
                self._named.setdefault(node, []).append(word)
        self._entries = {node: word for word in self._words if len(members[word]) > 1 for node in members[word]}
        self._own: dict[tuple[int, frozenset[str]], Node] = {}

    def entry(self, node: str) -> str | None:
        """The entry of a node that some service names; nodes of others are not alike, whatever they have."""
        return self._entries.get(node)

    def for_its_own(self, name: str, node: Node) -> Node:
        """The node under its own name, without services that the spec has on others."""
        away = frozenset(self._words.keys() - self._named.get(name, ()))
        if (node.kind, away) not in self._own:
            self._own[node.kind, away] = self._without(node, away)
        return replace(self._own[node.kind, away], name=name)

    def _without(self, node: Node, words: frozenset[str]) -> Node:
        elsewhere = {service for word in words for service in self._words[word]}
        if not elsewhere:
            return node
        variants = {other: found for other, found in node.variants.items() if other not in elsewhere}
        problems = {other: found for other, found in node.problems.items() if other not in elsewhere}
        return replace(node, variants=variants, problems=problems)


def clash(name: str, node: Node, seats: Seats, spec: Spec) -> str | None:
    """The service on that machine that has the port already."""
    port, machine = spec.services[name].port, machine_of_part(node.name)
    there = (other for key, names in seats.items() if machine_of_part(key) == machine for other in names)
    return next((other for other in there if spec.services[other].port == port), None)
