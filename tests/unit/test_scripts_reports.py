"""Reports of the smoke test, read by the parsers that CI systems have."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fake_server import FakeServer, run_program
from tests.unit.plan_samples import two_on_one_gpu, with_service, write_tree

TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=60) | st.sampled_from(
    ["# TODO", "\\# SKIP", "]]>", "<failure/>", "&amp;", "\x00\x1b[2J", "\ud800", "ok 1\nnot ok 2", "1..0", "\ufffe"]
)
STATUS = st.sampled_from(["ok", "FAIL", "skip", "warn"])
RESULTS = st.lists(st.tuples(st.sampled_from(["coder", "stack"]), TEXT, STATUS, TEXT), min_size=1, max_size=12)


def made(scripts: SimpleNamespace, rows: list[tuple[str, str, str, str]]) -> list[Any]:
    return [scripts.stack.Result(*row, 1 if row[2] == "FAIL" else 0, seconds=0.25) for row in rows]


@given(rows=RESULTS)
def test_junit_counts_are_those_of_its_cases(scripts: SimpleNamespace, rows: list[tuple[str, str, str, str]]) -> None:
    """CI reads the counts, people read the cases; a skipped check is no pass in either."""
    text = scripts.report.format_report("junit", {"stack": "duo"}, made(scripts, rows), 1)
    assert text.isascii()
    root = ET.fromstring(text)
    statuses = [status for _, _, status, _ in rows]
    for element in (root, *root.findall("testsuite")):
        cases = list(element.iter("testcase"))
        assert element.get("tests") == str(len(cases))
        assert element.get("failures") == str(len(list(element.iter("failure"))))
        assert element.get("skipped") == str(len(list(element.iter("skipped"))))
    assert (root.get("failures"), root.get("skipped")) == (str(statuses.count("FAIL")), str(statuses.count("skip")))
    assert all(case.find("skipped") is None or len(case) == 1 for case in root.iter("testcase"))


@given(rows=RESULTS)
def test_tap_has_as_many_lines_as_its_plan(scripts: SimpleNamespace, rows: list[tuple[str, str, str, str]]) -> None:
    text = scripts.report.format_report("tap", {"stack": "duo"}, made(scripts, rows), 1)
    lines = text.split("\n")
    assert lines[:2] == ["TAP version 13", f"1..{len(rows)}"]
    tests = [line for line in lines[2:] if not line.startswith("# ")]
    assert [re.match(r"(?:not )?ok (\d+) ", line)[1] for line in tests] == [str(n + 1) for n in range(len(rows))]  # type: ignore[index]
    for line, (_, _, status, _) in zip(tests, rows, strict=True):
        assert line.startswith("not ok") == (status == "FAIL")
        # A directive begins with a hash that no backslash takes away; only our own skip may be one.
        directives = re.findall(r"(?<!\\)(?:\\\\)*#\s*(\w+)", line)
        assert directives == (["SKIP"] if status == "skip" else [])


@given(rows=RESULTS)
def test_json_carries_every_detail(scripts: SimpleNamespace, rows: list[tuple[str, str, str, str]]) -> None:
    found = json.loads(scripts.report.format_report("json", {"stack": "duo"}, made(scripts, rows), 1))
    assert [(c["subject"], c["check"], c["status"].upper(), c["detail"]) for c in found["checks"]] == [
        (subject, name, status.upper(), detail) for subject, name, status, detail in rows
    ]


@given(rows=RESULTS)
def test_text_has_a_line_for_each_and_tells_skips_from_passes(
    scripts: SimpleNamespace, rows: list[tuple[str, str, str, str]]
) -> None:
    statuses = [status for _, _, status, _ in rows]
    lines = scripts.report.format_report("text", {"stack": "duo"}, made(scripts, rows), 1).split("\n")
    assert lines[-1].startswith(f"{statuses.count('ok')} ok, {statuses.count('FAIL')} failed")
    assert lines[-1].endswith(" warned") == ("warn" in statuses)
    assert len(lines) == len(rows) + 1


@pytest.mark.parametrize("form", ["text", "tap", "junit", "json"])
def test_each_format_reports_the_same_run(tmp_path: Path, server: FakeServer, key_file: Path, form: str) -> None:
    """Warnings are off the exit code, failures are on it, whatever the format."""
    server.max_model_len = 8192
    tree = write_tree(with_service(two_on_one_gpu(), "coder", port=server.port), tmp_path / "tree")
    options = ["coder", "--format", form, "--api-key-file", str(key_file), "--timeout", "0.2", "--requests", "0"]
    done = run_program(tree, "smoke-test", *options, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 1
    assert done.stderr == f"smoke-test: asking 127.0.0.1:{server.port}, at most 0.2 s for all\n"
    assert "max_model_len is 8192, the plan says 16384" in done.stdout
