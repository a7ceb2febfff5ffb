"""What estimates are worth on cases that nothing was fitted to: each part is judged by constants of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.speeds.cases import SpeedCase
from benchmarks.speeds.fit import fit
from compiler.speed.constants import Constants

FOLDS = 6
KEYS: Mapping[str, Callable[[SpeedCase], str]] = {
    "unit": lambda case: case.unit,
    "source": lambda case: case.unit.partition(" | ")[0],
    "family": lambda case: case.unit.partition(" | ")[2] or case.unit,
    "card": lambda case: case.gpu,
}
"""What is left out as a whole; a unit is a source and a family."""


def held_out(cases: Sequence[SpeedCase], by: str, folds: int = FOLDS) -> Iterator[tuple[SpeedCase, Constants]]:
    """Each case with constants that were fitted without all that is like it."""
    key = KEYS[by]
    parts = _parts(Counter(map(key, cases)), folds)
    for number in range(folds):
        left_out = [case for case in cases if parts[key(case)] == number]
        if left_out:
            constants = fit([case for case in cases if parts[key(case)] != number])
            yield from ((case, constants) for case in left_out)


def _parts(sizes: Counter[str], folds: int) -> dict[str, int]:
    """Parts of about one size: the largest first, each to the smallest."""
    filled, parts = [0] * folds, {}
    for name, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        parts[name] = filled.index(min(filled))
        filled[parts[name]] += size
    return parts
