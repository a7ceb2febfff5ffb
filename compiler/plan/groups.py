"""Which machines run a server together, and at which ports of the first they find each other."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.engines.interface.group import Group, Member
from compiler.solve.budget import Solution
from compiler.spec.models import Spec
from compiler.spec.nodes.models import NodeSpec

# Below the ports that Linux gives to outgoing connections (32768 on), and torch's own for a rendezvous.
_FIRST_PORT = 29500


def groups_on(node: str, solution: Solution, spec: Spec) -> dict[str, Group]:
    """The groups that a node belongs to, by service. Nobody else on their machines has their two ports."""
    free = _free_ports(spec)
    groups = sorted(name for name, service in spec.services.items() if service.machines > 1)
    ports = {name: (next(free), next(free)) for name in groups}
    return {
        server.demand.service: Group(
            server.nodes.index(node),
            tuple(_member(name, spec.nodes[name]) for name in server.nodes),
            *ports[server.demand.service],
        )
        for server in solution.servers
        if server.nodes
    }


def _member(name: str, node: NodeSpec) -> Member:
    assert node.address is not None  # noqa: S101  the solver puts a group on no other node
    assert node.interface is not None  # noqa: S101  likewise
    return Member(name, node.address, node.interface)


def _free_ports(spec: Spec) -> Iterator[int]:
    taken = {service.port for service in spec.services.values()}
    if spec.gateway is not None:
        taken.add(spec.gateway.port)
    if spec.monitoring is not None:
        taken |= {spec.monitoring.port, spec.monitoring.grafana_port, spec.monitoring.dcgm_port}
    return (port for port in range(_FIRST_PORT, 65536) if port not in taken)
