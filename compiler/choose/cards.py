"""A question about many cards: what fits on each, how fast it is there, and what the card costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from compiler.catalog.hardware.gpus import Gpu
from compiler.choose.demand import NODE, Question
from compiler.choose.fits import Fit, answer
from compiler.choose.speeds import speed_of
from compiler.ledger import Verdict
from compiler.lock.models import Lock
from compiler.plan.speed import ServiceSpeed
from compiler.prices.rentals import Kind, PriceRange, Rental, price_ranges
from compiler.spec.nodes.models import GpusSpec, NodeSpec


@dataclass(frozen=True, slots=True)
class CardAnswer:
    """Of one kind of card.

    Attributes:
        count: of them in the machine.
        speed: None where it does not fit, or nothing is known of it.
        prices: of the machine, a range for each kind of offer.
    """

    gpu: Gpu
    count: int
    fit: Fit
    speed: ServiceSpeed | None
    prices: tuple[PriceRange, ...]

    @property
    def is_proved(self) -> bool:
        """Whether it fits when every estimate is at its high end."""
        return self.fit.verdict is Verdict.FITS

    @property
    def price(self) -> PriceRange | None:
        """The range that is told first: the user's own, else on demand, else of the first kind that there is."""
        ordered = sorted(self.prices, key=lambda each: (not each.is_users, each.kind is not Kind.ON_DEMAND))
        return ordered[0] if ordered else None


def by_memory(cards: Iterable[Gpu]) -> list[Gpu]:
    """Those with least memory first."""
    return sorted(cards, key=lambda gpu: (gpu.memory, gpu.name))


def over_cards(
    question: Question,
    lock: Lock,
    cards: Iterable[Gpu],
    *,
    count: int | None = None,
    own: Sequence[Rental] = (),
    wants_most: bool = True,
) -> Iterator[CardAnswer]:
    """The same question of machines with each of the cards, in their order.

    Args:
        count: GPUs of a machine; by default as many as its own node has.
        own: the user's prices.
        wants_most: whether the most context and the most concurrency are worth the time that they take.
    """
    each = question.count if count is None else count
    for gpu in cards:
        node = _node(question, gpu, each)
        fit = answer(question, lock, node, wants_most=wants_most)
        yield CardAnswer(gpu, each, fit, speed_of(question, node, fit), price_ranges(gpu.name, each, own=own))


def _node(question: Question, gpu: Gpu, count: int) -> NodeSpec:
    node = question.file.spec.nodes[NODE]
    return node.with_gpus(GpusSpec(model=gpu.name, count=count))
