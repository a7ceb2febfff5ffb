"""What the nodes of a stack cost, and its services beside what hosts ask."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from compiler.plan.cost import NodeCost, ServiceCost, Usage, node_cost, service_cost
from compiler.plan.ir import Plan
from compiler.prices.costs import Request
from compiler.prices.machines import Total, totals
from compiler.prices.rentals import Kind
from compiler.prices.user import UserPrices


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says.

    Attributes:
        request: what one takes on average; None where nobody says.
    """

    usage: Usage
    kind: Kind | None
    provider: str | None
    request: Request | None
    today: dt.date

    @property
    def hours(self) -> float:
        """Of a month."""
        return self.usage.hours


@dataclass(frozen=True, slots=True)
class StackCost:
    """A stack."""

    name: str
    nodes: tuple[NodeCost, ...]
    services: tuple[ServiceCost, ...]

    def totals(self, hours: float) -> dict[str, Total]:
        """Of all nodes of which something is known, by currency."""
        return totals((node.cost for node in self.nodes if node.cost is not None), hours)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Nodes that are in no total."""
        return tuple(node.name for node in self.nodes if node.cost is None or node.cost.counted is None)


def stack_cost(plans: Sequence[Plan], user: UserPrices, asked: Asked) -> StackCost:
    """Of a stack with at least one plan."""
    nodes = [node_cost(plan, user, kind=asked.kind, provider=asked.provider) for plan in plans]
    services = [
        service_cost(plan, service, node, asked.usage, asked.request)
        for plan, node in zip(plans, nodes, strict=True)
        for service in plan.services
    ]
    return StackCost(plans[0].stack, tuple(nodes), tuple(services))
