"""Judges what is said of llama-server's memory: `python -m benchmarks.gguf --truth FILE … [--json] [--misses]`.

FILE holds a row a line. Rows of kind `oracle` are what llama-server or libllama of a known build planned for stub
files; rows of kind `log` are public start-up logs, `shape` the headers of models for the other rows. Logs are judged by
their caches, for which builds hardly differ, and on one card by the sum of what they print: the weights as printed,
since their tensor tables are not at hand. A row that cannot be judged is counted as such. The last line is one object.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.ggufs.rows import UnjudgedError, header_model, judge_log, judge_oracle
from benchmarks.ggufs.shapes import model_named_in, shaped_model
from benchmarks.ggufs.verdicts import Judged
from compiler.gguf.model import GgufModel


@dataclass
class Report:
    """All verdicts so far."""

    judged: dict[str, list[Judged]] = field(default_factory=lambda: defaultdict(list))
    unjudged: int = 0

    def add(self, verdicts: Iterable[Judged]) -> None:
        """Take in a row's verdicts."""
        for verdict in verdicts:
            self.judged[verdict.component].append(verdict)

    def figures(self) -> dict[str, Any]:
        """What is counted, by component. A failed start that is said to fit is the worst fault there is."""
        failed = self.judged.pop("failed_starts", [])
        figures = {component: _figures(verdicts) for component, verdicts in sorted(self.judged.items())}
        said_to_fit = sum(verdict.high <= verdict.measured for verdict in failed)
        return {**figures, "failed_starts": {"n": len(failed), "said_to_fit": said_to_fit}, "unjudged": self.unjudged}


def _figures(verdicts: list[Judged]) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "n": len(verdicts),
        "exact": sum(verdict.is_exact for verdict in verdicts),
        "worst": round(max(verdict.error for verdict in verdicts), 2),
    }
    if any(verdict.is_interval for verdict in verdicts):
        figures["inside"] = sum(verdict.is_inside for verdict in verdicts)
        figures["mean_width"] = round(statistics.mean(verdict.width for verdict in verdicts), 4)
        figures["median_error"] = round(statistics.median(verdict.relative for verdict in verdicts), 5)
        figures["above"] = sum(verdict.measured > verdict.high + verdict.slack for verdict in verdicts)
    return figures


def read_rows(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Rows of all files, one a line."""
    for path in paths:
        with path.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())


def main() -> None:
    """Judge the rows and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, required=True, nargs="+", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print the object alone")
    parser.add_argument("--misses", action="store_true", help="print what was not met, row by row")
    options = parser.parse_args()
    rows = list(read_rows(options.truth))
    models = {row["model"]: header_model(row) for row in rows if row.get("kind") == "shape"}
    report = Report()
    for row in rows:
        if row.get("kind") not in ("oracle", "log"):
            continue
        try:
            report.add(_judged(row, models))
        except UnjudgedError as error:
            report.unjudged += 1
            if options.misses:
                print("unjudged", row.get("id"), row.get("model"), error)
    if options.misses:
        _print_misses(report)
    figures = report.figures()
    if not options.json:
        for component, found in figures.items():
            print(f"{component:24} {found}")
    print(json.dumps(figures))


def _judged(row: dict[str, Any], models: dict[str, GgufModel]) -> list[Judged]:
    name = row.get("model") or ""
    if row["kind"] == "oracle":
        return list(judge_oracle(row, models.get(name) or shaped_model(name)))
    carries = "meta" in row or "keys" in row
    return list(judge_log(row, header_model(row) if carries else models.get(name) or model_named_in(name)))


def _print_misses(report: Report) -> None:
    for component, verdicts in sorted(report.judged.items()):
        for verdict in verdicts:
            if not verdict.is_inside:
                print(component, verdict)


if __name__ == "__main__":
    main()
