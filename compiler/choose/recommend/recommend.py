"""A recommendation: lists of proved choices, and what each condition took out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compiler.choose.grades import Grade
from compiler.choose.recommend.candidates import most_context
from compiler.choose.recommend.choice import Choice, is_within
from compiler.choose.recommend.constraints import Option, Removed, constraints, options
from compiler.choose.recommend.lists import Compared, Listed, lists_of
from compiler.choose.recommend.machines import Offer, cheapest_way, offers, widest, within, worth_asking
from compiler.choose.recommend.rows import Rows, other_ways, rows_on, wider
from compiler.choose.recommend.standing import Standing, standing
from compiler.choose.recommend.wish import Budget, Cards, Wish
from compiler.prices.text import amount_text
from compiler.prices.user import UserPrices
from compiler.registry.entry import ModelEntry, Task
from compiler.registry.read import Registry
from compiler.units import format_tokens

_WAYS, _WIDER, _PRICED = 10, 3, 30
"""Proofs beyond one a model that a recommendation is given time for: each takes some milliseconds."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What serves a wish.

    Attributes:
        machines: that models were proved to fit on.
        rows: the best way to serve each model that is left, the best first.
        lists: of these, by several criteria; none where no row is.
        removed: in the order in which conditions were applied.
        whys: of models that were asked about and are no rows, the condition and why they do not meet it.
        graded_at: the task that grades are of, another one where hardly any test is of this one.
        grades: of all models there.
        options: models that were asked about.
    """

    wish: Wish
    machines: tuple[Cards, ...]
    rows: tuple[Choice, ...]
    lists: tuple[Listed, ...]
    removed: tuple[Removed, ...]
    options: tuple[Option, ...]
    whys: Mapping[str, tuple[str, str]]
    graded_at: Task
    grades: Mapping[str, Grade]


def recommend(known: Registry, wish: Wish, cards: Cards | None, user: UserPrices) -> Recommendation:
    """What serves a wish best.

    Args:
        cards: that are there or named; None for those that are let within the wish's budget.

    Raises:
        ValueError: neither cards nor a budget say on what, or the wish has values that no spec can have.
    """
    found = standing(wish.task, known)
    left = _Left(*options(known.models.values(), wish, found.grades), found)
    if cards is not None:
        return _on(cards, wish, user, left)
    if wish.budget is None:
        raise ValueError("neither cards nor a budget")
    return _let(wish, wish.budget, user, left)


@dataclass(frozen=True, slots=True)
class _Left:
    """What is left of the registry before memory is counted.

    Attributes:
        removed: by the conditions so far.
    """

    options: tuple[Option, ...]
    removed: tuple[Removed, ...]
    standing: Standing


def _on(cards: Cards, wish: Wish, user: UserPrices, left: _Left) -> Recommendation:
    proved = rows_on(left.options, wish, cards, user)
    rows, dear = _within_budget(proved, wish)
    by_name = {option.entry.id: option for option in left.options}
    good = frozenset(Compared(rows).good)
    better = [choice for choice in rows if choice.entry.id in good]
    others = other_ways(by_name, better, wish, cards, user, most=_WAYS)
    found = (*others, *wider((*better, *others), wish, cards, user, most=_WIDER))
    lists = lists_of(Compared(rows, tuple(each for each in found if _affordable(each, wish))))
    removed = (*left.removed, *proved.removed, *dear)
    whys = {**proved.whys, **{each.entry.id: ("budget", _price_words(each)) for each in proved.choices}}
    return Recommendation(
        wish, (cards,), rows, lists, removed, left.options, whys, left.standing.at, left.standing.grades
    )


def _affordable(choice: Choice, wish: Wish) -> bool:
    return is_within(choice, wish.budget)


def _within_budget(proved: Rows, wish: Wish) -> tuple[tuple[Choice, ...], tuple[Removed, ...]]:
    if wish.budget is None:
        return proved.choices, ()
    left = tuple(choice for choice in proved.choices if _affordable(choice, wish))
    dear = [choice for choice in proved.choices if not _affordable(choice, wish)]
    asked = f"{amount_text(wish.budget.per_hour)} {wish.budget.currency} an hour"
    name = dear[0].entry.id if dear else None
    return left, (Removed("budget", asked, len(dear), name, _price_words(dear[0]) if dear else None),)


def _price_words(choice: Choice) -> str:
    if choice.per_hour is None:
        return "no price of its GPUs is known"
    cards = f"{choice.cards.count} × {choice.cards.gpu}"
    return f"{cards} cost {amount_text(choice.per_hour.low)} {choice.currency} an hour at least"


def _let(wish: Wish, budget: Budget, user: UserPrices, left: _Left) -> Recommendation:
    affordable = within(offers(user, budget.currency), budget)
    machines = widest(affordable)
    rows: list[Choice] = []
    last: tuple[Removed, ...] = ()
    whys: Mapping[str, tuple[str, str]] = {}
    for cards in machines:
        taken = {choice.entry.id for choice in rows}
        proved = rows_on([each for each in left.options if each.entry.id not in taken], wish, cards, user)
        rows += proved.choices
        last, whys = proved.removed, proved.whys
    rows.sort(key=lambda choice: choice.place)
    by_name = {choice.entry.id: choice for choice in _cheapest(rows, left.options, wish, affordable, user)}
    shown = tuple(by_name.get(choice.entry.id, choice) for choice in rows)
    lists = lists_of(Compared(shown, rows, are_let=True))
    return Recommendation(
        wish, machines, shown, lists, (*left.removed, *last), left.options, whys, left.standing.at, left.standing.grades
    )


def _cheapest(
    rows: Sequence[Choice], asked: Sequence[Option], wish: Wish, affordable: Sequence[Offer], user: UserPrices
) -> list[Choice]:
    """Of the best models each on the cheapest machine that does what is asked."""
    by_name = {option.entry.id: option for option in asked}
    found = worth_asking(affordable)
    first = [choice for choice in rows if choice.entry.id in Compared(rows).good][:_PRICED]
    ways = (cheapest_way(by_name[choice.entry.id], wish, found, user) for choice in first)
    return [way for way in ways if way is not None]


def why_not(entry: ModelEntry, found: Recommendation) -> str:
    """Where a model stands in a recommendation, or what took it out."""
    names = [choice.entry.id for choice in found.rows]
    if entry.id in names:
        choice = found.rows[names.index(entry.id)]
        stands = (
            f"it stands at {choice.quality:.2f}" if choice.quality is not None else f"its quality is {_kind(choice)}"
        )
        return f"place {names.index(entry.id) + 1} of {len(names)} by quality: {stands}"
    for constraint in constraints(found.wish, found.grades):
        lack = constraint.lacks(entry)
        if lack is not None:
            return f"out by {constraint.name}: {lack}"
    if entry.id not in {option.entry.id for option in found.options}:
        return "out by facts: no config of it is known offline; `stackc lock` reads it"
    name, why = found.whys.get(entry.id, ("budget", "no machine within it was asked about"))
    longest = _longest(entry, found) if name == "fit" else None
    shorter = "" if longest is None else f"; with requests of {format_tokens(longest)} tokens at most it would fit"
    return f"out by {name}: {why}{shorter}"


def _longest(entry: ModelEntry, found: Recommendation) -> int | None:
    """Tokens of the longest requests that a model would take there, of which as many fit at once as are asked for."""
    option = next(each for each in found.options if each.entry.id == entry.id)
    most = [most_context(each, found.wish, cards) for each in option.checkpoints for cards in found.machines]
    return max((each for each in most if each is not None), default=None)


def _kind(choice: Choice) -> str:
    return choice.grade.kind.replace("_", " ")
