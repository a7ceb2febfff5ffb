"""A whole stack: one node as it is, several after each service has found its node; or why there is none."""

from __future__ import annotations

import ipaddress
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from compiler.diagnostics import Edit
from compiler.diagnostics.looking import LOOKING, Looking
from compiler.engines.interface.demand import Demand
from compiler.engines.interface.pinned import PinnedEngines
from compiler.engines.interface.problem import Problem, Remedy
from compiler.lock.models import Lock
from compiler.solve.attempt import attempt, high
from compiler.solve.budget import Solution
from compiler.solve.groups import Found, Groups, can_join, has_groups
from compiler.solve.nodes import Node, Seats, clash, judge_nodes
from compiler.solve.place import Shortfall
from compiler.solve.seats.search import Search, find_seats, most_variants
from compiler.solve.shortfall import Tried, shortfall_problem
from compiler.spec.alike import alike, whole_nodes
from compiler.spec.engines import VLLM
from compiler.spec.models import Spec
from compiler.spec.nodes.parts import entry_of_part, machine_of_part, node_words
from compiler.units import format_gib

# Targets for which no server spans machines (compiler/checks/targets.py).
_CONTAINERS = frozenset(("compose", "quadlet", "kubernetes"))
# Machines more of an entry that are offered at most.
_MOST_MACHINES = 16
# Nodes of which each is told what it lacks; of more, the first.
_MOST_NODES, _SHOWN_NODES = 8, 5


def compiles(spec: Spec, lock: Lock, engines: PinnedEngines) -> bool:
    """Whether there is a solution, in a fraction of the time that the reasons why not would take."""
    if has_groups(spec):
        return isinstance(_with_groups(spec, lock, engines, is_trial=True), dict)
    if len(spec.nodes) == 1:
        return isinstance(attempt(spec, lock, engines, is_trial=True), Solution)
    nodes = judge_nodes(spec, lock, engines)
    if any(_refused(nodes, spec)):
        return False
    # Each node then has a solution: what the search placed there is among what solving the node tries.
    return find_seats(nodes, spec, is_trial=True) is not None


def attempt_stack(
    spec: Spec, lock: Lock, engines: PinnedEngines, looking: Looking = LOOKING
) -> dict[str, Solution] | tuple[Problem, ...]:
    """The solution of each node that has services, by its name; or every problem found."""
    if has_groups(spec):
        return _with_groups(spec, lock, engines, is_trial=False)
    if len(spec.nodes) == 1:
        found = attempt(spec, lock, engines)
        return {next(iter(spec.nodes)): found} if isinstance(found, Solution) else found
    nodes = judge_nodes(spec, lock, engines)
    problems = tuple(_refused(nodes, spec))
    if problems:
        return problems
    seats = find_seats(nodes, spec)
    return (_unseated(nodes, spec, engines),) if seats is None else _solve_seats(seats, spec, lock, engines, looking)


def _with_groups(spec: Spec, lock: Lock, engines: PinnedEngines, *, is_trial: bool) -> Found:
    def others(rest: Spec) -> Found:
        if is_trial:
            return {} if compiles(rest, lock, engines) else ()
        return attempt_stack(rest, lock, engines)

    return Groups(spec, lock, engines, is_trial, others).run()


def _solve_seats(
    seats: Seats, spec: Spec, lock: Lock, engines: PinnedEngines, looking: Looking
) -> dict[str, Solution] | tuple[Problem, ...]:
    """Each node that has services, solved by itself; or all their problems."""
    solutions: dict[str, Solution] = {}
    problems: list[Problem] = []
    # In the spec's order, as a spec of that node alone would have them.
    order = {service: position for position, service in enumerate(spec.services)}
    used = [name for name, here in seats.items() if here]
    for done, name in enumerate(used, start=1):
        looking.worked("solving", done, len(used))
        found = attempt(spec.on(name, sorted(seats[name], key=order.__getitem__)), lock, engines)
        if isinstance(found, Solution):
            solutions[name] = found
        else:
            problems.extend(_with_nodes(problem, name, spec) for problem in found)
    looking.done()
    return tuple(problems) if problems else solutions


def seats_of(spec: Spec, solutions: Mapping[str, Solution]) -> Seats:
    """Where each service runs, in the spec's order; without solutions the node that it names, or the first."""
    runs = {server.demand.service: name for name, found in solutions.items() for server in found.servers}
    first, members = next(iter(spec.nodes)), spec.members()
    named = {name: members[service.node][0] if service.node else first for name, service in spec.services.items()}
    where = {name: runs.get(name) or named[name] for name in spec.services}
    return {node: tuple(name for name in where if where[name] == node) for node in where.values()}


def _refused(nodes: tuple[Node, ...], spec: Spec) -> Iterator[Problem]:
    """Services that no node can run, however empty it is: the first node's reason, and how others differ."""
    for name in spec.services:
        if spec.replica_of(name) is not None or any(name in node.variants for node in nodes):
            continue
        asked = [node for node in nodes if name in node.problems]
        if not asked:
            continue
        (problem, *more), others = asked[0].problems[name], asked[1:]
        notes = tuple(
            f"on {node_words(node.name, spec.nodes[node.name])}: {reason.message}"
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


def _unseated(nodes: tuple[Node, ...], spec: Spec, engines: PinnedEngines) -> Problem:
    """E0401 for the service that was stuck, on the node where it came closest, and what each other node lacked."""
    search = Search(nodes, spec, high, most_variants(nodes) - 1)
    name, seats = search.stuck()
    failures = [(node, found) for node, found in _failures(name, seats, search) if isinstance(found, Shortfall)]
    notes = _some(list(_node_notes(name, seats, search)))
    if not failures:
        return Problem("E0205", name, ("port",), f"service `{name}` finds no node with its port free", notes=notes)
    node, shortfall = min(failures, key=lambda failure: failure[1].short(high))
    able = tuple(other for other in spec.services if other in node.variants)
    least = replace(node.least, services={other: node.least.services[other] for other in (*seats[node.name], name)})
    tried = Tried(spec.on(node.name, able), engines, node.variants, least)
    problem = shortfall_problem(replace(shortfall, after=(*shortfall.after, *_waiting(name, node, search))), tried)
    if search.only(problem.service) is None:
        closest = problem.message.rpartition(" on ")[2]
        any_of = _any_of(search, problem.service)
        message = f"service `{problem.service}` does not fit on {any_of}, it comes closest on {closest}"
        problem = replace(problem, message=message)
    told = _with_nodes(replace(problem, notes=(*problem.notes, *notes)), node.name, spec)
    return replace(told, remedies=(*told.remedies, *_more_machines(node.name, spec)))


def _more_machines(node: str, spec: Spec) -> Iterator[Remedy]:
    """More of those that one entry counts, up to twice as many; what is listed for each of them is not made up."""
    part = spec.nodes[node]
    entry, machine = entry_of_part(node, part), spec.written_nodes[entry_of_part(node, part)]
    if machine.count is None or any(gpus.uuids for gpus in machine.cards) or _has_listed_addresses(entry, spec):
        return
    for count in range(machine.count + 1, machine.count + min(machine.count, _MOST_MACHINES) + 1):
        edit = Edit(("nodes", entry, "count"), count)
        yield Remedy(f"`count: {count}` for node `{entry}`: as many machines", (edit,), kind="machines", is_graded=True)


def _has_listed_addresses(entry: str, spec: Spec) -> bool:
    """Whether addresses of its machines are such as do not count on from the first."""
    members = (node for name, node in spec.machines.items() if entry_of_part(name, node) == entry)
    found = [ipaddress.ip_address(node.address) for node in members if node.address is not None]
    return any(int(after) - int(before) != 1 for before, after in itertools.pairwise(found))


def _any_of(search: Search, service: str) -> str:
    named = search.spec.services[service].node
    machines = {machine_of_part(name) for name in (search.spec.nodes if named is None else search.members[named])}
    return f"any of {len(machines)} nodes" if len(machines) > 1 else "cards of any model"


def _with_nodes(problem: Problem, node: str, spec: Spec) -> Problem:
    """With the remedies that several nodes allow."""
    where = node_words(entry_of_part(node, spec.nodes[node]), spec.nodes[node])
    named = (_named(remedy, where) for remedy in problem.remedies)
    return replace(problem, remedies=(*_elsewhere(problem.service, spec), *_together(problem, spec), *named))


def _together(problem: Problem, spec: Spec) -> Iterator[Remedy]:
    """One server over nodes that are alike and find each other, fewest first, where engine and targets allow it."""
    service = spec.services[problem.service]
    if problem.code not in ("E0401", "E0402") or service.engine != VLLM or _CONTAINERS & {*spec.targets}:
        return
    alike_nodes = Counter(alike(node) for node in whole_nodes(spec).values() if can_join(node))
    for count in range(2, max(alike_nodes.values(), default=0) + 1):
        edits = (Edit(("services", problem.service, "machines"), count),)
        text = f"`machines: {count}` for `{problem.service}`: one server over {count} nodes, which run nothing else"
        yield Remedy(text, edits, kind="machines")


def _named(remedy: Remedy, where: str) -> Remedy:
    """With several nodes, other cards are of one of them."""
    changes_node = any(edit.path[0] == "nodes" for edit in remedy.edits)
    return replace(remedy, text=f"{remedy.text}, on {where}") if changes_node else remedy


def _waiting(name: str, node: Node, search: Search) -> Iterator[Demand]:
    """Services that the search had not come to, as they would be on that node."""
    order = search.order
    for other in order[order.index(name) + 1 if name in order else 0 :]:
        if other in node.variants:
            yield search.demand(other, node)


def _failures(name: str, seats: Seats, search: Search) -> Iterator[tuple[Node, object]]:
    for node in search.nodes:
        if name in node.variants and clash(name, node, seats, search.spec) is None:
            yield node, node.place((*seats[node.name], name), search.rank, search.measure)


def _some(notes: list[str]) -> tuple[str, ...]:
    """The first of many nodes, and how many more there are."""
    if len(notes) <= _MOST_NODES:
        return tuple(notes)
    return (*notes[:_SHOWN_NODES], f"and {len(notes) - _SHOWN_NODES} more nodes, none of which takes it")


def _node_notes(name: str, seats: Seats, search: Search) -> Iterator[str]:
    """What stands against each node."""
    asked = search.spec.services[name].node
    for node in search.nodes:
        before = ", ".join(f"`{other}`" for other in seats[node.name])
        where = node_words(node.name, search.spec.nodes[node.name]) + (f" beside {before}" if before else "")
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
