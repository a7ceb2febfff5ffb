"""A figure with an interval, and how much stands behind it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure that about nine measurements in ten are within."""

    low: float
    expected: float
    high: float

    @property
    def inverse(self) -> Estimate:
        """Of a time, how often it passes in a second."""
        return Estimate(1 / self.high, 1 / self.expected, 1 / self.low)


class Mark(StrEnum):
    """What an estimate rests on."""

    CALIBRATED = "measured on this server"
    MEASURED = "measured neighbourhood"
    EXTRAPOLATED = "extrapolated"
    THIN = "thin"


@dataclass(frozen=True, slots=True)
class Ground:
    """A mark and the reasons for it, for people; none where like servers were measured under a like load."""

    mark: Mark
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spread:
    """What measured times are of predicted ones: of 100 about 4 are below, and 4 above."""

    low: float
    high: float

    def widened(self, power: float) -> Spread:
        """By a power above 1; the same for 1."""
        return Spread(self.low**power, self.high**power)

    def around(self, expected: float) -> Estimate:
        """The interval of a prediction."""
        return Estimate(expected * self.low, expected, expected * self.high)

    def around_rate(self, expected: float) -> Estimate:
        """The interval of what passes in such a time."""
        return Estimate(expected / self.high, expected, expected / self.low)
