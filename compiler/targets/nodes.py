"""`README.md` of a stack on several nodes: what runs where, and which folder goes to which machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.plan.ir import CpuNode, Plan, Service
from compiler.render.artifact import Artifact
from compiler.render.environment import render

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
    """The README as a document. `idle` are nodes on which nothing runs."""

    stack: str
    engine: str
    seats: tuple[Seat, ...]
    machines: tuple[Machine, ...]
    idle: tuple[str, ...]


def emit_nodes(plans: tuple[Plan, ...], nodes: tuple[str, ...]) -> tuple[Artifact, ...]:
    """The README above the trees of all nodes; `nodes` are those of the spec."""
    overview = Overview(
        stack=plans[0].stack,
        engine=plans[0].engine.version,
        seats=tuple(_seat(plan, service) for plan in plans for service in plan.services),
        machines=tuple(Machine(plan.node.name, plan.tree, plan.paths.install, plan.verdict.value) for plan in plans),
        idle=tuple(name for name in nodes if name not in {plan.node.name for plan in plans}),
    )
    return (Artifact(README, render("readme/nodes.j2", overview=overview)),)


def _seat(plan: Plan, service: Service) -> Seat:
    model = service.model
    numbers = ", ".join(map(str, service.devices))
    hardware = "CPU" if isinstance(plan.node, CpuNode) else f"GPU {numbers} of {plan.node.count} × {plan.node.title}"
    host = f"[{service.host}]" if ":" in service.host else service.host
    served = model.repository or model.folder or model.requested
    return Seat(service.name, plan.node.name, hardware, f"{host}:{service.port}", f"{served} ({model.quantization})")
