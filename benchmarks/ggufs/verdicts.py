"""One figure that was said and measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judged:
    """A component of a row, in MiB.

    Attributes:
        slack: what the measured figure was rounded by.
        is_interval: an interval was said, not a size.
    """

    row: str
    component: str
    low: float
    said: float
    high: float
    measured: float
    slack: float
    is_interval: bool = False

    @property
    def error(self) -> float:
        """MiB between what was expected and what was measured."""
        return abs(self.said - self.measured)

    @property
    def relative(self) -> float:
        """The error as a share of what was measured."""
        return self.error / self.measured if self.measured else 0.0

    @property
    def is_exact(self) -> bool:
        """Whether the error is no more than rounding."""
        return self.error <= self.slack

    @property
    def is_inside(self) -> bool:
        """Whether the interval holds what was measured."""
        return self.low - self.slack <= self.measured <= self.high + self.slack

    @property
    def width(self) -> float:
        """The interval's width as a share of what was expected."""
        return (self.high - self.low) / self.said if self.said else 0.0
