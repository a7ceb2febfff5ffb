"""Strengths that explain who beat whom (Bradley and Terry, 1952), and where models stand by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from compiler.choose.grades.comparisons import Test
from compiler.choose.grades.equations import solved

# How much of a draw against a model of middling strength each is given: without any, one that never lost would be
# infinitely strong; with more, a model of few comparisons is held to be middling. Of 1, 0.3, 0.1 and 0.03 the first
# foretells a test that is left out worse (see `bounds.straying`), and the others alike.
_DRAW = 0.1
_MOST_STEPS = 60
_STILL = 1e-4
_LONGEST_STEP = 2.0
# Strengths as near as that are the same: far more than what is left of a step, far less than what outcomes differ by.
_EQUAL = 1e-3


@dataclass(frozen=True, slots=True)
class Table:
    """Comparisons between models that these join, however indirectly.

    Attributes:
        models: by their names, sorted.
        rows: of each model, whom it met, by their index there, in which test, and how much of a win that was.
        weights: of the tests.
    """

    models: tuple[str, ...]
    rows: tuple[tuple[tuple[int, int, float], ...], ...]
    weights: tuple[float, ...]


def table_of(tests: Sequence[Test], models: Sequence[str]) -> Table:
    """Comparisons of tests, as far as they are between the given models."""
    names = tuple(sorted(models))
    index = {name: place for place, name in enumerate(names)}
    rows: list[list[tuple[int, int, float]]] = [[] for _ in names]
    for number, test in enumerate(tests):
        for (one, two), won in test.outcomes.items():
            if one in index and two in index:
                rows[index[one]].append((index[two], number, won))
                rows[index[two]].append((index[one], number, 1 - won))
    return Table(names, tuple(map(tuple, rows)), tuple(test.weight for test in tests))


def fit(
    table: Table, shares: Sequence[float] | None = None, start: Sequence[float] | None = None, *, still: float = _STILL
) -> tuple[float, ...]:
    """The strengths that make the outcomes most likely, in the order of the table's models: by Newton's method.

    Args:
        shares: by which the tests' weights are multiplied; 1 for all where it is None.
        start: strengths near which they are.
        still: the last step is no longer than that, and what is left is about its square.
    """
    if shares is None:
        shares = [1.0] * len(table.weights)
    weights = [weight * share for weight, share in zip(table.weights, shares, strict=True)]
    met = [_met(row, weights) for row in table.rows]
    strengths = list(start) if start is not None else [0.0] * len(table.models)
    for _ in range(_MOST_STEPS):
        step = solved(*_curve(strengths, met))
        longest = max(map(abs, step), default=0.0)
        part = min(1.0, _LONGEST_STEP / longest) if longest else 1.0
        strengths = [strength + part * each for strength, each in zip(strengths, step, strict=True)]
        if longest < still:
            break
    return tuple(strengths)


def _met(row: Sequence[tuple[int, int, float]], weights: Sequence[float]) -> tuple[float, list[tuple[int, float]]]:
    """A model's wins, and whom it met how often, over all tests; half the draw is among its wins."""
    met: dict[int, float] = {}
    wins = _DRAW / 2
    for other, test, won in row:
        weight = weights[test]
        met[other] = met.get(other, 0.0) + weight
        wins += weight * won
    return wins, list(met.items())


def _curve(
    strengths: Sequence[float], met: Sequence[tuple[float, Sequence[tuple[int, float]]]]
) -> tuple[list[list[float]], list[float]]:
    """How the likelihood bends, its sign turned, as the lower half of a matrix; and how it rises."""
    odds = [exp(strength) for strength in strengths]
    matrix = [[0.0] * (place + 1) for place in range(len(odds))]
    rise = []
    for place, (wins, opponents) in enumerate(met):
        own, row = odds[place], matrix[place]
        share = own / (own + 1)
        expected, bend = _DRAW * share, _DRAW * share * (1 - share)
        for other, times in opponents:
            share = own / (own + odds[other])
            expected += times * share
            bent = times * share * (1 - share)
            bend += bent
            if other < place:
                row[other] -= bent
        row[place] = bend
        rise.append(wins - expected)
    return matrix, rise


def positions(strengths: Sequence[float]) -> tuple[float, ...]:
    """The share of models that each stands above, half of those as strong and of itself among them: between 0 and 1."""
    order = sorted(range(len(strengths)), key=lambda place: strengths[place])
    found = [0.0] * len(order)
    first = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or strengths[order[end]] - strengths[order[end - 1]] > _EQUAL:
            for place in order[first:end]:
                found[place] = (first + end) / 2 / len(order)
            first = end
    return tuple(found)
