"""What an hour of a GPU is offered for: a range for each kind of offer, and never one number.

Within two months of 2026 the same card was 2.40 and 10.98 USD (H100 SXM, data/rentals.json), so that a mean would say
nothing of what anybody pays.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from compiler.prices.data_files import read_rows
from compiler.prices.dates import STALE_DAYS, first_day
from compiler.prices.ranges import Range


class Kind(StrEnum):
    """How a GPU is let, in the order in which people ask."""

    ON_DEMAND = "on-demand"
    RESERVED = "reserved"
    SPOT = "spot"
    COMMUNITY = "community"
    MARKETPLACE = "marketplace"
    SERVERLESS = "serverless"


class Reliability(StrEnum):
    """How near to the provider a figure was read, the worst first."""

    LOW = "low"
    SECONDARY = "secondary"
    PRIMARY = "primary"


@dataclass(frozen=True, slots=True)
class Rental:
    """An offer.

    Attributes:
        gpu: its name in the catalog.
        per_hour: of one GPU, in `currency`.
        gpus: of the machine that is let, which nobody lets in parts.
        provider: None where the source does not name it.
        date: a day or a month; None where nobody says when.
        form: of the card, where the source says it and the catalog has one card for several.
        basis: what the figure is where it is no list price, such as `median`.
        terms: the product's own name, or what comes with it.
        is_users: from the user's own file.
    """

    id: str
    gpu: str
    per_hour: float
    kind: Kind
    source: str
    reliability: Reliability
    gpus: int = 1
    currency: str = "USD"
    provider: str | None = None
    date: str | None = None
    region: str | None = None
    form: str | None = None
    basis: str = "list"
    terms: str | None = None
    is_users: bool = False

    def machine_per_hour(self, count: int) -> float:
        """For `count` GPUs, rounded up to whole machines."""
        return math.ceil(count / self.gpus) * self.gpus * self.per_hour


@dataclass(frozen=True, slots=True)
class PriceRange:
    """What one GPU of a kind of offer costs an hour, in one currency.

    Attributes:
        count: GPUs that are wanted.
        offers: that the range is of, cheapest first.
    """

    gpu: str
    kind: Kind
    count: int
    currency: str
    offers: tuple[Rental, ...]

    @property
    def per_gpu_hour(self) -> Range:
        """As they are listed."""
        return Range.over(offer.per_hour for offer in self.offers)

    @property
    def per_hour(self) -> Range:
        """Of all GPUs that are wanted, in whole machines."""
        return Range.over(offer.machine_per_hour(self.count) for offer in self.offers)

    def per_month(self, hours: float) -> Range:
        """Of all GPUs that are wanted, let for so many hours."""
        return self.per_hour * hours

    @property
    def providers(self) -> tuple[str, ...]:
        """Those that are named, sorted."""
        return tuple(sorted({offer.provider for offer in self.offers if offer.provider is not None}))

    @property
    def dates(self) -> tuple[str, ...]:
        """Of the offers that have one, the oldest first."""
        return tuple(sorted({offer.date for offer in self.offers if offer.date is not None}, key=first_day))

    @property
    def reliability(self) -> Reliability:
        """Of the least reliable offer."""
        return min((offer.reliability for offer in self.offers), key=list(Reliability).index)

    @property
    def is_users(self) -> bool:
        """Whether the user's own prices took the place of what is shipped."""
        return self.offers[0].is_users

    @property
    def machine(self) -> int:
        """GPUs of the smallest machine that is let."""
        return min(offer.gpus for offer in self.offers)


@cache
def rentals() -> tuple[Rental, ...]:
    """What is shipped, by id."""
    return tuple(_rental(row) for row in read_rows("rentals.json"))


def _rental(row: dict[str, object]) -> Rental:
    fields = {key: value for key, value in row.items() if key not in ("usd_per_hour", "kind", "reliability")}
    kind, reliability = Kind(str(row["kind"])), Reliability(str(row["reliability"]))
    return Rental(per_hour=row["usd_per_hour"], kind=kind, reliability=reliability, **fields)  # type: ignore[arg-type]


def price_ranges(
    gpu: str, count: int = 1, *, own: Sequence[Rental] = (), provider: str | None = None
) -> tuple[PriceRange, ...]:
    """What is asked for a card, a range a kind, in the order of `Kind`; those of other currencies after one another.

    Args:
        count: GPUs that one node needs. Machines with more are left out where smaller ones are let.
        own: the user's prices, which take the place of what is shipped for the same card and kind.
        provider: only this one's, in any case of its letters.
    """
    theirs = {(rental.gpu, rental.kind) for rental in own}
    offers = [*own, *(rental for rental in rentals() if (rental.gpu, rental.kind) not in theirs)]
    found = [each for each in offers if each.gpu == gpu and _is_by(each, provider)]
    groups: dict[tuple[Kind, str], list[Rental]] = {}
    for offer in found:
        groups.setdefault((offer.kind, offer.currency), []).append(offer)
    order = list(Kind)
    ordered = sorted(groups.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    return tuple(_range(gpu, kind, count, currency, rows) for (kind, currency), rows in ordered)


def providers() -> tuple[str, ...]:
    """All that are named in what is shipped, sorted."""
    return tuple(sorted({rental.provider for rental in rentals() if rental.provider is not None}))


def _is_by(rental: Rental, provider: str | None) -> bool:
    return provider is None or (rental.provider or "").casefold() == provider.casefold()


def _range(gpu: str, kind: Kind, count: int, currency: str, rows: Sequence[Rental]) -> PriceRange:
    offers = _newest(_fitting(_best(rows), count))
    ordered = tuple(sorted(offers, key=lambda offer: (offer.per_hour, offer.id)))
    return PriceRange(gpu, kind, count, currency, ordered)


_RANGE = 2


def _best(rows: Sequence[Rental]) -> Sequence[Rental]:
    """Those of the last year that are no hearsay; where they are fewer than make a range, the others too."""
    recent = [row for row in rows if row.is_users or _is_recent(row)]
    good = [row for row in recent if row.reliability is not Reliability.LOW]
    return next((found for found in (good, recent) if len(found) >= _RANGE), rows)


def _is_recent(rental: Rental) -> bool:
    return rental.date is not None and (_last_day() - first_day(rental.date)).days <= STALE_DAYS


@cache
def _last_day() -> dt.date:
    """Of what is shipped: the same release says the same on every day."""
    return max(first_day(rental.date) for rental in rentals() if rental.date is not None)


def _fitting(rows: Sequence[Rental], count: int) -> Sequence[Rental]:
    """Machines that are not larger than what is wanted; where all are, the smallest."""
    smallest = min(row.gpus for row in rows)
    return [row for row in rows if row.gpus <= max(count, smallest)]


# Of these each reading is a price that somebody paid or was asked for; a list has one, which a newer one replaces.
_MOVING = (Kind.MARKETPLACE, Kind.SPOT)


def _newest(rows: Iterable[Rental]) -> tuple[Rental, ...]:
    """Without what a newer list of the same provider replaced."""
    kept: dict[tuple[str | int | None, ...], Rental] = {}
    for row in sorted(rows, key=_when):
        is_list = row.basis == "list" and row.provider is not None and row.kind not in _MOVING and not row.is_users
        key = (row.provider, row.form, row.gpus, row.region) if is_list else (row.id,)
        kept[key] = row
    return tuple(kept.values())


def _when(rental: Rental) -> tuple[dt.date, str]:
    return (dt.date.min if rental.date is None else first_day(rental.date), rental.id)
