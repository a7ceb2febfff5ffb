"""`README.md` of a stack on several nodes: what runs where, and which folder goes to which machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.hosts import is_wildcard
from compiler.plan.ir import GpuNode, Plan, Service
from compiler.render.artifact import Artifact
from compiler.render.environment import render
from compiler.targets.readme.tables import entrance_address

README = PurePosixPath("README.md")


@dataclass(frozen=True, slots=True)
class Seat:
    """A service on its node, in words."""

    service: str
    node: str
    hardware: str
    address: str
    model: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A node with services. `tree` is below generated/."""

    name: str
    tree: str
    install: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The README as a document.

    Attributes:
        is_uniform: every node on which something runs has all releases.
        idle: nodes on which nothing runs.
        gateways: node and address of each, at which clients come in; none where they come to each server.
    """

    stack: str
    releases: tuple[str, ...]
    is_uniform: bool
    seats: tuple[Seat, ...]
    machines: tuple[Machine, ...]
    idle: tuple[str, ...]
    gateways: tuple[tuple[str, str], ...]


def emit_nodes(plans: tuple[Plan, ...], nodes: tuple[str, ...]) -> tuple[Artifact, ...]:
    """The README above the trees of all nodes; `nodes` are those of the spec."""
    overview = Overview(
        stack=plans[0].stack,
        releases=tuple(dict.fromkeys(release for plan in plans for release in plan.releases)),
        is_uniform=len({plan.releases for plan in plans}) == 1,
        seats=tuple(_seat(plan, service) for plan in plans for service in plan.services),
        machines=tuple(Machine(plan.node.name, plan.tree, plan.paths.install, plan.verdict.value) for plan in plans),
        idle=tuple(name for name in nodes if name not in {plan.node.name for plan in plans}),
        gateways=tuple(_gateways(plans)),
    )
    return (Artifact(README, render("readme/nodes.j2", overview=overview)),)


def _gateways(plans: tuple[Plan, ...]) -> Iterator[tuple[str, str]]:
    """Each at the address of its node, unless it listens at one of its own."""
    for plan in plans:
        if plan.gateway is not None:
            host = plan.node.address if is_wildcard(plan.gateway.host) else plan.gateway.host
            yield plan.node.name, entrance_address(plan.gateway, host or plan.gateway.host)


def _seat(plan: Plan, service: Service) -> Seat:
    model = service.model
    numbers = ", ".join(map(str, service.devices))
    hardware = f"GPU {numbers} of {_cards(plan.node, service)}" if isinstance(plan.node, GpuNode) and numbers else "CPU"
    host = f"[{service.host}]" if ":" in service.host else service.host
    served = model.repository or model.folder or model.requested
    return Seat(service.name, plan.node.name, hardware, f"{host}:{service.port}", f"{served} ({model.quantization})")


def _cards(node: GpuNode, service: Service) -> str:
    """Those of the model that a server runs on."""
    card = node.card(service.devices[0])
    return f"{len(node.models[card])} × {card.title}"
