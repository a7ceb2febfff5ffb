"""Findings as other programs read them: GitHub's annotations, SARIF, JUnit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from compiler import __version__
from compiler.cli.main import cli
from compiler.cli.report import tell_first
from compiler.diagnostics import Diagnostic, Help, Label, Position, SourceText, Span
from compiler.diagnostics.github import render_github
from compiler.diagnostics.junit import render_junit
from compiler.diagnostics.sarif import render_sarif
from tests.conftest import ROOT
from tests.hub.server import LoopbackHub, serve


def finding(
    message: str = "no", *, name: str = "a.yaml", start: tuple[int, int] = (2, 3), end: tuple[int, int] = (2, 7)
) -> Diagnostic:
    label = Label(Span(SourceText(name, "x\nyyyyyyyyy\n"), Position(*start), Position(*end)), "here")
    return Diagnostic("E0401", message, label, ("a note",), (Help("do so"),))


def read_command(line: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as actions/runner reads it: ActionCommand.TryParseV2 and its table of escapes."""
    match = re.fullmatch(r"::(\w+) (.*?)::(.*)", line)
    assert match is not None, line
    pairs = (part.partition("=")[::2] for part in match[2].split(","))
    in_value = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}

    def unescaped(text: str) -> str:
        return re.sub("%0D|%0A|%3A|%2C|%25", lambda found: in_value[found[0]], text)

    return match[1], {key: unescaped(value) for key, value in pairs}, unescaped(match[3])


def test_an_annotation_says_where_and_everything_else() -> None:
    level, properties, text = read_command(render_github([finding("100%0A of it\nis: gone, or so")]).rstrip("\n"))
    assert level == "error"
    place = {"file": "a.yaml", "line": "2", "endLine": "2", "col": "3", "endColumn": "6"}
    assert {key: properties[key] for key in place} == place
    assert properties["title"].startswith("E0401: ")
    assert text == "100%0A of it\\x0ais: gone, or so\nhere\na note\nhelp: do so"


@pytest.mark.parametrize(("end", "last"), [((4, 3), "4"), ((4, 1), "3"), ((3, 1), "2")])
def test_an_annotation_of_several_lines_has_no_columns(end: tuple[int, int], last: str) -> None:
    _, properties, _ = read_command(render_github([finding(end=end)]).rstrip("\n"))
    assert (properties["line"], properties["endLine"]) == ("2", last)
    assert "col" not in properties


@given(message=st.text(), name=st.text(min_size=1))
def test_no_text_ends_an_annotation_or_begins_another(message: str, name: str) -> None:
    lines = render_github([finding(message, name=name)]).split("\n")
    assert len(lines) == 2
    level, properties, _ = read_command(lines[0])
    assert level == "error"
    assert set(properties) == {"file", "line", "endLine", "col", "endColumn", "title"}


def test_a_warning_without_a_place_is_one_too() -> None:
    level, properties, _ = read_command(render_github([Diagnostic("W0201", "no")]).rstrip("\n"))
    assert (level, set(properties)) == ("warning", {"title"})


def test_sarif_has_a_rule_for_each_code_and_the_places() -> None:
    log = json.loads(render_sarif([finding(name="stacks/nö %.yaml"), Diagnostic("W0201", "no"), finding(name="/a")]))
    assert log["version"] == "2.1.0"
    (one,) = log["runs"]
    driver = one["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("stackc", __version__)
    assert [rule["id"] for rule in driver["rules"]] == ["E0401", "W0201"]
    assert all(driver["rules"][each["ruleIndex"]]["id"] == each["ruleId"] for each in one["results"])
    assert [each["level"] for each in one["results"]] == ["error", "warning", "error"]
    place = one["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "stacks/n%C3%B6%20%25.yaml"}
    assert place["region"] == {"startLine": 2, "startColumn": 3, "endLine": 2, "endColumn": 7}
    assert "locations" not in one["results"][1]
    assert one["results"][2]["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "file:///a"}


def test_sarif_of_nothing_is_a_run_without_results() -> None:
    (one,) = json.loads(render_sarif([]))["runs"]
    assert one["results"] == []


@given(message=st.text(), name=st.text(min_size=1))
def test_junit_is_xml_whatever_the_text_is(message: str, name: str) -> None:
    suites = ET.fromstring(render_junit([finding(message, name=name)], ["a: fits"]).encode())
    assert (suites.get("tests"), suites.get("failures")) == ("2", "1")
    passed, failed = suites.iter("testcase")
    assert passed.get("name") == "a: fits"
    failure = failed.find("failure")
    assert failure is not None
    assert failure.get("type") == "E0401"
    assert "help: do so" in str(failure.text)


def test_a_warning_is_a_case_that_passed() -> None:
    suites = ET.fromstring(render_junit([Diagnostic("W0201", "no")]).encode())
    assert suites.get("failures") == "0"
    assert suites.find(".//failure") is None
    assert suites.findtext(".//system-out") == "no"


@pytest.mark.parametrize("line", ["::error::x", "  ::set-env name=A::b", "x ##[error]y"])
def test_no_line_of_a_log_is_a_command(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    tell_first("github", [line])
    said = capsys.readouterr().out
    assert not said.strip().startswith("::")
    assert "##[" not in said


COMMANDS = [
    ("compile", "--check", str(ROOT / "stacks/tiny-cpu.yaml")),
    ("explain", str(ROOT / "stacks/tiny-cpu.yaml")),
    ("explain", "E0401"),
    ("compile", "nix.yaml"),
    ("lock", "nix.yaml"),
    ("fit", "Qwen/Qwen2.5-7B-Instruct", "--gpu", "a10", "--context", "4K"),
    ("fit", "Qwen/Qwen2.5-7B-Instruct", "--gpu", "t4", "--context", "128K", "--concurrency", "64"),
]


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    """What `fit` asks."""
    with serve() as server:
        yield server


# A fit reads every lock, and what it finds goes the same way as the rest.
@pytest.mark.parametrize(
    ("command", "form"),
    [(each, form) for each in COMMANDS for form in ("github", "sarif", "junit") if each[0] != "fit" or form == "sarif"],
)
def test_each_command_answers_in_each_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: LoopbackHub, command: tuple[str, ...], form: str
) -> None:
    """A document is all that stands on stdout, and the exit code is that of text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    if command[0] == "fit":
        shutil.copytree(ROOT / "stacks", "stacks")
    Path("nix.yaml").write_text("stack: nix\nnix: 1\n")
    plain = CliRunner().invoke(cli, command)
    result = CliRunner().invoke(cli, [*command, "--format", form])
    assert result.exit_code == plain.exit_code
    if form == "sarif":
        results = json.loads(result.stdout)["runs"][0]["results"]
        assert (result.exit_code != 0) == any(each["level"] == "error" for each in results)
    elif form == "junit":
        suites = ET.fromstring(result.stdout.encode())
        assert (result.exit_code != 0) == (suites.get("failures") != "0")
    else:
        assert (result.exit_code != 0) == ("::error " in result.stdout)
