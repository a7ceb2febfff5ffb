"""How sure a place is: what becomes of it were the tests drawn anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from random import Random

from compiler.choose.grades.comparisons import INDEPENDENT, Test
from compiler.choose.grades.pools import ranked_models
from compiler.choose.grades.strengths import Table, fit, positions, table_of

DRAWS = 100
_OUTSIDE = 0.05
_STILL = 0.01
# Where fewer places can be compared than that, how far a test strays is not known. What is assumed then is no less than
# what the tests of any task stray for which it is known.
_FEWEST = 15
UNMEASURED = 0.3


def drawn_anew(table: Table, start: Sequence[float], draws: int) -> tuple[tuple[float, float], ...]:
    """Between which positions each model lies nine times in ten, with the tests' weights drawn anew.

    The weights are drawn as in the Bayesian bootstrap (Rubin, 1981): no test ever drops out whole, so that the models
    that it alone compares stay in the ranking.
    """
    # The same draws at every run; nothing here has to be unforeseeable.
    random = Random(0)  # noqa: S311  no secret
    found = [positions(start)] if draws == 0 else []
    for _ in range(draws):
        shares = [random.expovariate(1.0) for _ in table.weights]
        found.append(positions(fit(table, shares, start, still=_STILL)))
    return tuple(_middle(each) for each in zip(*found, strict=True))


def _middle(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    outside = int(_OUTSIDE * len(ordered))
    return ordered[outside], ordered[-1 - outside]


def straying(tests: Sequence[Test], start: Mapping[str, float]) -> float | None:
    """How far from other parties' place of a model a party's test puts it, nine times in ten; None where too few tell.

    Only independent parties are asked. The tests of one share its ways, so that their agreeing says little. A test's
    order of its models is laid on the places that the others give them: a test of a few good models is not held to put
    one of them last.

    Args:
        start: of all models, about their strengths.
    """
    strays: list[float] = []
    independent = [test for test in tests if test.weight == INDEPENDENT]
    for party in dict.fromkeys(test.run_by for test in independent):
        places = _places([test for test in independent if test.run_by != party], start)
        for test in independent:
            if test.run_by == party:
                strays.extend(_strays(test, places))
    if len(strays) < _FEWEST:
        return None
    return sorted(strays)[int((1 - 2 * _OUTSIDE) * len(strays))]


def _places(tests: Sequence[Test], start: Mapping[str, float]) -> dict[str, float]:
    table = table_of(tests, [name for name in ranked_models(tests) if name in start])
    fitted = fit(table, None, [start[name] for name in table.models], still=_STILL)
    return dict(zip(table.models, positions(fitted), strict=True))


def _strays(test: Test, places: Mapping[str, float]) -> list[float]:
    """Between where a test and where others put its models; a model alone has no order."""
    own = table_of([test], [name for name in places if name in test.models])
    if len(own.models) == 1:
        return []
    laid = sorted(places[name] for name in own.models)
    order = positions(fit(own))
    return [abs(_laid(laid, at) - places[name]) for name, at in zip(own.models, order, strict=True)]


def _laid(places: Sequence[float], position: float) -> float:
    """The place at a position of a row of places, between two of them where it lies between."""
    at = position * len(places) - 0.5
    below = max(0, min(len(places) - 1, int(at)))
    above = min(len(places) - 1, below + 1)
    part = max(0.0, min(1.0, at - below))
    return places[below] * (1 - part) + places[above] * part


def widened(position: float, bounds: tuple[float, float], stray: float | None, tests: float) -> tuple[float, float]:
    """Bounds no narrower than what as many tests stray together: few tests drawn anew say too little.

    Args:
        tests: how many there are, as they count.
    """
    reach = (UNMEASURED if stray is None else stray) / sqrt(tests)
    return max(0.0, min(bounds[0], position - reach)), min(1.0, max(bounds[1], position + reach))
