"""Several lists in place of one score: who is best by what, who comes next, and what decided it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from compiler.choose.recommend.choice import GRADE_ORDER, Choice
from compiler.prices.ranges import Range
from compiler.prices.text import range_text
from compiler.units import format_gib

Criterion = Literal["quality", "fastest", "cheapest", "smallest", "balanced"]
CRITERIA: tuple[Criterion, ...] = ("quality", "fastest", "cheapest", "smallest", "balanced")

LISTED = 5
"""Rows of a list: more are a table of all rows."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The best by one criterion.

    Attributes:
        choices: the winner first, then those that come after it; one of each model.
        among: how many models were compared, and which, in words.
        decided: why the winner is before the next, or alone.
    """

    criterion: Criterion
    choices: tuple[Choice, ...]
    among: str
    decided: str


@dataclass(frozen=True, slots=True)
class Compared:
    """What lists are made of.

    Attributes:
        rows: the best way to serve each model, the best model first.
        ways: others to serve some of them.
        are_let: machines differ, so that it is their hour that is cheap or dear.
    """

    rows: Sequence[Choice]
    ways: Sequence[Choice] = ()
    are_let: bool = False

    @property
    def good(self) -> tuple[str, ...]:
        """Models of the better half of those that are graded, be it thinly; where none is, all."""
        whole = [each for each in self.rows if not each.proof.shortened]
        graded = [each for each in whole if each.grade.kind == GRADE_ORDER[0]]
        graded = graded or [each for each in whole if each.quality is not None]
        half = graded[: (len(graded) + 1) // 2]
        return tuple(choice.entry.id for choice in half or self.rows)

    @property
    def among(self) -> str:
        """Who these are."""
        good = self.good
        if len(good) == len(self.rows):
            return f"all {len(good)}"
        return f"the {len(good)} in the better half of those that are graded"

    def all_good(self) -> tuple[Choice, ...]:
        """Every way to serve one of these."""
        good = frozenset(self.good)
        return tuple(each for each in (*self.rows, *self.ways) if each.entry.id in good)


def lists_of(compared: Compared) -> tuple[Listed, ...]:
    """Those for which something is known."""
    found = (_quality(compared), *(_least(compared, one) for one in ("fastest", "cheapest", "smallest")))
    return tuple(each for each in (*found, _balanced(compared)) if each is not None and each.choices)


def _quality(compared: Compared) -> Listed:
    rows = tuple(compared.rows[:LISTED])
    return Listed("quality", rows, f"all {len(compared.rows)}", f"{_by_quality(rows)}{_with_less(compared.rows)}")


def _with_less(rows: Sequence[Choice]) -> str:
    """The best of those whose grade is thin, where that would be before the first."""
    thin = [choice for choice in rows if choice.grade.kind == "thin" and not choice.proof.shortened]
    best = max(thin, key=lambda choice: choice.quality or 0.0, default=None)
    if best is None or best is rows[0] or (best.quality or 0.0) <= (rows[0].quality or 0.0):
        return ""
    return f"; on less evidence {best.entry.id} stands at {best.quality:.2f}"


def _by_quality(rows: Sequence[Choice]) -> str:
    if not rows:
        return ""
    first = rows[0]
    if first.quality is None:
        return "no model that is left has a place by tests: the newest come first"
    if first.grade.kind != "graded":
        return f"none is graded on more than thin evidence; on that {first.entry.id} is first"
    if len(rows) == 1 or rows[1].grade.kind != "graded":
        return "it is the only one that is graded"
    ours, theirs = first.quality_bounds, rows[1].quality_bounds
    if ours is None or theirs is None or ours[0] <= theirs[1]:
        return f"it stands {first.quality:.2f} to {rows[1].quality:.2f}, which their tests do not tell apart"
    return f"it stands {first.quality:.2f} to {rows[1].quality:.2f}, beyond what their tests leave open"


Key = Callable[[Choice], "float | None"]
_KEYS: Mapping[str, tuple[Key, Callable[[Choice], str]]] = {
    "fastest": (
        lambda choice: None if choice.rate is None else -choice.rate,
        lambda choice: f"{choice.rate or 0:.0f} tokens/s",
    ),
    "cheapest": (
        lambda choice: None if choice.per_million is None else choice.per_million.low + choice.per_million.high,
        lambda choice: f"{_money(choice.per_million, choice)} for a million output tokens",
    ),
    "cheapest hour": (
        lambda choice: None if choice.per_hour is None else choice.per_hour.low,
        lambda choice: f"{_money(choice.per_hour, choice)} an hour",
    ),
    "smallest": (lambda choice: choice.weights, lambda choice: f"{format_gib(choice.weights)} GiB of weights"),
}


def _money(amounts: Range | None, choice: Choice) -> str:
    return "–" if amounts is None else f"{range_text(amounts)} {choice.currency}"


def _least(compared: Compared, criterion: Criterion) -> Listed | None:
    """By one figure; of each model its best way."""
    key, words = _KEYS["cheapest hour" if criterion == "cheapest" and compared.are_let else criterion]
    known = [(value, choice) for choice in compared.all_good() if (value := key(choice)) is not None]
    if criterion == "cheapest":
        known = _of_one_currency(known)
    ordered = _one_of_each(choice for _, choice in sorted(known, key=lambda each: (each[0], *each[1].place)))
    if not ordered:
        return None
    decided = words(ordered[0])
    decided += f", the next has {words(ordered[1])}" if len(ordered) > 1 else ""
    return Listed(criterion, ordered[:LISTED], compared.among, decided)


def _of_one_currency(known: list[tuple[float, Choice]]) -> list[tuple[float, Choice]]:
    """Amounts in several currencies are not compared: those that most have are."""
    names = Counter(choice.currency for _, choice in known)
    usual = min(names, key=lambda name: (-names[name], name or ""), default=None)
    return [each for each in known if each[1].currency == usual]


def _one_of_each(choices: Iterable[Choice]) -> tuple[Choice, ...]:
    found: dict[str, Choice] = {}
    for choice in choices:
        found.setdefault(choice.entry.id, choice)
    return tuple(found.values())


def _balanced(compared: Compared) -> Listed | None:
    """The least sum of places by quality, speed and memory: no figure is weighed against another."""
    ways = compared.all_good()
    if not ways:
        return None
    keys: tuple[Key, ...] = (
        lambda choice: -(choice.quality or 0.0),
        lambda choice: -(choice.rate or 0.0),
        lambda choice: choice.weights,
    )
    places = [_places(ways, key) for key in keys]
    sums = {id(choice): sum(place[id(choice)] for place in places) for choice in ways}
    ordered = _one_of_each(sorted(ways, key=lambda choice: (sums[id(choice)], *choice.place)))
    best = ordered[0]
    own = ", ".join(str(place[id(best)]) for place in places)
    decided = f"place {own} of {len(ways)} ways to serve them by quality, speed and memory; the least sum"
    return Listed("balanced", ordered[:LISTED], compared.among, decided)


def _places(choices: Sequence[Choice], key: Key) -> dict[int, int]:
    """From 1; equal ones share a place."""
    values = sorted({key(choice) or 0.0 for choice in choices})
    place = {value: index for index, value in enumerate(values, 1)}
    return {id(choice): place[key(choice) or 0.0] for choice in choices}
