"""Linear equations whose matrix is symmetric and positive definite, after Cholesky."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from operator import mul


def solved(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """The solution.

    Args:
        matrix: its lower half, row by row, each with its diagonal last.
        right: the right side.
    """
    factor: list[list[float]] = []
    found: list[float] = []
    for place, row in enumerate(matrix):
        own: list[float] = []
        for other in range(place):
            above = factor[other]
            own.append((row[other] - sum(map(mul, own, above))) / above[other])
        own.append(sqrt(row[place] - sum(map(mul, own, own))))
        found.append((right[place] - sum(map(mul, own, found))) / own[place])
        factor.append(own)
    for place in range(len(factor) - 1, -1, -1):
        found[place] /= factor[place][place]
        for other in range(place):
            found[other] -= factor[place][other] * found[place]
    return found
