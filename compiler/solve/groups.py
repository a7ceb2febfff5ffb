"""Servers that span machines: which nodes each gets, all to itself, and what then is left for the other services.

Nodes are alike where nothing but their addresses and GPUs' identifiers tells them apart. One server's ranks are solved
on all its nodes together, as if they were one machine; its solution is then told node by node.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice

from compiler.diagnostics import Edit
from compiler.engines.interface.pinned import PinnedEngines
from compiler.engines.interface.problem import Problem, Remedy
from compiler.lock.models import Lock
from compiler.solve.attempt import attempt
from compiler.solve.budget import Server, Solution
from compiler.spec.alike import alike, whole_nodes
from compiler.spec.models import Spec
from compiler.spec.nodes.models import NodeSpec

# Ways to give groups their nodes that are tried: nodes of several kinds matter, and few stacks have many.
_MOST_WAYS = 64

Found = dict[str, Solution] | tuple[Problem, ...]
# Nodes of each service that spans machines, the one that answers first.
Teams = Mapping[str, tuple[str, ...]]


def has_groups(spec: Spec) -> bool:
    """Whether any server spans machines."""
    return any(service.machines > 1 for service in spec.services.values())


@dataclass(frozen=True, slots=True)
class Groups:
    """The search for nodes of all groups of a stack.

    Attributes:
        others: solves services that run on one node each.
        known: what was found of a group on nodes of a kind.
    """

    spec: Spec
    lock: Lock
    engines: PinnedEngines
    is_trial: bool
    others: Callable[[Spec], Found]
    known: dict[tuple[str, NodeSpec], Solution | tuple[Problem, ...]] = field(default_factory=dict)

    def run(self) -> Found:
        """The solution of each node that has services; or the problems of the first way that was tried."""
        first: tuple[Problem, ...] | None = None
        for teams in islice(team_ways(self.spec), _MOST_WAYS):
            found = self._solved(teams)
            if isinstance(found, dict):
                return found
            first = first if first is not None else found
        return first if first is not None else tuple(_unmanned(self.spec))

    def _solved(self, teams: Teams) -> Found:
        solutions: dict[str, Solution] = {}
        failures: list[tuple[Problem, ...]] = []
        for name, nodes in teams.items():
            found = self._group(name, nodes)
            if isinstance(found, Solution):
                solutions |= told_by_node(found, nodes)
            else:
                failures.append(found)  # a trial has no reasons
        if failures:
            return tuple(chain.from_iterable(failures))
        rest = self._rest(teams)
        if not rest.services:
            return solutions
        left = rest.members()
        crowded = [name for name, one in rest.services.items() if not left or (one.node and one.node not in left)]
        if crowded:
            return tuple(_crowded_out(crowded, teams))
        others = self.others(rest)
        return {**solutions, **others} if isinstance(others, dict) else others

    def _group(self, name: str, nodes: tuple[str, ...]) -> Solution | tuple[Problem, ...]:
        key = (name, alike(self.spec.nodes[nodes[0]]))
        if key not in self.known:
            part = self.spec.on(nodes[0], [name])
            self.known[key] = attempt(part, self.lock, self.engines, is_trial=self.is_trial)
        return self.known[key]

    def _rest(self, teams: Teams) -> Spec:
        taken = {node for nodes in teams.values() for node in nodes}
        nodes = {name: node for name, node in self.spec.nodes.items() if name not in taken}
        services = {name: service for name, service in self.spec.services.items() if name not in teams}
        return self.spec.model_copy(update={"nodes": nodes, "services": services})


def team_ways(spec: Spec) -> Iterator[Teams]:
    """Every choice of a kind of nodes for each group; of a kind the first nodes, by name, that nobody else names."""
    members = spec.members()
    words = (service.node for service in spec.services.values() if service.machines == 1 and service.node is not None)
    # Of an entry that stands for several nodes none is meant.
    named = {members[word][0] for word in words if len(members[word]) == 1}
    free = (name for name, node in whole_nodes(spec).items() if name not in named and can_join(node))
    groups = sorted(name for name, service in spec.services.items() if service.machines > 1)
    yield from _ways(spec, tuple(groups), tuple(sorted(free, key=_by_number)))


def _by_number(name: str) -> tuple[tuple[str, int], ...]:
    """Sorts gpu-2 before gpu-10."""
    return tuple((text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name))


def can_join(node: NodeSpec) -> bool:
    """Whether machines of a group find it."""
    return node.address is not None and node.interface is not None


def _ways(spec: Spec, names: tuple[str, ...], free: tuple[str, ...]) -> Iterator[Teams]:
    if not names:
        yield {}
        return
    name, *others = names
    for team in _teams(spec, name, free):
        left = tuple(node for node in free if node not in team)
        for teams in _ways(spec, tuple(others), left):
            yield {name: team, **teams}


def _teams(spec: Spec, name: str, free: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """One team of each kind of nodes of which enough are free.

    Only with the node that the spec names, as its first, or of those that an entry stands for which it names.
    """
    service = spec.services[name]
    others = {each.node for other, each in spec.services.items() if other != name}
    asked = spec.members()[service.node] if service.node is not None else free
    first = [service.node] if service.node is not None and len(asked) == 1 else []
    kinds: dict[NodeSpec, list[str]] = {}
    for node in free:
        if first or node in asked:
            kinds.setdefault(alike(spec.nodes[node]), []).append(node)
    for members in kinds.values():
        if not set(first) <= set(members):
            continue
        # Nodes that other groups name are theirs while there are others.
        order = first + sorted((node for node in members if node not in first), key=lambda node: node in others)
        if len(order) >= service.machines:
            yield tuple(order[: service.machines])


def told_by_node(solution: Solution, nodes: tuple[str, ...]) -> dict[str, Solution]:
    """The solution of a server on several nodes, as each of them has it: its own devices, numbered from 0."""
    count = len(solution.ledgers) // len(nodes)
    found = {}
    for rank, node in enumerate(nodes):
        start = rank * count
        ledgers = tuple(replace(each, index=each.index - start) for each in solution.ledgers[start : start + count])
        servers = tuple(_told(server, start, count, nodes) for server in solution.servers)
        found[node] = replace(solution, servers=servers, ledgers=ledgers)
    return found


def _told(server: Server, start: int, count: int, nodes: tuple[str, ...]) -> Server:
    own = tuple(index - start for index in server.devices if start <= index < start + count)
    return replace(server, devices=own, nodes=nodes)


def _crowded_out(names: Iterable[str], teams: Teams) -> Iterator[Problem]:
    groups = ", ".join(f"`{name}`" for name in teams)
    for name in names:
        message = f"service `{name}` finds no node: servers over several machines have all of them ({groups})"
        notes = ("a machine of such a server has no other services: none of its memory is left to chance",)
        remedies = tuple(_alone(group) for group in teams)
        yield Problem("E0209", name, (), message, notes=notes, remedies=remedies)


def _alone(name: str) -> Remedy:
    edits = (Edit(("services", name, "machines"), None),)
    return Remedy(f"remove `machines` of `{name}`, which then runs on one node", edits, kind="machines")


def _unmanned(spec: Spec) -> Iterator[Problem]:
    """Where groups take each other's nodes: `check_machines` has told all else."""
    names = [name for name, service in spec.services.items() if service.machines > 1]
    wanted = " + ".join(str(spec.services[name].machines) for name in names)
    able = sum(map(can_join, whole_nodes(spec).values()))
    message = f"servers want {wanted} machines that are alike, and of {able} with an address too few are"
    yield Problem("E0209", names[-1], ("machines",), message)
