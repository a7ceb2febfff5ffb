"""Which servers answer for which model: as nginx has them, and as data for route.js."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from compiler.plan.ir import Gateway, Plan, Rollout, Route, Service
from compiler.targets.deployment import rollout_fingerprint


@dataclass(frozen=True, slots=True)
class NginxRoute:
    """An internal location: requests for the model `name`.

    Attributes:
        split: the variable that a rollout decides, or None.
        is_balanced: whether several servers answer, so that a request may go to another one.
    """

    location: str
    name: str
    service: str
    split: str | None
    read_timeout: int
    is_balanced: bool


@dataclass(frozen=True, slots=True)
class NginxSession:
    """A variable that holds what a session is known by; `header` is nginx's variable of the client's header."""

    variable: str
    header: str


@dataclass(frozen=True, slots=True)
class NginxReplica:
    """One of the servers of a revision. `session` is the variable that keeps a session with one of them, or empty."""

    revision: str
    server: str
    session: str


@dataclass(frozen=True, slots=True)
class NginxRollout:
    """How nginx divides requests. Names are variables of nginx, without the dollar.

    Attributes:
        header: the client's header that names a session; None where something else decides.
        source: what decides whose request goes where.
        split: holds the service that answers.
        fingerprint: of both revisions and the planned weight (percent).
    """

    stable: str
    candidate: str
    header: str | None
    source: str
    split: str
    weight: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Routing:
    """`gateway/stack.js`: models and, for each path, the location of each model."""

    stack: str
    data: dict[str, Any]


def paths_of(plan: Plan, route: Route) -> tuple[str, ...]:
    """Those that every revision of a route serves."""
    offered = [plan.engine_of(each).host.client_paths[each.task] for each in servers_of(plan, route)]
    return tuple(path for path in offered[0] if all(path in each for each in offered))


def _location(index: int) -> str:
    return f"@route_{index}"


def _split(index: int) -> str:
    return f"stackc_split_{index}"


def route_of(index: int, route: Route) -> NginxRoute:
    """The location of a route."""
    split = None if route.rollout is None else _split(index)
    is_balanced = any(len(names) > 1 for _, names in revisions(route))
    return NginxRoute(_location(index), route.name, route.service, split, route.read_timeout, is_balanced)


def sessions(gateway: Gateway) -> Iterator[NginxSession]:
    """Of routes whose sessions a header names."""
    for index, route in enumerate(gateway.routes):
        if route.sticky == "header" and any(len(names) > 1 for _, names in revisions(route)):
            yield NginxSession(_session(index), _variable_of(route.header))


def _session(index: int) -> str:
    return f"stackc_replica_session_{index}"


def _variable_of(header: str) -> str:
    return "http_" + header.lower().replace("-", "_")


def replicas(gateway: Gateway) -> Iterator[NginxReplica]:
    """Servers of all revisions that have more than one; several routes may lead to the same."""
    found: dict[str, tuple[tuple[str, ...], str]] = {}
    for index, route in enumerate(gateway.routes):
        session = {"header": _session(index), "client": "stackc_client", "none": ""}[route.sticky]
        for revision, names in revisions(route):
            found.setdefault(revision, (names, session))
    for revision, (names, session) in found.items():
        if len(names) > 1:
            yield from (NginxReplica(revision, name, session) for name in names)


def rollouts(plan: Plan, gateway: Gateway) -> tuple[NginxRollout, ...]:
    """All that divide requests."""
    return tuple(
        _rollout(plan, index, route.rollout) for index, route in enumerate(gateway.routes) if route.rollout is not None
    )


def _rollout(plan: Plan, index: int, rollout: Rollout) -> NginxRollout:
    by_header = rollout.sticky == "header"
    sources = {"header": f"stackc_session_{index}", "client": "stackc_client", "none": "request_id"}
    return NginxRollout(
        stable=rollout.stable,
        candidate=rollout.candidate,
        header=_variable_of(rollout.header) if by_header else None,
        source=sources[rollout.sticky],
        split=_split(index),
        weight=rollout.weight,
        fingerprint=rollout_fingerprint(plan, rollout),
    )


def routing(plan: Plan, gateway: Gateway) -> Routing:
    """Models and paths as data for route.js. A model's length is that of the server that takes the shortest."""
    models: dict[str, dict[str, int | str]] = {}
    paths: dict[str, dict[str, str]] = {}
    for index, route in enumerate(gateway.routes):
        servers = servers_of(plan, route)
        models[route.name] = {
            "max_model_len": min(service.max_model_len for service in servers),
            "owned_by": plan.engine_of(servers[0]).host.name,
        }
        for path in paths_of(plan, route):
            paths.setdefault(path, {})[route.name] = _location(index)
    teams = {team.name: list(team.models) for team in gateway.teams if team.models}
    return Routing(plan.stack, {"models": models, "paths": paths} | ({"teams": teams} if teams else {}))


def revisions(route: Route) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The stable revision and the candidate of a route, each with the names of its servers."""
    stable, rollout = (route.service, route.servers), route.rollout
    return (stable,) if rollout is None else (stable, (rollout.candidate, rollout.servers))


def servers_of(plan: Plan, route: Route) -> tuple[Service, ...]:
    """Of all revisions of a route."""
    return tuple(plan.service(name) for _, names in revisions(route) for name in names)
