"""Amounts that are only known to lie between two others."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """An amount in [low, high], of whatever unit its name says; exact where both are equal.

    Raises:
        ValueError: not two finite numbers from 0 upward, in order.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.high and math.isfinite(self.high)):
            raise ValueError(f"not a range: {self.low} to {self.high}")

    @classmethod
    def exact(cls, amount: float) -> Range:
        """An amount that is known."""
        return cls(amount, amount)

    @classmethod
    def over(cls, amounts: Iterable[float]) -> Range:
        """From the least to the most of them.

        Raises:
            ValueError: there are none.
        """
        found = tuple(amounts)
        return cls(min(found), max(found))

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> Range:
        return Range(self.low * factor, self.high * factor)

    def __truediv__(self, divisor: float) -> Range:
        return Range(self.low / divisor, self.high / divisor)
