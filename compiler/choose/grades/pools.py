"""Models that a ranking can hold: those that tests join by more than a model or two in common.

Tests of different years often share no model but one that a maker put beside its own older ones. Strengths can be
worked out over such a bridge, yet they follow from nothing then: models beyond it have no common test with the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from compiler.choose.grades.comparisons import Test

# So many models in common tell how the places in one test relate to those in another.
_SHARED = 4
# Fewer models than that are no pool of their own, but a table that places some beside others.
_SMALLEST = 8
# Of fewer models than that a place says hardly anything.
_FEWEST = 5


def ranked_models(tests: Sequence[Test]) -> tuple[str, ...]:
    """The largest pool of models and those that small tests place beside it; of as large ones that of the newest test.

    Where no pool is large enough to be one, the most models that tests join, however indirectly; none where those are
    too few to rank.
    """
    pools = [group for group in _grouped(tests, _SHARED) if len(group.models) >= _SMALLEST]
    main = max(pools, key=_Group.order, default=None)
    beyond = set().union(*(pool.models for pool in pools)) - (main.models if main is not None else set())
    within = _grouped([test.without(beyond) for test in tests], 1)
    if main is not None:
        within = [group for group in within if group.models & main.models]
    best = max(within, key=_Group.order, default=None)
    found = best.models if best is not None else set()
    return tuple(sorted(found)) if len(found) >= _FEWEST else ()


class _Group:
    """Tests that have models in common."""

    def __init__(self, tests: Iterable[Test]) -> None:
        self.tests = tuple(tests)
        self.models: set[str] = set().union(*(test.models for test in self.tests))

    def order(self) -> tuple[int, str, str]:
        """By which the largest group is chosen."""
        return (len(self.models), max(test.newest for test in self.tests), min(self.models))


def _grouped(tests: Iterable[Test], shared: int) -> list[_Group]:
    """Tests by whether they have as many models in common, directly or by way of others."""
    groups: list[_Group] = []
    for test in tests:
        if not test.models:
            continue
        near = [group for group in groups if any(len(test.models & each.models) >= shared for each in group.tests)]
        apart = [group for group in groups if group not in near]
        groups = [*apart, _Group([test, *(each for group in near for each in group.tests)])]
    return groups
