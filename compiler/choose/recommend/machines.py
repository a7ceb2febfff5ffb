"""Machines that somebody may rent or has: within a budget, and for one model from the cheapest or smallest on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from compiler.catalog.hardware.gpus import GPUS
from compiler.choose.recommend.candidates import is_small_enough, memory_of
from compiler.choose.recommend.choice import Choice, is_fast_enough, is_within
from compiler.choose.recommend.constraints import Option
from compiler.choose.recommend.rows import best_of
from compiler.choose.recommend.wish import Budget, Cards, Wish
from compiler.prices.machines import machine_cost
from compiler.prices.user import UserPrices

COUNTS = (1, 2, 4, 8)
"""GPUs of the machines that are let; others are rare."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A machine with its price.

    Attributes:
        per_hour: the least that is asked for it.
    """

    cards: Cards
    per_hour: float
    memory: int


def offers(user: UserPrices, currency: str = "USD") -> tuple[Offer, ...]:
    """Machines with prices in a currency, the cheapest first."""
    found = (
        offer
        for gpu in GPUS.values()
        if gpu.refusal is None
        for count in COUNTS
        if (offer := _offer(Cards(gpu.name, count), user, currency)) is not None
    )
    return tuple(sorted(found, key=lambda each: (each.per_hour, -each.memory, each.cards.gpu)))


def _offer(cards: Cards, user: UserPrices, currency: str) -> Offer | None:
    counted = machine_cost(cards.gpu, cards.count, user).counted
    if counted is None or counted.currency != currency:
        return None
    return Offer(cards, counted.per_hour.low, memory_of(cards))


def within(found: Iterable[Offer], budget: Budget) -> tuple[Offer, ...]:
    """Those that somebody offers for no more."""
    return tuple(each for each in found if each.per_hour <= budget.per_hour)


def widest(found: Sequence[Offer]) -> tuple[Cards, ...]:
    """Where most models fit: the machine with most memory on one GPU, and the one with most in all."""
    if not found:
        return ()
    one = max(found, key=lambda each: (each.memory // each.cards.count, _age(each), each.memory, -each.per_hour))
    all_ = max(found, key=lambda each: (each.memory, -each.cards.count, _age(each), -each.per_hour))
    return tuple(dict.fromkeys((one.cards, all_.cards)))


def _age(offer: Offer) -> tuple[int, int]:
    return GPUS[offer.cards.gpu].compute_capability


def worth_asking(found: Sequence[Offer]) -> tuple[Offer, ...]:
    """Without machines that are dearer than one of a card no older, with no more GPUs and as much memory on each."""
    kept: list[Offer] = []
    for offer in found:
        if not any(_replaces(better, offer) for better in kept):
            kept.append(offer)
    return tuple(kept)


def _replaces(better: Offer, offer: Offer) -> bool:
    is_larger = better.memory // better.cards.count >= offer.memory // offer.cards.count
    return is_larger and better.memory >= offer.memory and _age(better) >= _age(offer)


def cheapest_way(option: Option, wish: Wish, found: Sequence[Offer], user: UserPrices) -> Choice | None:
    """On the first of these machines where the model does what is asked."""
    return next(ways_up(option, wish, [each.cards for each in found], user), None)


def ways_up(option: Option, wish: Wish, machines: Iterable[Cards], user: UserPrices) -> Iterator[Choice]:
    """On each of these machines where the model does what is asked, in their order."""
    for cards in machines:
        if not any(is_small_enough(each, cards) for each in option.checkpoints):
            continue
        choice = best_of(option, wish, cards, user)
        if isinstance(choice, Choice) and is_fast_enough(choice, wish) and is_within(choice, wish.budget):
            yield choice
