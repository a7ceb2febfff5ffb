"""Which services run on which node. A server never spans nodes: its ranks exchange every layer's output.

The search is for a node for every service; then each node is solved as the stack that it would be alone, with ledgers
of its own. The heaviest service goes first, to the node where it takes fewest GPUs, among those to the one that then
has most left: the rule by which a node's GPUs are chosen. What finds no place then makes earlier ones move on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from compiler.catalog.vllm.releases import Release
from compiler.engines.interface.problem import Problem
from compiler.engines.interface.terms import least_terms
from compiler.engines.vllm.demand import Demand, Device
from compiler.engines.vllm.judge.splits import Degrees
from compiler.engines.vllm.judge.variants import Variant
from compiler.lock.models import Lock
from compiler.solve.attempt import devices_of, expected, high, least_setting
from compiler.solve.field import Field, combinations, field_problems, judge_field, smallest, worth_trying
from compiler.solve.place import Assignment, Choice, Measure, Shortfall, place
from compiler.spec.models import NodeSpec, Spec

# Which services run on each node, by its name.
Seats = Mapping[str, tuple[str, ...]]

# Ways to go back to, beyond one for each service on each node, before a search is given up.
_MOST_TRIALS = 1024
# The same where it is only asked whether a change would help: one that is so hard to place is not worth offering.
_MOST_OF_A_TRIAL = 16


@dataclass(frozen=True, slots=True)
class Node:
    """A node, and what could run there.

    Attributes:
        spec: nodes with the same one are alike.
        variants: of each service that may run here, best first.
        least: these services at their least, without variants.
        problems: why a service cannot run here, whatever else does.
    """

    name: str
    spec: NodeSpec
    devices: tuple[Device, ...]
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


def judge_nodes(spec: Spec, lock: Lock, release: Release) -> tuple[Node, ...]:
    """Every node with the services that could run there. Nodes that are alike are judged once."""
    kinds: dict[NodeSpec, Node] = {}
    nodes = []
    for name, node in spec.nodes.items():
        anonymous = _anonymous(node)
        if anonymous not in kinds:
            kinds[anonymous] = _judge_node(name, spec, lock, release)
        nodes.append(_for_its_own(name, kinds[anonymous], spec))
    return tuple(nodes)


def _anonymous(node: NodeSpec) -> NodeSpec:
    """Without what only tells its GPUs from those of other nodes."""
    return node if node.gpus is None else node.model_copy(update={"gpus": node.gpus.model_copy(update={"uuids": ()})})


def _judge_node(name: str, spec: Spec, lock: Lock, release: Release) -> Node:
    """As if the spec named no service's node."""
    devices = devices_of(spec.nodes[name])
    problems: dict[str, tuple[Problem, ...]] = {}
    for other, service in spec.services.items():
        if service.ranks > len(devices):
            message = f"service `{other}` asks for {service.ranks} GPUs, its node has {len(devices)}"
            problems[other] = (Problem("E0404", other, (), message),)
    part = spec.on(name, (other for other in spec.services if other not in problems))
    field = judge_field(part, lock, release, devices)
    for problem in field_problems(field, part, lock, devices[0]):
        problems[problem.service] = (*problems.get(problem.service, ()), problem)
    able = [other for other in part.services if other not in problems]
    terms = {other: least_terms(spec.services[other]) for other in able}
    least = Choice(terms, {}, least_setting(release, devices), high)
    variants = worth_trying(Field({other: field.variants[other] for other in able}, {}), least)
    return Node(name, _anonymous(spec.nodes[name]), devices, variants, least, problems)


def _for_its_own(name: str, node: Node, spec: Spec) -> Node:
    """The node under its own name, without services that the spec has on others."""
    asking = {other for other, service in spec.services.items() if service.node in {None, name}}
    variants = {other: found for other, found in node.variants.items() if other in asking}
    problems = {other: found for other, found in node.problems.items() if other in asking}
    return replace(node, name=name, variants=variants, problems=problems)


@dataclass(frozen=True, slots=True)
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

    @property
    def order(self) -> tuple[str, ...]:
        """Services whose node is to be found, heaviest first."""
        free = (name for name, service in self.spec.services.items() if service.node is None)
        return tuple(sorted(free, key=lambda name: (-self._weight(name), name)))

    def _weight(self, name: str) -> int:
        node = next(node for node in self.nodes if name in node.variants)
        return self.measure(self.demand(name, node).required)

    def demand(self, name: str, node: Node) -> Demand:
        """Of a service on one GPU of a node."""
        variant = node.variants[name][min(self.rank, len(node.variants[name]) - 1)]
        return node.least.exchanged({name: variant}).demand(name, Degrees())

    @property
    def pinned(self) -> Seats:
        """The services whose node the spec names."""
        named = {name: service.node for name, service in self.spec.services.items()}
        return {node.name: tuple(name for name in named if named[name] == node.name) for node in self.nodes}

    def run(self) -> Seats | None:
        """Seats for all services, or None."""
        seats, order = self.pinned, self.order
        if any(isinstance(node.place(seats[node.name], self.rank, self.measure), Shortfall) for node in self.nodes):
            return None
        if not order:
            return seats
        # Each level is what may come of one service, given those before it.
        levels = [self.options(order[0], seats)]
        for _ in range(len(order) + self.most):
            following = next(levels[-1], None)
            if following is None:
                levels.pop()
                if not levels:
                    return None
            elif len(levels) == len(order):
                return following
            else:
                levels.append(self.options(order[len(levels)], following))
        return None

    def options(self, name: str, seats: Seats) -> Iterator[Seats]:
        """The seats with one service more, wherever it fits."""
        found: list[tuple[int, int, int, Seats]] = []
        for position, node in enumerate(self._different(seats)):
            here = (*seats[node.name], name)
            if name not in node.variants or clash(name, node, seats, self.spec) is not None:
                continue
            placed = node.place(here, self.rank, self.measure)
            if isinstance(placed, tuple):
                gpus, left = _left(name, node, placed, self.measure)
                found.append((gpus, -left if self.is_spread else left, position, {**seats, node.name: here}))
        yield from (seats for *_, seats in sorted(found, key=lambda option: option[:3]))

    def _different(self, seats: Seats) -> Iterator[Node]:
        """Without empty nodes that are like another empty one."""
        empty: list[NodeSpec] = []
        for node in self.nodes:
            if seats[node.name] or node.spec not in empty:
                yield node
            if not seats[node.name]:
                empty.append(node.spec)


def clash(name: str, node: Node, seats: Seats, spec: Spec) -> str | None:
    """The service on that node that has the port already."""
    port = spec.services[name].port
    return next((other for other in seats[node.name] if spec.services[other].port == port), None)


def _left(name: str, node: Node, placed: tuple[Assignment, ...], measure: Measure) -> tuple[int, int]:
    """How many GPUs a service takes, and the bytes that are left on the fullest of them."""
    free = [device.usable for device in node.devices]
    for assignment in placed:
        for index in assignment.devices:
            free[index] -= measure(assignment.demand.required)
    devices = next(assignment.devices for assignment in placed if assignment.demand.service == name)
    return len(devices), min(free[index] for index in devices)


def find_seats(nodes: tuple[Node, ...], spec: Spec, *, is_trial: bool = False) -> Seats | None:
    """Seats where all services are proven to fit; else where they are expected to.

    Args:
        is_trial: only what compiles is of interest, which within the margin is so where the policy says so.
    """
    most = _MOST_OF_A_TRIAL if is_trial else _MOST_TRIALS
    ranks = range(max(len(variants) for node in nodes for variants in node.variants.values()))
    for measure in (high,) if is_trial and spec.policy.margin != "allow" else (high, expected):
        for rank in ranks:
            for is_spread in (True, False):
                seats = Search(nodes, spec, measure, rank, is_spread, most).run()
                if seats is not None:
                    return seats
    return None
