"""Who beats whom, test by test."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

from compiler.choose.grades.benchmarks import Benchmark
from compiler.choose.grades.noise import Noise, noise_of
from compiler.registry.scores import Score, ScoreSet

Pair = tuple[str, str]
"""Two models, in the order of their names."""

_WIN, _TIE, _LOSS = 1.0, 0.5, 0.0
INDEPENDENT, MAKER = 1.0, 0.5
"""What a comparison counts."""


@dataclass(frozen=True, slots=True)
class RankedSet:
    """A set as far as a ranking uses it.

    Attributes:
        benchmark, scores: the test and the set.
        values: of the models that may be compared.
        outcomes: of its pairs that count: how much of a win for the first, from 0 to 1.
        weight: of each.
    """

    benchmark: Benchmark
    scores: ScoreSet
    values: Mapping[str, Score]
    outcomes: Mapping[Pair, float]
    weight: float

    @property
    def test(self) -> tuple[str, str]:
        """What it is a part of: sets of one party that ask the same are one test."""
        return (self.scores.run_by, self.benchmark.questions)


def ranked_sets(sets: Iterable[tuple[Benchmark, ScoreSet]], publishers: Mapping[str, str]) -> tuple[RankedSet, ...]:
    """The sets with the comparisons that count.

    A maker's own table counts half, and of models of different makers it compares only those that no independent set
    does. What nothing dates compares nobody.

    Args:
        publishers: of the models that may be compared, who published them.
    """
    drawn = [(benchmark, each, _among(each, publishers)) for benchmark, each in sets]
    found = [
        (benchmark, each, values, _outcomes(noise_of(benchmark, each), each, values))
        for benchmark, each, values in drawn
    ]
    joined = {pair for _, each, _, outcomes in found if each.independent for pair in outcomes}
    return tuple(
        RankedSet(
            benchmark,
            each,
            values,
            outcomes if each.independent else _makers(outcomes, publishers, joined),
            INDEPENDENT if each.independent else MAKER,
        )
        for benchmark, each, values, outcomes in found
    )


def _among(each: ScoreSet, publishers: Mapping[str, str]) -> dict[str, Score]:
    return {name: each.values[name] for name in sorted(each.values) if name in publishers}


def _outcomes(noise: Noise, each: ScoreSet, values: Mapping[str, Score]) -> dict[Pair, float]:
    if each.date is None:
        return {}
    return {(one, two): _outcome(noise, values[one], values[two], each) for one, two in combinations(values, 2)}


def _outcome(noise: Noise, one: Score, two: Score, each: ScoreSet) -> float:
    larger, smaller = (one, two) if one.value >= two.value else (two, one)
    if not noise.decides(larger, smaller):
        return _TIE
    return _WIN if (larger is one) == each.higher_is_better else _LOSS


def _makers(outcomes: Mapping[Pair, float], publishers: Mapping[str, str], joined: set[Pair]) -> dict[Pair, float]:
    return {
        pair: won for pair, won in outcomes.items() if publishers[pair[0]] == publishers[pair[1]] or pair not in joined
    }


@dataclass(frozen=True)
class Test:
    """The comparisons of one test, in which each pair counts once however many sets compare it.

    Attributes:
        outcomes: of pairs, how much of a win for the first, on average over its sets.
        weight: of each.
        run_by: whose sets they are.
        newest: the last date of its sets.
    """

    outcomes: Mapping[Pair, float]
    weight: float
    run_by: str
    newest: str

    @cached_property
    def models(self) -> frozenset[str]:
        """Those that it compares."""
        return frozenset(name for pair in self.outcomes for name in pair)

    def without(self, models: Collection[str]) -> Test:
        """The same without some models."""
        if self.models.isdisjoint(models):
            return self
        left = {pair: won for pair, won in self.outcomes.items() if pair[0] not in models and pair[1] not in models}
        return replace(self, outcomes=left)


def as_tests(sets: Sequence[RankedSet]) -> tuple[Test, ...]:
    """The tests that the sets make up, those without a comparison left out."""
    parts: dict[tuple[str, str], list[RankedSet]] = {}
    for each in sets:
        if each.outcomes:
            parts.setdefault(each.test, []).append(each)
    return tuple(_joined(each) for each in parts.values())


def _joined(sets: Sequence[RankedSet]) -> Test:
    found: dict[Pair, list[float]] = {}
    for each in sets:
        for pair, won in each.outcomes.items():
            found.setdefault(pair, []).append(won)
    outcomes = {pair: sum(won) / len(won) for pair, won in found.items()}
    newest = max(each.scores.date or "" for each in sets)
    return Test(outcomes, max(each.weight for each in sets), sets[0].scores.run_by, newest)
