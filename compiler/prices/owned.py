"""What a machine of one's own costs. Every figure is asked: nobody else knows its price, or how long it will last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compiler.prices.ranges import Range

HOURS_PER_YEAR = 8766
"""365.25 days."""
HOURS_PER_MONTH = HOURS_PER_YEAR / 12
_WATTS_PER_KILOWATT = 1000


@dataclass(frozen=True, slots=True)
class Owned:
    """A machine that was bought.

    Attributes:
        gpu: the catalog's name of its cards, of which it has `count`.
        purchase: what the whole machine cost, in `currency`.
        lifetime_years: over which that is spread, whether it runs or not.
        board_watts: of one card at its limit.
        load: share of that limit which a card draws on average while the stack runs.
        host_watts: of all else in the machine.
        kwh_price: in `currency`.
        pue: what the building takes for each watt of the machine, 1 at home.
        is_limit: `board_watts` is the vendor's limit, and not the user's figure.
    """

    gpu: str
    count: int
    currency: str
    purchase: float
    lifetime_years: float
    board_watts: Range
    load: float
    host_watts: float
    kwh_price: float
    pue: float
    source: str
    is_limit: bool = False

    @property
    def kilowatts(self) -> Range:
        """From the wall, while the stack runs."""
        watts = self.board_watts * (self.count * self.load) + Range.exact(self.host_watts)
        return watts * (self.pue / _WATTS_PER_KILOWATT)

    @property
    def power_per_hour(self) -> Range:
        """For electricity alone, while the stack runs."""
        return self.kilowatts * self.kwh_price

    @property
    def capital_per_hour(self) -> float:
        """For each hour that passes."""
        return self.purchase / (self.lifetime_years * HOURS_PER_YEAR)

    @property
    def per_hour(self) -> Range:
        """Of a machine that always runs."""
        return self.power_per_hour + Range.exact(self.capital_per_hour)

    def per_month(self, hours: float) -> Range:
        """Of one that runs so many hours of a month: it ages in the others too, and draws nothing then."""
        return self.power_per_hour * hours + Range.exact(self.capital_per_hour * HOURS_PER_MONTH)


def owned_for(gpu: str, count: int, machines: Iterable[Owned]) -> Owned | None:
    """The smallest of the user's machines that has so many of these cards; the first of equal ones."""
    large_enough = (each for each in machines if each.gpu == gpu and each.count >= count)
    return min(large_enough, key=lambda each: each.count, default=None)
