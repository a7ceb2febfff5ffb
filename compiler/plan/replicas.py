"""The replicas of services on a node, as people are told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compiler.plan.ir import Plan, Service


@dataclass(frozen=True, slots=True)
class Replicas:
    """Servers of one service on one node.

    Attributes:
        service: its name in the spec.
        names: of those that run here, in start order.
        count: in the whole stack.
        is_solved: whether the count was found, as the most that fit.
        concurrency: requests of full context that those here are promised to take together.
    """

    service: str
    names: tuple[str, ...]
    count: int
    is_solved: bool
    concurrency: int


def replicas_of(plan: Plan) -> tuple[Replicas, ...]:
    """Of every service that has several servers in the stack, those on this node."""
    here: dict[str, list[Service]] = {}
    for service in plan.services:
        if service.replicas > 1:
            here.setdefault(service.of, []).append(service)
    return tuple(_replicas(name, servers) for name, servers in here.items())


def _replicas(name: str, servers: Sequence[Service]) -> Replicas:
    return Replicas(
        service=name,
        names=tuple(each.name for each in servers),
        count=servers[0].replicas,
        is_solved="replicas" in servers[0].solved,
        concurrency=sum(each.concurrency for each in servers),
    )
