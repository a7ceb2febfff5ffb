"""Fits the constants of the speed model: `python -m benchmarks.speeds.fit --cases FILE` prints them.

By robust least squares of logarithms, about priors that say what each should be by physics (speed_parameters.py).

Rows of one source, family and card say much the same, errors of its client and its machine included. Together they
therefore count as the square root of their number.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speeds.cases import SpeedCase, read_cases
from benchmarks.speeds.parameters import Parameter, parameters, replaced
from compiler.speed.constants import FITTED, Constants
from compiler.speed.load import Regime
from compiler.speed.server import Server
from compiler.speed.traffic import times

# Deviation of a logarithm between machines that are alike; beyond it an error counts by its size, not its square.
# Of one request little is left to chance; of many at once much is decided by the client.
_NOISE = {Regime.SINGLE: 0.11, Regime.CLOSED: 0.15, Regime.BATCH: 0.2, Regime.BURST: 0.27}
_FIRST_NOISE = 0.6
_ROUNDS, _PACE, _NUDGE = 6, 0.5, 1e-3
_ALIKE = 0.5
_FIRST = "ttft_ms"


@dataclass(frozen=True, slots=True)
class _Observation:
    """A case with the weight of its errors; `errors` are by target, in noises."""

    case: SpeedCase
    weight: float

    def errors(self, constants: Constants) -> list[float]:
        case = self.case
        found = times(Server(case.shape, case.card, case.ranks, case.pool, constants), case.load)
        said = {"tpot_ms": found.tpot, "e2e_ms": found.request, _FIRST: found.ttft, "output_tok_s": found.output_rate}
        return [
            math.log(said[target] / value) / (_FIRST_NOISE if target == _FIRST else _NOISE[case.load.regime])
            for target, value in case.measured.items()
        ]


def fit(cases: Sequence[SpeedCase]) -> Constants:
    """The constants that explain cases best, each as near to its prior as they leave it."""
    seen, free = _observations(cases), parameters()
    values = [math.log(each.expected) for each in free]
    for _ in range(_ROUNDS):
        constants = _constants(free, values)
        steps = _steps(seen, free, values, constants)
        values = [
            math.log(each.clipped(value + min(max(step, -_PACE), _PACE)))
            for each, value, step in zip(free, values, steps, strict=True)
        ]
    return _constants(free, values)


def _observations(cases: Sequence[SpeedCase]) -> list[_Observation]:
    # Requests at a rate are left out: little is known of how they came.
    used = [case for case in cases if case.load.regime is not Regime.OPEN]
    alike = Counter(case.group for case in used)
    return [_Observation(case, alike[case.group] ** -_ALIKE / len(case.measured)) for case in used]


def _constants(free: Sequence[Parameter], values: Sequence[float]) -> Constants:
    return replaced(FITTED, {each.path: each.clipped(value) for each, value in zip(free, values, strict=True)})


def _steps(
    seen: Sequence[_Observation], free: Sequence[Parameter], values: Sequence[float], constants: Constants
) -> list[float]:
    """One step of Gauss and Newton, errors beyond the noise weighted down (soft L1)."""
    matrix = [[0.0] * len(free) for _ in free]
    right = [0.0] * len(free)
    for index, (each, value) in enumerate(zip(free, values, strict=True)):
        matrix[index][index] = each.deviation**-2
        right[index] = (math.log(each.expected) - value) * each.deviation**-2
    nudged = [replaced(constants, {each.path: each.of(constants) * math.exp(_NUDGE)}) for each in free]
    for one in seen:
        errors = one.errors(constants)
        slopes = {
            index: [(after - before) / _NUDGE for after, before in zip(one.errors(other), errors, strict=True)]
            for index, (each, other) in enumerate(zip(free, nudged, strict=True))
            if each.affects(one.case)
        }
        for number, error in enumerate(errors):
            weight = one.weight / math.sqrt(1 + error * error)
            for row, of_row in slopes.items():
                right[row] -= weight * of_row[number] * error
                for column, of_column in slopes.items():
                    matrix[row][column] += weight * of_row[number] * of_column[number]
    return _solved(matrix, right)


def _solved(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Of a positive definite matrix, by elimination."""
    size = len(right)
    for pivot in range(size):
        for row in range(pivot + 1, size):
            factor = matrix[row][pivot] / matrix[pivot][pivot]
            if factor:
                for column in range(pivot, size):
                    matrix[row][column] -= factor * matrix[pivot][column]
                right[row] -= factor * right[pivot]
    found = [0.0] * size
    for row in reversed(range(size)):
        known = sum(matrix[row][column] * found[column] for column in range(row + 1, size))
        found[row] = (right[row] - known) / matrix[row][row]
    return found


def main() -> None:
    """Fit to all cases, and print each constant by its place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    constants = fit([case for case in read_cases(options.cases) if isinstance(case, SpeedCase)])
    for each in parameters():
        print(" ".join(word for word in map(str, each.path) if word not in ("None", "")), f"{each.of(constants):.4g}")


if __name__ == "__main__":
    main()
