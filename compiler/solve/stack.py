"""A whole stack: one node as it is, several after each service has found its node; or why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from compiler.catalog.vllm.releases import Release
from compiler.diagnostics import Edit
from compiler.engines.interface.problem import Problem, Remedy
from compiler.engines.vllm.demand import Demand
from compiler.lock.models import Lock
from compiler.solve.attempt import attempt, high
from compiler.solve.budget import Solution
from compiler.solve.nodes import Node, Search, Seats, clash, find_seats, judge_nodes
from compiler.solve.place import Shortfall
from compiler.solve.shortfall import Tried, shortfall_problem
from compiler.spec.models import Spec
from compiler.units import format_gib


def compiles(spec: Spec, lock: Lock, release: Release) -> bool:
    """Whether there is a solution, in a fraction of the time that the reasons why not would take."""
    if len(spec.nodes) == 1:
        return isinstance(attempt(spec, lock, release, is_trial=True), Solution)
    nodes = judge_nodes(spec, lock, release)
    if any(_refused(nodes, spec)):
        return False
    seats = find_seats(nodes, spec, is_trial=True)
    return seats is not None and isinstance(_solve_seats(seats, spec, lock, release), dict)


def attempt_stack(spec: Spec, lock: Lock, release: Release) -> dict[str, Solution] | tuple[Problem, ...]:
    """The solution of each node that has services, by its name; or every problem found."""
    if len(spec.nodes) == 1:
        found = attempt(spec, lock, release)
        return {next(iter(spec.nodes)): found} if isinstance(found, Solution) else found
    nodes = judge_nodes(spec, lock, release)
    problems = tuple(_refused(nodes, spec))
    if problems:
        return problems
    seats = find_seats(nodes, spec)
    return (_unseated(nodes, spec),) if seats is None else _solve_seats(seats, spec, lock, release)


def _solve_seats(seats: Seats, spec: Spec, lock: Lock, release: Release) -> dict[str, Solution] | tuple[Problem, ...]:
    """Each node that has services, solved by itself; or all their problems."""
    solutions: dict[str, Solution] = {}
    problems: list[Problem] = []
    for name in (name for name, here in seats.items() if here):
        # In the spec's order, as a spec of that node alone would have them.
        found = attempt(spec.on(name, (s for s in spec.services if s in seats[name])), lock, release)
        if isinstance(found, Solution):
            solutions[name] = found
        else:
            problems.extend(_with_nodes(problem, name, spec) for problem in found)
    return tuple(problems) if problems else solutions


def seats_of(spec: Spec, solutions: Mapping[str, Solution]) -> Seats:
    """Where each service runs, in the spec's order; without solutions the node that it names, or the first."""
    runs = {server.demand.service: name for name, found in solutions.items() for server in found.servers}
    first = next(iter(spec.nodes))
    where = {name: runs.get(name) or service.node or first for name, service in spec.services.items()}
    return {node: tuple(name for name in where if where[name] == node) for node in where.values()}


def _refused(nodes: tuple[Node, ...], spec: Spec) -> Iterator[Problem]:
    """Services that no node can run, however empty it is: the first node's reason, and how others differ."""
    for name in spec.services:
        asked = [node for node in nodes if name in node.problems]
        if not asked or any(name in node.variants for node in nodes):
            continue
        (problem, *more), others = asked[0].problems[name], asked[1:]
        notes = tuple(
            f"on node `{node.name}`: {reason.message}"
            for node in others
            for reason in node.problems[name]
            if reason.message != problem.message
        )
        remedies = (*_elsewhere(name, spec), *problem.remedies)
        yield replace(problem, notes=(*problem.notes, *notes), remedies=remedies)
        yield from more


def _elsewhere(name: str, spec: Spec) -> Iterator[Remedy]:
    service = spec.services[name]
    if service.node is not None:
        edits = tuple(Edit(("services", name, key), None) for key in ("node", "gpus") if getattr(service, key))
        yield Remedy(f"remove `node: {service.node}` and let the node be chosen", edits, kind="other node")


def _unseated(nodes: tuple[Node, ...], spec: Spec) -> Problem:
    """E0401 for the service that was stuck, on the node where it came closest, and what each other node lacked."""
    last = max(len(variants) for node in nodes for variants in node.variants.values()) - 1
    search = Search(nodes, spec, high, last)
    name, seats = _stuck(search)
    failures = [(node, found) for node, found in _failures(name, seats, search) if isinstance(found, Shortfall)]
    notes = tuple(_node_notes(name, seats, search))
    if not failures:
        return Problem("E0205", name, ("port",), f"service `{name}` finds no node with its port free", notes=notes)
    node, shortfall = min(failures, key=lambda failure: failure[1].short(high))
    able = tuple(other for other in spec.services if other in node.variants)
    least = replace(node.least, services={other: node.least.services[other] for other in (*seats[node.name], name)})
    tried = Tried(spec.on(node.name, able), node.devices, node.variants, least)
    problem = shortfall_problem(replace(shortfall, after=(*shortfall.after, *_waiting(name, node, search))), tried)
    if spec.services[problem.service].node is None:
        closest = problem.message.rpartition(" on ")[2]
        message = (
            f"service `{problem.service}` does not fit on any of {len(nodes)} nodes, it comes closest on {closest}"
        )
        problem = replace(problem, message=message)
    return _with_nodes(replace(problem, notes=(*problem.notes, *notes)), node.name, spec)


def _with_nodes(problem: Problem, node: str, spec: Spec) -> Problem:
    """With the remedies that several nodes allow."""
    named = (_named(remedy, node) for remedy in problem.remedies)
    return replace(problem, remedies=(*_elsewhere(problem.service, spec), *named))


def _named(remedy: Remedy, node: str) -> Remedy:
    """With several nodes, other cards are of one of them."""
    changes_node = any(edit.path[0] == "nodes" for edit in remedy.edits)
    return replace(remedy, text=f"{remedy.text}, on node `{node}`") if changes_node else remedy


def _waiting(name: str, node: Node, search: Search) -> Iterator[Demand]:
    """Services that the search had not come to, as they would be on that node."""
    order = search.order
    for other in order[order.index(name) + 1 if name in order else 0 :]:
        if other in node.variants:
            yield search.demand(other, node)


def _stuck(search: Search) -> tuple[str, Seats]:
    """The first service that finds no seat when nothing moves on, and the seats of those before it."""
    seats: Seats = {node.name: () for node in search.nodes}
    for name, service in search.spec.services.items():
        if service.node is not None:
            node = next(node for node in search.nodes if node.name == service.node)
            here = (*seats[node.name], name)
            if isinstance(node.place(here, search.rank, search.measure), Shortfall):
                return name, seats
            seats = {**seats, node.name: here}
    for name in search.order:
        following = next(search.options(name, seats), None)
        if following is None:
            return name, seats
        seats = following
    raise AssertionError("the search would have found these seats")


def _failures(name: str, seats: Seats, search: Search) -> Iterator[tuple[Node, object]]:
    for node in search.nodes:
        if name in node.variants and clash(name, node, seats, search.spec) is None:
            yield node, node.place((*seats[node.name], name), search.rank, search.measure)


def _node_notes(name: str, seats: Seats, search: Search) -> Iterator[str]:
    """What stands against each node."""
    asked = search.spec.services[name].node
    for node in search.nodes:
        before = ", ".join(f"`{other}`" for other in seats[node.name])
        where = f"node `{node.name}`" + (f" beside {before}" if before else "")
        other = clash(name, node, seats, search.spec)
        if name in node.problems:
            yield f"{where}: {'; '.join(problem.message for problem in node.problems[name])}"
        elif asked is not None and name not in node.variants:
            yield f"{where}: the spec asks for `{asked}`"
        elif other is not None:
            yield f"{where}: `{other}` has port {search.spec.services[name].port}"
        else:
            found = node.place((*seats[node.name], name), search.rank, search.measure)
            if isinstance(found, Shortfall):
                short = found.short(search.measure)
                yield f"{where}: {format_gib(short)} GiB ({short} bytes) short"
