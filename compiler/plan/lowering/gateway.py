"""Spec and servers → the gateway of one node, or the one entrance of several, with its routes and rollouts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.catalog.images import GATEWAY_IMAGES
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.hosts import is_loopback
from compiler.plan.ir import Plan, Service
from compiler.plan.lowering.tls import lower_teams, lower_tls
from compiler.plan.operations import Entrance, Gateway, Patches, Rollout, Route, Upstream
from compiler.spec.models import Spec
from compiler.spec.operations import GatewaySpec
from compiler.spec.reading.load import SpecFile
from compiler.spec.rollouts import candidate_name
from compiler.spec.services import ServiceSpec

# An answer that is not streamed comes all at once: after the queue, the prompt and every token of it.
_READ_SECONDS = 600
_SECONDS_PER_TOKEN = 0.1

DEFAULT_WEIGHT = 10
"""Percent of requests that a canary gets where the spec does not say."""


@dataclass(frozen=True, slots=True)
class _Seat:
    """A server and the node on which it runs."""

    node: str
    service: Service


def lower_gateway(spec: Spec, services: Sequence[Service]) -> Gateway | None:
    """The gateway of a stack on one node, with a route for each served name; None where the spec has none."""
    if spec.gateway is None:
        return None
    (node,) = spec.machines
    return _gateway(spec, spec.gateway, [_Seat(node, service) for service in services])


def with_entrance(spec: Spec, plans: tuple[Plan, ...]) -> tuple[Plan, ...]:
    """The plans of several nodes; those on which the gateway runs have it, and what it must know of the others.

    Args:
        plans: without gateways, of specs as `on_node` makes them.
    """
    if spec.gateway is None:
        return plans
    entrances = tuple(Entrance(name, spec.machines[name].address or "") for name in spec.gateway.node)
    gateway = _gateway(spec, spec.gateway, [_Seat(plan.node.name, each) for plan in plans for each in plan.answering])
    return tuple(_entered(plan, plans, gateway, entrances) for plan in plans)


def _entered(plan: Plan, plans: tuple[Plan, ...], gateway: Gateway, entrances: tuple[Entrance, ...]) -> Plan:
    if plan.node.name in {each.node for each in entrances}:
        others = tuple(other for other in plans if other is not plan)
        return replace(plan, entrances=entrances, gateway=gateway, neighbours=others)
    # Its clients' keys and what a patch adds to the gateway are of the nodes that have one.
    secrets = replace(plan.secrets, client_keys=None)
    return replace(plan, entrances=entrances, secrets=secrets, patches=_without_gateway(plan.patches))


def _without_gateway(patches: Patches) -> Patches:
    compose = dict(patches.compose)
    if "services" in compose:
        compose["services"] = {name: value for name, value in compose["services"].items() if name != "gateway"}
    return replace(patches, compose=compose)


def on_node(spec: Spec, node: str, placed: Collection[str]) -> Spec:
    """A spec of several nodes as one of them is planned: without the gateway, whose place is found at the end.

    Servers to which a gateway of another node comes listen at the address of their own, and nowhere else.

    Args:
        placed: services that run there.
    """
    alone = spec.of_machine(node)
    address = spec.machines[node].address
    if spec.gateway is None or address is None or spec.gateway.node == (node,):
        return alone.model_copy(update={"gateway": None})
    moved = {
        name: alone.services[name].model_copy(update={"host": address})
        for name in placed
        if is_loopback(alone.services[name].host)
    }
    return alone.model_copy(update={"gateway": None, "services": {**alone.services, **moved}})


def _gateway(spec: Spec, gateway: GatewaySpec, seats: Sequence[_Seat]) -> Gateway:
    return Gateway(
        kind=gateway.kind,
        host=gateway.host,
        port=gateway.port,
        image=gateway.image or GATEWAY_IMAGES[gateway.kind].reference,
        max_body=gateway.max_body,
        requests_per_second=gateway.requests_per_second,
        burst=gateway.burst,
        connections=2 * sum(seat.service.max_num_seqs for seat in seats),
        routes=tuple(_routes(spec, seats)),
        cors_origins=() if gateway.cors is None else tuple(sorted(gateway.cors.origins)),
        tls=lower_tls(spec.stack, gateway),
        teams=lower_teams(gateway),
    )


def _routes(spec: Spec, seats: Sequence[_Seat]) -> Iterator[Route]:
    revisions: dict[str, list[_Seat]] = {}
    for seat in seats:
        revisions.setdefault(_revision(seat.service), []).append(seat)
    for name, servers in revisions.items():
        if servers[0].service.candidate_of is None:
            route = _route(spec.services[name], name, revisions)
            yield route
            # Servers are asked for their adapters by the same name.
            yield from (replace(route, name=each.name, rollout=None) for each in servers[0].service.adapters)


def _revision(service: Service) -> str:
    """The service of the spec that a server is one of."""
    return service.of


def _route(service: ServiceSpec, name: str, revisions: Mapping[str, Sequence[_Seat]]) -> Route:
    servers = revisions[name]
    longest = max(seat.service.max_model_len for seat in servers)
    return Route(
        name=servers[0].service.served_name,
        service=name,
        rollout=_rollout(name, service, revisions),
        read_timeout=_READ_SECONDS + int(_SECONDS_PER_TOKEN * longest),
        upstreams=_upstreams(servers),
        sticky=service.sticky,
        header=service.sticky_header,
    )


def _upstreams(servers: Sequence[_Seat]) -> tuple[Upstream, ...]:
    return tuple(Upstream(each.service.name, each.node, each.service.host, each.service.port) for each in servers)


def _rollout(name: str, service: ServiceSpec, revisions: Mapping[str, Sequence[_Seat]]) -> Rollout | None:
    rollout = service.rollout
    if rollout is None:
        return None
    weight = 0 if rollout.strategy == "blue-green" else rollout.weight
    return Rollout(
        stable=name,
        candidate=candidate_name(name),
        strategy=rollout.strategy,
        weight=DEFAULT_WEIGHT if weight is None else weight,
        sticky=rollout.sticky,
        header=rollout.header,
        upstreams=_upstreams(revisions[candidate_name(name)]),
    )


def idle_gateways(file: SpecFile, nodes: Collection[str]) -> Iterator[Diagnostic]:
    """A gateway is installed with the tree of its node, and only a node with servers has one.

    Args:
        nodes: on which a server was placed.
    """
    gateway = file.spec.gateway
    idle = [] if gateway is None else [name for name in gateway.node if name not in nodes]
    if idle and nodes:
        other = next(iter(nodes))
        message = f"the gateway is to run on node `{idle[0]}`, and no server does"
        notes = ("a node without a server has no tree that the gateway could be in",)
        helps = (Help(f"write `node: {other}`", (Edit(("gateway", "node"), other),)),)
        yield Diagnostic("E0230", message, file.at("gateway", "node"), notes, helps)
