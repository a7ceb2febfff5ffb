"""Published scores, in sets whose values may be compared: one test, run in one way by one party.

Values of different sets are never averaged: tests of one name differ, and so do the ways in which they are run.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from compiler.lock.names import RepositoryName
from compiler.registry.data import rows
from compiler.registry.entry import Day, Line, RegistryRecord

Unit = Literal["%", "Elo", "index points", "points of 10"]


class Score(NamedTuple):
    """A value in the unit of its set, and between which bounds its party says that it lies; None where it says none."""

    value: float
    low: float | None = None
    high: float | None = None


def _as_score(value: Any) -> Any:
    return (value,) if isinstance(value, int | float) else value


class ScoreSet(RegistryRecord):
    """Values that may be compared with one another, and with no others.

    Attributes:
        benchmark: the test, with the category of it that was run.
        variant: how it was run, such as the number of examples, or whether the model could think; None is not said.
        run_by: whose figures they are. A maker's table is one party, whatever models stand in it.
        independent: whether that party makes none of the models.
        date: of the figures; None where nothing dates them, and then they grade nothing.
        dated: `release` where only the release of the party's newest model in the set dates them.
        unit: `%`, `Elo`, `index points` or `points of 10`.
        higher_is_better: whether a larger value is a better one.
        items: questions of the test; None where they were not counted, or several tests are averaged.
        source: a key of the registry's sources, with what of it after a colon.
        mark: why its values are to be taken with care; None where they are not.
        values: of each model.
    """

    benchmark: Line
    variant: Line | None = None
    run_by: Line
    independent: bool
    date: Day | None
    dated: Literal["stated", "release"] = "stated"
    unit: Unit
    higher_is_better: bool = True
    items: int | None = Field(default=None, ge=1)
    source: Line
    mark: Line | None = None
    values: dict[RepositoryName, Annotated[Score, BeforeValidator(_as_score)]] = Field(min_length=1)

    @model_validator(mode="after")
    def _bounds_hold_the_value(self) -> ScoreSet:
        for name, score in self.values.items():
            low, high = score.low, score.high
            if not all(math.isfinite(part) for part in score if part is not None):
                raise ValueError(f"has a value of {name} that is not finite")
            if (low is None) != (high is None) or (low is not None and not low <= score.value <= (high or 0)):
                raise ValueError(f"has bounds of {name} that do not hold its value")
        return self

    @property
    def title(self) -> str:
        """The test and how it was run, in a line."""
        return self.benchmark if self.variant is None else f"{self.benchmark} ({self.variant})"

    @property
    def key(self) -> tuple[str | None, ...]:
        """What sets have in common whose values may be compared."""
        return (self.benchmark, self.variant, self.run_by, self.date, self.unit)


def read_scores() -> tuple[ScoreSet, ...]:
    """All sets that ship, in the order of their files."""
    return tuple(TypeAdapter(list[ScoreSet]).validate_python(rows("scores")))


def with_own_sets(shipped: tuple[ScoreSet, ...], own: tuple[ScoreSet, ...]) -> tuple[ScoreSet, ...]:
    """The sets that ship with a user's values in them, then the user's other sets."""
    if not own:
        return shipped
    found = {each.key: each for each in shipped}
    for each in own:
        same = found.setdefault(each.key, each)
        found[each.key] = same.model_copy(update={"values": {**same.values, **each.values}})
    return tuple(found.values())
