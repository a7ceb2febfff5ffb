"""What would help where nothing is left: the least change of each kind, every one tried before it is told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from compiler.catalog.hardware.gpus import GPUS, next_larger
from compiler.choose.grades import Grade
from compiler.choose.recommend.choice import Choice, is_fast_enough, is_within
from compiler.choose.recommend.constraints import Option, constraints, options
from compiler.choose.recommend.machines import COUNTS, offers, widest, within
from compiler.choose.recommend.rows import best_of
from compiler.choose.recommend.wish import Budget, Cards, Wish
from compiler.prices.machines import machine_cost
from compiler.prices.user import UserPrices
from compiler.registry.entry import ModelEntry
from compiler.units import format_tokens, largest

_MOST, _MOST_PAIRS, _MOST_CARDS = 6, 12, 4
_MOST_MODELS, _MOST_TIMED = 24, 12
"""Models that are tried, those first of which a token reads least."""
_LEAST_CONTEXT, _CENT = 1024, 100


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, of what.

    Attributes:
        models: of the registry.
        cards: None for those that are let within the budget.
        grades: at the task.
    """

    models: Sequence[ModelEntry]
    wish: Wish
    cards: Cards | None
    user: UserPrices
    grades: Mapping[str, Grade]


@dataclass(frozen=True, slots=True)
class Relaxation:
    """A change with which something is left.

    Attributes:
        change: as one would say it with options.
        example: one of the choices that there are then.
    """

    change: str
    example: Choice


def relaxations(asked: Asked) -> tuple[Relaxation, ...]:
    """The least of each kind; changes of two conditions only where no single one helps."""
    single = tuple(_first_of_each(_single(asked)))
    if single:
        return single[:_MOST]
    return tuple(_first_of_each(_pairs(asked)))[:_MOST]


Change = tuple[str, Asked]


@dataclass(frozen=True, slots=True)
class _Changes:
    """Of one kind, the mildest first.

    Attributes:
        are_graded: whatever helps, a later one does too.
    """

    changes: Sequence[Change]
    are_graded: bool = False


def _first_of_each(kinds: Iterable[_Changes]) -> Iterator[Relaxation]:
    """Of each kind the mildest that helps."""
    for kind in kinds:
        found = _mildest(kind.changes) if kind.are_graded else _first(kind.changes)
        if found is not None:
            yield found


def _first(changes: Iterable[Change]) -> Relaxation | None:
    tried = (Relaxation(text, example) for text, changed in changes if (example := any_choice(changed)) is not None)
    return next(tried, None)


def _mildest(changes: Sequence[Change]) -> Relaxation | None:
    """Looked for from both ends, because asking is what takes time."""
    severest_first = list(changes)[::-1]
    best = _first(severest_first[:1])
    if best is None:
        return None
    found = {0: best}

    def helps(steps: int) -> bool:
        one = _first(severest_first[steps : steps + 1])
        if one is not None:
            found[steps] = one
        return one is not None

    return found[largest(len(severest_first) - 1, helps)]


def any_choice(asked: Asked) -> Choice | None:
    """One that serves, looked for among small models first; None where there is none among these."""
    left, _ = options(asked.models, asked.wish, asked.grades)
    machines = _machines(asked)
    for cards in machines:
        for option in sorted(left, key=_size)[:_MOST_MODELS]:
            choice = best_of(option, asked.wish, cards, asked.user)
            if (
                isinstance(choice, Choice)
                and is_fast_enough(choice, asked.wish)
                and is_within(choice, asked.wish.budget)
            ):
                return choice
    return None


def _size(option: Option) -> tuple[int, str]:
    """What a token reads: what is quick is small too."""
    return min(each.read_bytes for each in option.checkpoints), option.entry.id


def _machines(asked: Asked) -> tuple[Cards, ...]:
    """Where something may be left: none where one card alone is dearer than the budget."""
    budget, cards = asked.wish.budget, asked.cards
    if cards is None:
        return () if budget is None else widest(within(offers(asked.user, budget.currency), budget))
    counted = None if budget is None or cards.are_owned else machine_cost(cards.gpu, 1, asked.user).counted
    is_dear = budget is not None and counted is not None and counted.per_hour.low > budget.per_hour
    return () if is_dear else (cards,)


def _single(asked: Asked) -> Iterator[_Changes]:
    yield _Changes(tuple(_shorter(asked)), are_graded=True)
    yield _Changes(tuple(_fewer(asked)), are_graded=True)
    yield _Changes(tuple(_slower(asked)))
    for text, wish in _dropped(asked):
        yield _Changes(((text, replace(asked, wish=wish)),))
    yield _Changes(tuple(_more_cards(asked)))
    yield _Changes(tuple(_dearer(asked)), are_graded=True)


def _pairs(asked: Asked) -> Iterator[_Changes]:
    """Two conditions dropped together."""
    names = [name for name, _ in _dropped(asked)]
    for one, other in list(combinations(range(len(names)), 2))[:_MOST_PAIRS]:
        first_text, first = _dropped(asked)[one]
        rest = dict(_dropped(replace(asked, wish=first)))
        if names[other] in rest:
            yield _Changes(((f"{first_text} and {names[other]}", replace(asked, wish=rest[names[other]])),))


def _dropped(asked: Asked) -> list[tuple[str, Wish]]:
    found = [
        (f"without --{_OPTIONS.get(each.name, each.name)} {each.asked}", each.dropped)
        for each in constraints(asked.wish, asked.grades)
        if each.dropped is not None
    ]
    wish = asked.wish
    if wish.methods:
        found.append(("without --quantization", replace(wish, methods=())))
    if wish.min_rate is not None:
        found.append(("without --min-speed", replace(wish, min_rate=None)))
    if wish.max_ttft is not None:
        found.append(("without --max-ttft", replace(wish, max_ttft=None)))
    return found


_OPTIONS = {"modality": "features", "tools": "features", "reasoning": "features"}


def _shorter(asked: Asked) -> Iterator[Change]:
    context = asked.wish.context
    while context is not None and context > _LEAST_CONTEXT:
        context = max(_LEAST_CONTEXT, context // 2)
        yield f"--context {format_tokens(context)}", replace(asked, wish=replace(asked.wish, context=context))


def _fewer(asked: Asked) -> Iterator[Change]:
    at_once = asked.wish.at_once
    while at_once > 1:
        at_once //= 2
        yield f"--concurrency {at_once}", replace(asked, wish=replace(asked.wish, concurrency=at_once, users=None))


def _slower(asked: Asked) -> Iterator[Change]:
    """As fast as the fastest of the models that are tried, where speed is what stands against them."""
    wish = asked.wish
    if wish.min_rate is None and wish.max_ttft is None:
        return
    left, _ = options(asked.models, wish, asked.grades)
    small, cards = sorted(left, key=_size)[:_MOST_TIMED], next(iter(_machines(asked)), None)
    if cards is None:
        return
    # None is fast enough, so that each is at its fastest.
    found = [choice for each in small if isinstance(choice := best_of(each, wish, cards, asked.user), Choice)]
    if wish.min_rate is not None:
        rate = max((math.floor(choice.rate) for choice in found if choice.rate is not None), default=0)
        if rate:
            yield f"--min-speed {rate}", replace(asked, wish=replace(wish, min_rate=float(rate)))
    if wish.max_ttft is not None:
        waits = [choice.ttft.expected for choice in found if choice.ttft is not None]
        if waits:
            most = math.ceil(min(waits) * _CENT) / _CENT
            yield f"--max-ttft {most:g}", replace(asked, wish=replace(wish, max_ttft=most))


def _more_cards(asked: Asked) -> Iterator[Change]:
    cards = asked.cards
    if cards is None:
        return
    gpu = GPUS[cards.gpu]
    larger = [each for each in next_larger(gpu.memory, gpu.compute_capability) if each.name != cards.gpu]
    for each in larger[:_MOST_CARDS]:
        yield f"--gpu {each.name}", replace(asked, cards=Cards(each.name, cards.count))
    for count in (each for each in COUNTS if each > cards.count):
        yield f"--gpu {cards.gpu} --count {count}", replace(asked, cards=Cards(cards.gpu, count))


def _dearer(asked: Asked) -> Iterator[Change]:
    """The next prices above the budget, of the cards that were named or of any."""
    budget = asked.wish.budget
    if budget is None:
        return
    found = [each for each in offers(asked.user, budget.currency) if each.per_hour > budget.per_hour]
    if asked.cards is not None:
        found = [each for each in found if each.cards.gpu == asked.cards.gpu and each.cards.count <= asked.cards.count]
    prices = sorted({math.ceil(each.per_hour * _CENT) / _CENT for each in found})
    for price in prices:
        wish = replace(asked.wish, budget=Budget(price, budget.currency))
        yield f"--budget {price:.2f}{'' if budget.currency == 'USD' else budget.currency}/h", replace(asked, wish=wish)
