"""How many servers each service has, and that those of one service are alike.

The rule, which the same spec always answers alike: every service first gets its fewest servers, at the best quality
that then fits. Counts that are open grow next, at that quality: one service after another, the largest share first and
as the spec lists them, each as far as it goes. Contexts and concurrencies grow after them, as of other services, and
the servers of one service have the longest context that all of them can have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from compiler.diagnostics.looking import LOOKING, Looking
from compiler.engines.interface.pinned import PinnedEngines
from compiler.engines.interface.problem import Problem
from compiler.lock.models import Lock
from compiler.solve.replicas.alike import Solved, alike, holding
from compiler.solve.stack import attempt_stack, compiles
from compiler.spec.models import Spec
from compiler.spec.replicas import least_replicas, most_replicas, with_replicas
from compiler.units import largest

# Ways to share out what is promised together that are tried, from the most servers on.
_MOST_PARTS = 64


def attempt_servers(
    spec: Spec, lock: Lock, engines: PinnedEngines, looking: Looking = LOOKING
) -> Solved | tuple[Problem, ...]:
    """A solution for a spec as it was read, with as many servers as fit; or every problem found."""
    found = _attempt(spec, lock, engines, least_replicas(spec), looking)
    open_counts = _open(spec)
    if isinstance(found, tuple) and open_counts:
        start = _shared_start(spec, lock, engines)
        found = found if start is None else _attempt(spec, lock, engines, start)
    if isinstance(found, tuple) or not open_counts:
        return found
    served = _as_served(spec, found)
    counts = _grown(spec, served, engines, _counts(found.spec, spec))
    grown = found if counts == _counts(found.spec, spec) else _attempt(spec, served, engines, counts)
    return found if isinstance(grown, tuple) else grown


def servers_compile(spec: Spec, lock: Lock, engines: PinnedEngines) -> bool:
    """Whether there is a solution for a spec as it was read, in a fraction of the time that one takes."""
    if servers_fit(spec, lock, engines, least_replicas(spec)):
        return True
    return bool(_open(spec)) and _shared_start(spec, lock, engines) is not None


def for_servers(lock: Lock, spec: Spec) -> Lock:
    """A lock that answers every server as it answers its service."""
    services = {name: lock.services[spec.service_of(name)] for name in spec.services}
    return lock if services.keys() == lock.services.keys() else lock.model_copy(update={"services": services})


def _open(spec: Spec) -> tuple[str, ...]:
    """Services whose count is open, in the order in which they get more."""
    names = (name for name, each in spec.services.items() if each.replicas.is_solved)
    return tuple(sorted(names, key=lambda name: -spec.services[name].share))


def _counts(servers: Spec, spec: Spec) -> dict[str, int]:
    return {name: servers.servers_of(name) for name in spec.services}


def _attempt(
    spec: Spec, lock: Lock, engines: PinnedEngines, counts: Mapping[str, int], looking: Looking = LOOKING
) -> Solved | tuple[Problem, ...]:
    servers = with_replicas(spec, counts)
    locked = for_servers(lock, servers)
    found = attempt_stack(servers, locked, engines, looking)
    return alike(Solved(servers, locked, found), engines) if isinstance(found, dict) else found


def servers_fit(spec: Spec, lock: Lock, engines: PinnedEngines, counts: Mapping[str, int]) -> bool:
    """Whether there is a solution with so many servers of each service."""
    servers = with_replicas(spec, counts)
    return compiles(servers, for_servers(lock, servers), engines)


def _shared_start(spec: Spec, lock: Lock, engines: PinnedEngines) -> dict[str, int] | None:
    """Counts with which it fits though it does not with the fewest: each server then has less to hold."""
    least = least_replicas(spec)
    shared = [name for name in _open(spec) if spec.services[name].concurrency.least > 1]
    for name in shared:
        more = _most_of(name, spec, lock, engines, least)
        if more:
            return {**least, name: more}
    return _all_more(spec, lock, engines, shared) if len(shared) > 1 else None


def _all_more(spec: Spec, lock: Lock, engines: PinnedEngines, names: list[str]) -> dict[str, int] | None:
    """Several services with ever more servers, where no one of them alone makes room."""
    least, most = least_replicas(spec), {name: most_replicas(spec, name) for name in names}
    step = 1
    while any(least[name] * step < most[name] for name in names):
        step *= 2
        counts = {**least, **{name: min(most[name], least[name] * step) for name in names}}
        if servers_fit(spec, lock, engines, counts):
            return counts
    return None


def _grown(spec: Spec, lock: Lock, engines: PinnedEngines, counts: dict[str, int]) -> dict[str, int]:
    """The most servers of each service whose count is open, one after another."""
    for name in _open(spec):
        counts = {**counts, name: _most_of(name, spec, lock, engines, counts) or counts[name]}
    return counts


def _most_of(name: str, spec: Spec, lock: Lock, engines: PinnedEngines, counts: Mapping[str, int]) -> int:
    """The most servers of a service, beyond those that it has, with which the stack compiles; 0 for none."""

    def fits(count: int) -> bool:
        return servers_fit(spec, lock, engines, {**counts, name: count})

    return most_that_fit(spec.services[name].concurrency.least, (counts[name] + 1, most_replicas(spec, name)), fits)


def _as_served(spec: Spec, found: Solved) -> Lock:
    """The lock of a spec as it was read, with the candidates that were chosen and no others."""
    served = {
        found.spec.service_of(server.demand.service): server.demand.variant.name
        for solution in found.solutions.values()
        for server in solution.servers
    }
    return holding(found.lock, {name: served[name] for name in spec.services})


def most_that_fit(concurrency: int, bounds: tuple[int, int], fits: Callable[[int], bool]) -> int:
    """The most servers of a service, within bounds, that fit; 0 for none.

    More servers take more memory where each holds as many requests; where each then holds fewer, they may not.

    Args:
        concurrency: requests at once that are promised of all of them together.
    """
    for low, high in islice(_alike_parts(concurrency, *bounds), _MOST_PARTS):
        # As many as there may be is what mostly fits; otherwise as few as hold as much decide.
        if fits(high):
            return high
        if low < high and fits(low):
            return low + largest(high - low - 1, lambda more, low=low: fits(low + more))  # type: ignore[misc]  # bound here
    return 0


def _alike_parts(concurrency: int, least: int, most: int) -> Iterator[tuple[int, int]]:
    """Counts with which each server holds as many requests, most servers first: the ends of every such interval."""
    high = most
    while high >= least:
        part = -(-concurrency // high)
        low = max(least, -(-concurrency // part))
        yield low, high
        high = low - 1
