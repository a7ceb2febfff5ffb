"""What a node costs, in words that are the same on every day: offers that ship, with the days that they are of."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.plan.cost import MONTH, NodeCost
from compiler.prices.ranges import Range
from compiler.prices.rentals import PriceRange, Reliability
from compiler.prices.text import dates_text, range_text


@dataclass(frozen=True, slots=True)
class CostWords:
    """Of one node.

    Attributes:
        per_hour, per_month: amounts with their currency.
        offers: what they are of, and from when, as half a sentence.
        caution: why the offers are to be taken with care, likewise; None where they are not.
    """

    per_hour: str
    per_month: str
    offers: str
    caution: str | None


def cost_words(node: NodeCost) -> CostWords | None:
    """None where no offer is known."""
    counted = node.cost.counted if node.cost is not None else None
    if not isinstance(counted, PriceRange):
        return None
    per_hour, per_month = (_amount(each, counted) for each in (counted.per_hour, counted.per_month(MONTH)))
    by = f" of {', '.join(counted.providers)}" if counted.providers else ""
    offers = f"{counted.kind} offers{by}, {dates_text(counted.dates)}"
    caution = "a source of them is contradicted, worked out or undated"
    return CostWords(per_hour, per_month, offers, caution if counted.reliability is Reliability.LOW else None)


def _amount(amounts: Range, price: PriceRange) -> str:
    return f"{spelled(amounts)} {price.currency}"


def spelled(amounts: Range) -> str:
    """A range for a sentence."""
    return range_text(amounts, between=" to ")
