"""Reports of an evaluation: for people, as JSON and as JUnit, and the comparison with another one.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

from stack import EXIT_ENVIRONMENT, JsonObject, StackError
from stack.judge.answer_checks import Verdict
from stack.judge.baseline import write_whole
from stack.judge.evaluation import Case

SCHEMA = 1
SHOWN_CHARS, SHOWN_LINES = 600, 12


class Sample(NamedTuple):
    """One answer and what the checks say. `error` is set where there is no answer."""

    answer: str
    finish: str
    verdicts: list[Verdict]
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the answer satisfies every check."""
        return self.error is None and all(verdict.passed for verdict in self.verdicts)


class Outcome(NamedTuple):
    """A case and its answers."""

    case: Case
    samples: list[Sample]

    @property
    def score(self) -> float:
        """The chance that at least one of `pass_at` answers, drawn from these, passes.

        The unbiased estimator of pass@k (Chen and others, 2021): 1 - C(n - c, k) / C(n, k).
        """
        total, good = len(self.samples), sum(sample.passed for sample in self.samples)
        return 1 - math.comb(total - good, self.case.pass_at) / math.comb(total, self.case.pass_at)

    @property
    def title(self) -> str:
        """`pass`, `FAIL` or a share."""
        return "pass" if self.score == 1 else "FAIL" if self.score == 0 else f"{self.score:.0%}"


class ServiceReport(NamedTuple):
    """All cases of one service."""

    service: str
    outcomes: list[Outcome]

    @property
    def rate(self) -> float:
        """The mean score."""
        return sum(outcome.score for outcome in self.outcomes) / len(self.outcomes)


class Lost(NamedTuple):
    """A case that passed elsewhere or before, and does not now."""

    service: str
    case: str
    before: float
    now: float
    against: str


class Summary(NamedTuple):
    """All of an evaluation. `lacking` is what the sandbox of Python checks could not have on this machine."""

    stack: str
    reports: list[ServiceReport]
    pass_rate: float
    lost: list[Lost]
    lacking: list[str]
    code: int


def format_text(summary: Summary) -> str:
    """For people."""
    reports, pass_rate = summary.reports, summary.pass_rate
    lines = [f"note  python checks ran without {', '.join(summary.lacking)}"] if summary.lacking else []
    for report in reports:
        for outcome in report.outcomes:
            lines.append(f"{outcome.title:<4}  {report.service}: {outcome.case.name}")
            lines += [f"        {line}" for line in explain(outcome)]
    lines += [
        f"LOST  {each.service}: {each.case}: {each.before:.0%} {each.against}, {each.now:.0%} now"
        for each in summary.lost
    ]
    for report in reports:
        judged = "ok" if report.rate >= pass_rate else "below"
        lines.append(f"{report.service}: {report.rate:.1%} of {len(report.outcomes)} cases, {judged} {pass_rate:.1%}")
    return "\n".join(lines)


def explain(outcome: Outcome) -> list[str]:
    """Why a case failed, by its first failing answer: what each check says, and the answer."""
    sample = next((each for each in outcome.samples if not each.passed), None)
    if sample is None:
        return []
    if sample.error is not None:
        return [printable(sample.error)]
    lines = []
    for verdict in sample.verdicts:
        if not verdict.passed:
            first, *more = bounded(verdict.detail)
            lines += [f"{verdict.kind}: {first}", *(f"  {line}" for line in more)]
    finish = " (cut off at max_tokens)" if sample.finish == "length" else ""
    return [*lines, f"answer{finish}:", *(f"  | {line}" for line in bounded(sample.answer))]


def bounded(text: str) -> list[str]:
    """The first lines of a text, safe for a terminal; at least one."""
    lines = [printable(line) for line in text[:SHOWN_CHARS].splitlines()[:SHOWN_LINES]] or [""]
    is_cut = len(text) > SHOWN_CHARS or len(text.splitlines()) > SHOWN_LINES
    return [*lines, "…"] if is_cut else lines


def printable(text: str) -> str:
    """A line that leaves the terminal alone: an answer may hold anything."""
    return "".join(char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in text)


def format_json(summary: Summary) -> str:
    """For machines, with whole answers."""
    document = {
        "stack": summary.stack,
        "exit_code": summary.code,
        "pass_rate": summary.pass_rate,
        "sandbox_lacks": summary.lacking,
        "services": [_service(report) for report in summary.reports],
        "lost": [each._asdict() for each in summary.lost],
    }
    return json.dumps(document, indent=2)


def _service(report: ServiceReport) -> JsonObject:
    cases = [
        {
            "name": outcome.case.name,
            "score": outcome.score,
            "digest": outcome.case.digest,
            "samples": [_sample(sample) for sample in outcome.samples],
        }
        for outcome in report.outcomes
    ]
    return {"service": report.service, "rate": report.rate, "cases": cases}


def _sample(sample: Sample) -> JsonObject:
    checks = [{"check": each.kind, "passed": each.passed, "detail": each.detail} for each in sample.verdicts]
    return {"passed": sample.passed, "error": sample.error, "answer": sample.answer, "checks": checks}


def format_junit(summary: Summary) -> str:
    """JUnit XML: a suite for each service, a test for each case."""
    stack = summary.stack
    root = ET.Element("testsuites", name=_xml(stack))
    for report in summary.reports:
        failed = sum(outcome.score < 1 for outcome in report.outcomes)
        counts = {"tests": str(len(report.outcomes)), "failures": str(failed), "errors": "0", "skipped": "0"}
        suite = ET.SubElement(root, "testsuite", name=_xml(report.service), **counts)
        for outcome in report.outcomes:
            names = {"classname": _xml(f"{stack}.{report.service}"), "name": _xml(outcome.case.name)}
            case = ET.SubElement(suite, "testcase", names)
            if outcome.score < 1:
                lines = explain(outcome)
                failure = ET.SubElement(case, "failure", message=_xml(f"score {outcome.score:.2f}: {lines[0]}"))
                failure.text = _xml("\n".join(lines))
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode")


def _xml(text: str) -> str:
    """Only what XML 1.0 can hold."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def save(path: Path, reports: list[ServiceReport]) -> None:
    """Keep the scores for `--against`."""
    document = {"schema": SCHEMA, "services": [_service(report) for report in reports]}
    try:
        write_whole(path, json.dumps(document, indent=2) + "\n")
    except OSError as error:
        raise StackError(EXIT_ENVIRONMENT, f"cannot write {path}: {error.strerror}") from error


Scores = dict[str, dict[str, tuple[str, float]]]


def load(path: Path) -> Scores:
    """Digest and score by service and case, of a file that `save` wrote."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise StackError(EXIT_ENVIRONMENT, f"{path} has schema {document['schema']}, this program reads {SCHEMA}")
        return {
            each["service"]: {case["name"]: (case["digest"], float(case["score"])) for case in each["cases"]}
            for each in document["services"]
        }
    except OSError as error:
        raise StackError(EXIT_ENVIRONMENT, f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StackError(EXIT_ENVIRONMENT, f"{path} is no saved evaluation: {error}") from error


def scores_of(report: ServiceReport) -> dict[str, tuple[str, float]]:
    """Digest and score by case."""
    return {outcome.case.name: (outcome.case.digest, outcome.score) for outcome in report.outcomes}


def find_lost(report: ServiceReport, before: dict[str, tuple[str, float]], against: str) -> list[Lost]:
    """Cases that passed, and do not now. A case that was changed in between is another one."""
    lost = []
    for outcome in report.outcomes:
        digest, score = before.get(outcome.case.name, ("", 0.0))
        if digest == outcome.case.digest and score == 1 and outcome.score < 1:
            lost.append(Lost(report.service, outcome.case.name, score, outcome.score, against))
    return lost
