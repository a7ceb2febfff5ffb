"""What a grade is: where a model stands among those that the same tests compare, and on what that rests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["graded", "thin", "no_common_test", "unknown"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A model's value in one set of published scores.

    Attributes:
        test: the set's benchmark, and how it was run.
        run_by: whose figures they are.
        independent: whether that party makes none of the models.
        date: of the figures, as `ScoreSet.date`.
        value: in the set's unit.
        unit: of the value.
        rank: by the value among the models that the grade compares, 1 for the best; equal values share the best of
            their ranks.
        of: how many those are.
        source: as `ScoreSet.source`.
    """

    test: str
    run_by: str
    independent: bool
    date: str | None
    value: float
    unit: str
    rank: int
    of: int
    source: str


@dataclass(frozen=True, slots=True)
class Grade:
    """Where a model stands at a task. `unknown` is not bad: nobody measured it, or nobody published it.

    Attributes:
        kind: `graded`; `thin`, on one test or on makers' figures alone; `no_common_test`, where there are figures but
            none compares it to the others; `unknown`, where there are none.
        position: the share of graded models that it stands above, between 0 and 1; None where it has no place.
        low, high: bounds that hold its position nine times in ten, were the tests drawn anew.
        sets: that compare it to others.
        parties: whose those are.
        newest: the last date of those sets.
        evidence: those sets; of `no_common_test`, the figures that compare it to nobody.
    """

    kind: Kind
    position: float | None = None
    low: float | None = None
    high: float | None = None
    sets: int = 0
    parties: int = 0
    newest: str | None = None
    evidence: tuple[Evidence, ...] = ()

    @property
    def place(self) -> tuple[float, float, float] | None:
        """The position and its bounds; None where it has none."""
        if self.position is None or self.low is None or self.high is None:
            return None
        return self.position, self.low, self.high


UNKNOWN = Grade("unknown")


@dataclass(frozen=True, slots=True)
class Penalty:
    """What quantization costs a model's scores, as a share of them.

    Attributes:
        low, high: bounds, such as 0.005 and 0.04.
        source: who measured it.
        mark: why the bounds are to be taken with care; None where they are not.
    """

    low: float
    high: float
    source: str
    mark: str | None = None
