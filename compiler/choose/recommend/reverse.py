"""The other way round: on which machines one model does what is asked, from the cheapest or the smallest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.catalog.hardware.gpus import GPUS
from compiler.choose.grades import UNKNOWN, Grade
from compiler.choose.recommend.candidates import answers_methods, checkpoints, memory_of
from compiler.choose.recommend.choice import Choice
from compiler.choose.recommend.constraints import Option, constraints
from compiler.choose.recommend.machines import COUNTS, ways_up
from compiler.choose.recommend.standing import standing
from compiler.choose.recommend.wish import Cards, Wish
from compiler.prices.user import UserPrices
from compiler.registry.entry import ModelEntry
from compiler.registry.facts import Unplannable
from compiler.registry.read import Registry


@dataclass(frozen=True, slots=True)
class Machines:
    """Where a model runs as it is asked.

    Attributes:
        owned: on the user's own machines.
        let: on cards of the catalog, each with as few of them as are enough: the cheapest first, then those without a
            price, the smallest first.
        lacks: what of the wish the model does not meet, wherever it runs, by condition.
        unplannable: why nothing can be said of its memory; None where it can.
        tried: kinds of cards that were asked about.
    """

    wish: Wish
    entry: ModelEntry
    grade: Grade
    owned: tuple[Choice, ...]
    let: tuple[Choice, ...]
    lacks: Mapping[str, str]
    unplannable: str | None
    tried: int


def machines_for(
    entry: ModelEntry, wish: Wish, known: Registry, user: UserPrices, cards: Cards | None = None
) -> Machines:
    """Where a model runs.

    Args:
        cards: the only ones that are asked about; None for all of the catalog.
    """
    found = standing(wish.task, known).grades
    grade = found.get(entry.id, UNKNOWN)
    lacks = {each.name: lack for each in constraints(wish, found) if (lack := each.lacks(entry)) is not None}
    some = checkpoints(entry)
    if isinstance(some, Unplannable):
        return Machines(wish, entry, grade, (), (), lacks, some.reason, 0)
    option = Option(entry, tuple(each for each in some if answers_methods(each, wish)), grade)
    kinds = [gpu.name for gpu in GPUS.values() if gpu.refusal is None] if cards is None else [cards.gpu]
    least = (_least(option, wish, name, user, cards) for name in kinds) if option.checkpoints else ()
    let = sorted((choice for choice in least if choice is not None), key=_by_price)
    return Machines(wish, entry, grade, tuple(_owned(option, wish, user)), tuple(let), lacks, None, len(kinds))


def _least(option: Option, wish: Wish, gpu: str, user: UserPrices, cards: Cards | None) -> Choice | None:
    """With as few of these cards as are enough."""
    counts: Sequence[int] = COUNTS if cards is None else (cards.count,)
    machines = [Cards(gpu, count, cards is not None and cards.are_owned) for count in counts]
    return next(ways_up(option, wish, machines, user), None)


def _owned(option: Option, wish: Wish, user: UserPrices) -> Iterator[Choice]:
    """Each of the user's machines; what they cost is no matter of the budget."""
    machines = [Cards(each.gpu, each.count, are_owned=True) for each in user.owned if each.gpu in GPUS]
    if option.checkpoints:
        yield from ways_up(option, replace(wish, budget=None), machines, user)


def _by_price(choice: Choice) -> tuple[bool, float, int, str]:
    price = choice.per_hour
    return price is None, price.low if price is not None else 0.0, memory_of(choice.proof.cards), choice.proof.cards.gpu
