"""The grades of one task, worked out of the sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from compiler.choose.grades.benchmarks import Benchmark, ranked_kinds, sets_of
from compiler.choose.grades.bounds import DRAWS, drawn_anew, straying, widened
from compiler.choose.grades.comparisons import MAKER, RankedSet, Test, as_tests, ranked_sets
from compiler.choose.grades.model import Evidence, Grade
from compiler.choose.grades.pools import ranked_models
from compiler.choose.grades.strengths import fit, positions, table_of
from compiler.registry.entry import ModelEntry, Task
from compiler.registry.scores import ScoreSet

DIGITS = 3


def rank(
    task: Task,
    models: Mapping[str, ModelEntry],
    sets: Iterable[ScoreSet],
    language: str | None = None,
    *,
    draws: int = DRAWS,
) -> dict[str, Grade]:
    """Grades at a task of the models that have figures of it; the others are `UNKNOWN`.

    Args:
        models: by their names; of those of other kinds than the task ranks, figures are shown and compare nobody.
        language: only by sets that stand for this one.
        draws: how often tests are drawn anew to tell how sure a place is.
    """
    measured = tuple(sets_of(task, sets, language))
    compared = compared_sets(task, models, measured)
    places = _places(as_tests(compared), draws)
    found = {name: _grade(name, place, compared, places) for name, place in places.items()}
    for _, each in measured:
        for name in each.values:
            if name in models and name not in found:
                found[name] = Grade("no_common_test", evidence=_alone(name, [scores for _, scores in measured]))
    return dict(sorted(found.items()))


def compared_sets(
    task: Task, models: Mapping[str, ModelEntry], measured: Iterable[tuple[Benchmark, ScoreSet]]
) -> tuple[RankedSet, ...]:
    """The sets of a task with the comparisons of models that its ranking may hold."""
    kinds = ranked_kinds(task)
    return ranked_sets(measured, {name: entry.publisher for name, entry in models.items() if entry.kind in kinds})


@dataclass(frozen=True, slots=True)
class _Place:
    position: float
    low: float
    high: float


def _places(tests: Sequence[Test], draws: int) -> dict[str, _Place]:
    """Where the models stand that can be ranked."""
    group = ranked_models(tests)
    if not group:
        return {}
    table = table_of(tests, group)
    fitted = fit(table)
    stray = straying(tests, dict(zip(table.models, fitted, strict=True)))
    found = {}
    places, drawn = positions(fitted), drawn_anew(table, fitted, draws)
    for name, position, bounds in zip(table.models, places, drawn, strict=True):
        low, high = widened(position, bounds, stray, _weight(name, tests))
        found[name] = _Place(*(round(each, DIGITS) for each in (position, low, high)))
    return found


def _weight(name: str, tests: Sequence[Test]) -> float:
    """Of the tests that compare a model; all of a maker's count as one, for what favours its models does so in each."""
    own = [test for test in tests if name in test.models]
    makers = {test.run_by: test.weight for test in own if test.weight == MAKER}
    return sum(test.weight for test in own if test.weight != MAKER) + sum(makers.values())


def _grade(name: str, place: _Place, sets: Sequence[RankedSet], places: Mapping[str, _Place]) -> Grade:
    comparing = [each for each in sets if any(name in pair for pair in each.outcomes)]
    few = len({each.test for each in comparing}) == 1 or all(each.weight == MAKER for each in comparing)
    return Grade(
        "thin" if few else "graded",
        place.position,
        place.low,
        place.high,
        sets=len(comparing),
        parties=len({each.scores.run_by for each in comparing}),
        newest=max((each.scores.date for each in comparing if each.scores.date is not None), default=None),
        evidence=tuple(
            _evidence(name, each.scores, [other for other in each.values if other in places]) for each in comparing
        ),
    )


def _alone(name: str, sets: Sequence[ScoreSet]) -> tuple[Evidence, ...]:
    return tuple(_evidence(name, each, [name]) for each in sets if name in each.values)


def _evidence(name: str, each: ScoreSet, among: Sequence[str]) -> Evidence:
    value = each.values[name].value
    better = [
        each.values[other].value > value if each.higher_is_better else each.values[other].value < value
        for other in among
    ]
    rank_ = 1 + sum(better)
    return Evidence(
        each.title, each.run_by, each.independent, each.date, value, each.unit, rank_, len(among), each.source
    )
