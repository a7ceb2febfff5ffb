"""What `stackc cost` says to people: the total first, then nodes, then services beside hosts."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from compiler.cli.loudness import Loudness, loudness
from compiler.cli.run.cost.stack import Asked, StackCost
from compiler.cli.run.cost.tokens import service_lines
from compiler.cli.terminal import glyphs_of, terminal_width, wrapped
from compiler.plan.cost import NodeCost
from compiler.prices.data_files import source_text
from compiler.prices.dates import age_text
from compiler.prices.machines import MachineCost
from compiler.prices.owned import Owned
from compiler.prices.rentals import PriceRange, Reliability
from compiler.prices.text import amount_text, dates_text, range_text
from compiler.report.paint import Line
from compiler.report.table import Column, table_lines

_OFFERS = (
    Column("let as", least=9),
    Column("an hour", is_right=True),
    Column("a month", is_right=True, rank=2),
    Column("offers", is_right=True, rank=3),
    Column("newest", rank=1),
    Column("age", rank=1),
)


def stack_lines(stack: StackCost, asked: Asked) -> Iterator[str | Line]:
    """One stack."""
    yield from wrapped(f"{stack.name}: {_total(stack, asked)}", indent=0)
    if 0 < len(stack.unpriced) < len(stack.nodes):
        yield from wrapped(f"without {', '.join(stack.unpriced)}, of which no price is known")
    for node in stack.nodes:
        yield ""
        yield from _node(node, asked)
    yield ""
    yield from service_lines(stack, asked)
    yield ""


def _total(stack: StackCost, asked: Asked) -> str:
    sums = [
        f"{range_text(total.per_hour)} {currency} an hour, {range_text(total.per_month)} {currency} for "
        f"{asked.hours:g} hours a month"
        for currency, total in stack.totals(asked.hours).items()
    ]
    if len(sums) > 1:
        return f"{' and '.join(sums)}; nothing is converted"
    return sums[0] if sums else "no price of its nodes is known"


def _node(node: NodeCost, asked: Asked) -> Iterator[str | Line]:
    cost = node.cost
    if cost is None:
        yield from wrapped(f"{node.name}: {node.unknown}", indent=0)
        return
    yield from wrapped(f"{node.name}: {cost.count} × {cost.gpu}", indent=0)
    rows = [_offer(each, asked) for each in cost.offers]
    if cost.owned is not None:
        rows.insert(0 if cost.counted is cost.owned else len(rows), _own(cost.owned, asked))
    if rows:
        yield from table_lines(_OFFERS, rows, terminal_width(), glyphs_of(sys.stdout))
    yield from _remarks(cost, asked)


def _offer(price: PriceRange, asked: Asked) -> tuple[str, ...]:
    newest = price.dates[-1] if price.dates else None
    name = f"yours, {price.kind}" if price.is_users else price.kind.value
    amounts = f"{range_text(price.per_hour)} {price.currency}", range_text(price.per_month(asked.hours))
    return name, *amounts, str(len(price.offers)), newest or "undated", age_text(newest, asked.today)


def _own(owned: Owned, asked: Asked) -> tuple[str, ...]:
    hour, month = range_text(owned.per_hour), range_text(owned.per_month(asked.hours))
    return "your own", f"{hour} {owned.currency}", month, "", "", ""


def _remarks(cost: MachineCost, asked: Asked) -> Iterator[str]:
    chosen, owned = cost.counted, cost.owned
    if isinstance(chosen, Owned):
        yield from _owned_remarks(chosen, cost)
        return
    if chosen is None:
        what = asked.kind.value if asked.kind is not None else "on demand"
        whose = f" of {asked.provider}" if asked.provider is not None else ""
        yield from wrapped(f"no offer{whose} is known {what}: nothing is counted, until a `models.yaml` beside the "
                           "spec has a price or a machine of your own")  # fmt: skip
    else:
        if chosen.providers:
            yield from wrapped(f"{chosen.kind}, {dates_text(chosen.dates)}: {', '.join(chosen.providers)}")
        if chosen.machine > cost.count:
            yield from wrapped(f"let in machines of {chosen.machine} GPUs only, which are counted whole")
        if chosen.reliability is Reliability.LOW:
            yield from wrapped("a source of these is contradicted, worked out or undated")
        if loudness() is Loudness.VERBOSE:
            yield from source_lines(chosen)
    if owned is not None:
        yield from _owned_remarks(owned, cost)


def source_lines(price: PriceRange) -> Iterator[str]:
    """Each offer of a range: who says it, of what, and when."""
    for offer in price.offers:
        words = (offer.provider, offer.form, offer.terms, offer.date or "undated", offer.reliability.value)
        yield from wrapped(f"{amount_text(offer.per_hour)}: {', '.join(filter(None, words))}; "
                           f"{source_text(offer.source)}", indent=4)  # fmt: skip


def _owned_remarks(owned: Owned, cost: MachineCost) -> Iterator[str]:
    limit = ", by the vendor's limit of the board" if owned.is_limit else ""
    hourly = f"{amount_text(owned.capital_per_hour)} {owned.currency} an hour for the machine, whether it runs or not"
    power = f"{range_text(owned.power_per_hour)} for {range_text(owned.kilowatts)} kW while it runs{limit}"
    yield from wrapped(f"your own: {hourly}; {power}")
    if owned.count > cost.count:
        yield from wrapped(f"it has {owned.count} GPUs, and is counted whole")
