"""How far apart two values of a set must lie to say that one model is better."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from compiler.choose.grades.benchmarks import Benchmark
from compiler.registry.scores import Score, ScoreSet

# Where the number of questions is not known. Two points of a hundred are two standard errors of a test of 2,500
# questions that are half answered; a gap of ten points of Elo lies within the bounds that arenas publish.
_UNKNOWN = {"%": 2.0, "index points": 2.0, "points of 10": 0.2, "Elo": 10.0}
_ERRORS = 2.0
_WHOLE = 100.0


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a set's values.

    Attributes:
        items: questions of the test; None where the values have bounds of their own, or nobody counted.
        gap: that must be exceeded, where neither bounds nor items say it; in the set's unit.
        chance: as `Benchmark.chance`.
        source: why it is that.
    """

    items: int | None
    gap: float
    chance: float
    source: str

    def decides(self, better: Score, worse: Score) -> bool:
        """Whether the first value, which is the larger one, is larger beyond the noise.

        Values that the party gives bounds of differ where the bounds are apart. Else the gap must exceed two standard
        errors of the noisier value: both models answer the same questions, of which the hard ones are hard for both,
        so that the error of a difference is about that of one value.
        """
        if better.low is not None and worse.high is not None:
            return better.low > worse.high
        if self.items is None:
            return better.value - worse.value > self.gap
        error = max(_error(each.value, self.items, self.chance) for each in (better, worse))
        return better.value - worse.value > _ERRORS * error


def _error(value: float, items: int, chance: float) -> float:
    """The standard error of a share of right answers, in points; that of a test all right or all wrong is not 0."""
    share = chance + min(max(value / _WHOLE, 0.0), 1.0) * (1 - chance)
    # Two answers more, one of them right: after Agresti and Coull (1998), who add two of each.
    counted = items + 2
    share = (share * items + 1) / counted
    return _WHOLE * sqrt(share * (1 - share) / counted) / (1 - chance)


def noise_of(benchmark: Benchmark, each: ScoreSet) -> Noise:
    """The noise of a set, from what is known of its test."""
    gap = _UNKNOWN[each.unit]
    if any(score.low is not None for score in each.values.values()):
        return Noise(None, gap, 0.0, f"bounds by {each.run_by}")
    items = each.items or benchmark.items
    if items is None or each.unit != "%":
        return Noise(None, gap, 0.0, f"number of questions not known: {gap:g} {each.unit}")
    source = "counted in the set" if each.items else benchmark.items_source
    return Noise(items, gap, benchmark.chance, f"two standard errors of {items} questions ({source})")
