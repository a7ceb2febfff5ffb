"""What the node costs, for the README: by offers that ship with stackc, and never by what somebody has of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.plan.cost import MONTH, ServiceCost, Usage, node_cost, service_cost
from compiler.plan.cost_words import CostWords, cost_words, spelled
from compiler.plan.ir import Plan
from compiler.prices.hosted import Quartiles
from compiler.prices.text import amount_text
from compiler.prices.user import UserPrices
from compiler.render.quoting import MarkdownCode
from compiler.targets.readme.tables import Cell, Table


@dataclass(frozen=True, slots=True)
class CostPage:
    """Costs of a node and of tokens.

    Attributes:
        hours: of a month.
        tokens: of servers whose speed is known; None where that is none.
        is_shared: several servers share a GPU.
        hosted: the day on which hosts asked what the table has of them; None where it has nothing.
    """

    words: CostWords
    hours: int
    tokens: Table | None
    is_shared: bool
    hosted: str | None


_COLUMNS = ("Server", "Requests at once", "All tokens alike", "Answers alone")
_HOSTS = ("Here, split as hosts do: in, out", "Hosts' medians: in, out")


def cost_page(plan: Plan) -> CostPage | None:
    """None where no offer is known of the node's cards."""
    node = node_cost(plan, UserPrices())
    words = cost_words(node)
    if words is None:
        return None
    services = [service_cost(plan, service, node, Usage()) for service in plan.services]
    known = [each for each in services if each.tokens is not None]
    days = [each.hosted.date for each in known if each.hosted is not None]
    columns = (*_COLUMNS, *(_HOSTS if days else ()))
    rows = tuple(tuple(_row(each, has_hosts=bool(days))) for each in known)
    table = Table("Tokens", columns, rows) if rows else None
    return CostPage(words, MONTH, table, any(each.sharing > 1 for each in known), max(days, default=None))


def _row(service: ServiceCost, *, has_hosts: bool) -> Iterator[Cell]:
    assert service.served is not None  # noqa: S101  what has costs of tokens has a speed
    assert service.tokens is not None  # noqa: S101  asked by the caller
    yield MarkdownCode(service.name)
    yield str(service.served.at_once)
    yield spelled(service.tokens.blended)
    yield spelled(service.tokens.output)
    if has_hosts:
        split = service.tokens.as_hosts
        yield "–" if split is None else f"{spelled(split[0])}, {spelled(split[1])}"
        yield "–" if service.hosted is None else f"{_median(service.hosted.input)}, {_median(service.hosted.output)}"


def _median(asked: Quartiles) -> str:
    return amount_text(asked.median)
