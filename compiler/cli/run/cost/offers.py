"""Offers of GPUs for programs: amounts are numbers with their currency beside them."""

from __future__ import annotations

from typing import Any

from compiler.prices.data_files import source_text
from compiler.prices.ranges import Range
from compiler.prices.rentals import PriceRange, Rental


def price_object(price: PriceRange) -> dict[str, Any]:
    """A range with the offers that it is of."""
    return {
        "kind": price.kind.value,
        "currency": price.currency,
        "per_gpu_hour": range_object(price.per_gpu_hour),
        "per_hour": range_object(price.per_hour),
        "providers": list(price.providers),
        "dates": list(price.dates),
        "reliability": price.reliability.value,
        "yours": price.is_users,
        "offers": [_offer(offer) for offer in price.offers],
    }


def _offer(offer: Rental) -> dict[str, Any]:
    return {
        "id": offer.id,
        "per_gpu_hour": offer.per_hour,
        "gpus_in_machine": offer.gpus,
        "provider": offer.provider,
        "date": offer.date,
        "region": offer.region,
        "form": offer.form,
        "basis": offer.basis,
        "terms": offer.terms,
        "source": source_text(offer.source),
        "reliability": offer.reliability.value,
    }


def range_object(amounts: Range) -> dict[str, float]:
    """Its two ends."""
    # What a float has beyond a millionth is no part of any price.
    return {"low": round(amounts.low, 6), "high": round(amounts.high, 6)}
