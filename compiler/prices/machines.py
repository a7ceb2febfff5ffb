"""What the cards of a node cost: rented in each way that is offered, and owned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compiler.prices.owned import Owned, owned_for
from compiler.prices.ranges import Range
from compiler.prices.rentals import Kind, PriceRange, price_ranges
from compiler.prices.user import UserPrices


@dataclass(frozen=True, slots=True)
class MachineCost:
    """The cards of one node.

    Attributes:
        gpu: the catalog's name.
        count: whole cards.
        offers: by kind; those that are counted with come first.
        owned: the user's machine with such cards.
        counted: what a total is made of; None where nothing is known of what was asked for.
    """

    gpu: str
    count: int
    offers: tuple[PriceRange, ...]
    owned: Owned | None
    counted: PriceRange | Owned | None


def machine_cost(
    gpu: str, count: int, user: UserPrices, *, kind: Kind | None = None, provider: str | None = None
) -> MachineCost:
    """What so many cards cost.

    Args:
        kind: how they are let. Without it and `provider`, a machine of the user's own is counted, else the user's own
            price, else what is asked on demand.
        provider: only this one's offers.
    """
    owned = owned_for(gpu, count, user.owned)
    ranges = price_ranges(gpu, count, own=user.rentals, provider=provider)
    wanted = [each for each in ranges if each.kind is (kind or Kind.ON_DEMAND) or (kind is None and each.is_users)]
    chosen = min(wanted, key=lambda each: not each.is_users, default=None)
    offers = tuple(sorted(ranges, key=lambda each: each is not chosen))
    is_owned = owned is not None and kind is None and provider is None
    return MachineCost(gpu, count, offers, owned, owned if is_owned else chosen)


@dataclass(frozen=True, slots=True)
class Total:
    """Of several nodes, in one currency."""

    per_hour: Range
    per_month: Range


def totals(costs: Iterable[MachineCost], hours: float) -> dict[str, Total]:
    """What is counted of each node, by currency: nothing is converted.

    Args:
        hours: that the nodes run in a month.
    """
    found: dict[str, Total] = {}
    nothing = Total(Range.exact(0), Range.exact(0))
    for counted in (cost.counted for cost in costs):
        if counted is not None:
            before = found.get(counted.currency, nothing)
            hour, month = before.per_hour + counted.per_hour, before.per_month + counted.per_month(hours)
            found[counted.currency] = Total(hour, month)
    return found
