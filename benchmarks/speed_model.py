"""Judges estimates of speed by published measurements.

    python -m benchmarks.speed_model --cases FILE [--json] [--held-out unit]

FILE holds a case a line: what ran on which card under which load, and what was measured. Errors are
|estimate / measurement - 1| in percent; a bias above 0 is an estimate that is too fast. Beside them stand those of two
plain formulas. Cases without an answer are counted. The last line is one object.

With --held-out the constants are not those of the project: each case is judged by ones that were fitted anew to all
cases but those of its unit (source and family), source, family or card. That is what to expect of cases that nobody
has seen.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speeds.cases import SpeedCase, UnansweredError, read_cases
from benchmarks.speeds.folds import KEYS, held_out
from benchmarks.speeds.peers import flat_bandwidth, roofline
from benchmarks.speeds.points import correct, estimates, point_figures
from compiler.speed.constants import FITTED, Constants
from compiler.speed.load import Regime
from compiler.speed.speed import Speed, predict

_FIRST = "ttft_ms"


@dataclass(frozen=True, slots=True)
class Judged:
    """One target of a case.

    Attributes:
        ratio: estimate by measurement.
        inside: whether the interval holds the measurement.
        peers: ratios of plain formulas.
    """

    case: SpeedCase
    target: str
    ratio: float
    inside: bool
    peers: Mapping[str, float]

    @property
    def error(self) -> float:
        """In percent."""
        return abs(self.ratio - 1) * 100

    @property
    def faster(self) -> float:
        """By how many percent the estimate is faster than what was measured."""
        return (self.ratio - 1 if self.target == "output_tok_s" else 1 / self.ratio - 1) * 100


def say(case: SpeedCase, constants: Constants = FITTED) -> Speed | None:
    """What is said of a case."""
    return predict(case.shape, case.card, case.ranks, case.load, case.pool, constants=constants)


def judge(case: SpeedCase, speed: Speed) -> list[Judged]:
    """Every target of a case."""
    peers = {"flat": flat_bandwidth(case), "roofline": roofline(case)}
    verdicts, said = [], estimates(speed)
    for target, value in case.measured.items():
        estimate = said[target]
        others = {name: figures[target] / value for name, figures in peers.items()}
        inside = estimate.low <= value <= estimate.high
        verdicts.append(Judged(case, target, estimate.expected / value, inside, others))
    return verdicts


def figures(verdicts: list[Judged]) -> dict[str, float]:
    """Number, median and 90th percentile of errors, and share of measurements within their intervals, in percent."""
    if not verdicts:
        return {"n": 0, "median": 0.0, "p90": 0.0, "coverage": 0.0}
    errors = [verdict.error for verdict in verdicts]
    return {
        "n": len(verdicts),
        "median": round(statistics.median(errors), 2),
        "p90": round(_p90(errors), 2),
        "coverage": round(100 * statistics.mean(verdict.inside for verdict in verdicts), 2),
    }


def _p90(errors: list[float]) -> float:
    return sorted(errors)[min(len(errors) - 1, int(0.9 * len(errors)))]


def by_group(verdicts: Iterable[Judged]) -> dict[str, float]:
    """Each source, family and card with the same weight: median of medians, and mean coverage."""
    groups = list(_split(verdicts, lambda verdict: verdict.case.group).values())
    if not groups:
        return {"n": 0, "median": 0.0, "coverage": 0.0}
    medians = [statistics.median(verdict.error for verdict in group) for group in groups]
    coverage = statistics.mean(statistics.mean(verdict.inside for verdict in group) for group in groups)
    return {"n": len(groups), "median": round(statistics.median(medians), 2), "coverage": round(100 * coverage, 2)}


def _split(verdicts: Iterable[Judged], key: Callable[[Judged], Any]) -> dict[Any, list[Judged]]:
    groups: dict[Any, list[Judged]] = defaultdict(list)
    for verdict in verdicts:
        groups[key(verdict)].append(verdict)
    return groups


_TABLES: Mapping[str, Callable[[Judged], str]] = {
    "regime": lambda verdict: str(verdict.case.load.regime),
    "target": lambda verdict: verdict.target,
    "card": lambda verdict: verdict.case.gpu,
    "era": lambda verdict: verdict.case.era,
    "arithmetic": lambda verdict: str(verdict.case.shape.arithmetic),
    "group": lambda verdict: " | ".join(verdict.case.group),
}


def print_tables(verdicts: list[Judged]) -> None:
    """Errors by what cases are of, and those of plain formulas."""
    for title, key in _TABLES.items():
        print(f"\n{title:40} {'n':>5} {'median':>7} {'p90':>7} {'bias':>6} {'inside':>7} {'flat':>6} {'roof':>6}")
        for name, group in sorted(_split(verdicts, key).items()):
            print(_line(name, group))


def _line(name: str, group: list[Judged]) -> str:
    found, bias = figures(group), statistics.median(verdict.faster for verdict in group)
    peers = [statistics.median(abs(each.peers[peer] - 1) * 100 for each in group) for peer in ("flat", "roofline")]
    shown = f"{name[:40]:40} {found['n']:5} {found['median']:7.1f} {found['p90']:7.1f} {bias:+6.0f}"
    return f"{shown} {found['coverage']:7.0f} {peers[0]:6.0f} {peers[1]:6.0f}"


def summary(verdicts: list[Judged]) -> dict[str, Any]:
    """The object of the last line."""
    speed = [verdict for verdict in verdicts if verdict.target != _FIRST]
    ttft = [verdict for verdict in verdicts if verdict.target == _FIRST]
    regimes = _split(speed, lambda verdict: verdict.case.load.regime)
    return {
        "speed": figures(speed),
        "by_group": by_group(speed),
        "single_stream": figures(regimes.get(Regime.SINGLE, [])),
        "closed_loop": figures(regimes.get(Regime.CLOSED, [])),
        "ttft": figures(ttft),
    }


def main() -> None:
    """Judge all cases and print the figures."""
    options = _parser().parse_args()
    read = list(read_cases(options.cases))
    cases = [case for case in read if isinstance(case, SpeedCase)]
    unanswered = Counter(str(case) for case in read if isinstance(case, UnansweredError))
    judged_by = held_out(cases, options.held_out) if options.held_out else ((case, FITTED) for case in cases)
    answers = [answer for case, constants in judged_by for answer in _answer(case, constants)]
    said = [(case, speed) for case, speed, _ in answers]
    unanswered["no answer"] = len(cases) - len(said)
    verdicts = [verdict for _, _, found in answers for verdict in found]
    if not options.json:
        print_tables([verdict for verdict in verdicts if verdict.target != _FIRST])
        for reason, count in (+unanswered).most_common(20):
            print(f"unanswered {count}: {reason}")
    print(json.dumps({**summary(verdicts), "one_point": one_point(said), "unanswered": unanswered.total()}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print the object alone")
    parser.add_argument("--held-out", choices=KEYS, help="fit anew without what is judged; takes half a minute")
    return parser


def _answer(case: SpeedCase, constants: Constants) -> Iterator[tuple[SpeedCase, Speed, list[Judged]]]:
    """What is said of a case, judged; nothing where its figures are none that a server could have."""
    try:
        speed = say(case, constants)
        found = [] if speed is None else judge(case, speed)
    except (ArithmeticError, ValueError):
        return
    if speed is not None:
        yield case, speed, found


def one_point(said: Sequence[tuple[SpeedCase, Speed]]) -> dict[str, Any]:
    """What one measured point of a server makes of the errors at its other loads."""
    found = list(correct(said))
    return {
        "speed": point_figures([each for each in found if each.target != _FIRST]),
        "ttft": point_figures([each for each in found if each.target == _FIRST]),
    }


if __name__ == "__main__":
    main()
