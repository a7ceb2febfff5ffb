"""What is told while changes that would help are looked for: a line that goes, one line in a log, or nothing."""

from __future__ import annotations

import io
from itertools import count

import click
import pytest
from click.testing import CliRunner

from compiler import pipeline
from compiler.cli.looking import ToldLooking
from compiler.cli.loudness import loudness_options
from compiler.cli.main import cli
from compiler.diagnostics.looking import MAX_TRIALS, Looking
from tests.conftest import ROOT

TOO_LARGE = ROOT / "tests/cases/errors/llama-70b-fp16/llama-70b-fp16.yaml"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO, seconds: float, *, trials: int = 10) -> str:
    """What is written of so many trials, each of which takes so long."""
    now = iter(count(100.0, seconds / 2))  # the clock is read twice at the first, once at each other
    looking = ToldLooking(MAX_TRIALS, stream, lambda: next(now))
    for _ in range(trials):
        looking.tried()
    looking.done()
    return stream.getvalue()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_a_terminal_has_a_line_that_is_written_over_and_wiped(terminal: Terminal) -> None:
    lines = told(terminal, 0.8).split("\r\x1b[K")
    assert lines[0] == ""
    assert lines[-1] == "", "nothing stays"
    assert lines[1] == "looking for changes that would fit: 1 s, 1 tried"
    assert lines[-2] == "looking for changes that would fit: 4 s, 9 tried"
    assert all("\n" not in line and len(line) < 80 for line in lines)


def test_work_on_many_nodes_is_told_on_a_terminal_alone(terminal: Terminal) -> None:
    log = io.StringIO()
    for stream in (terminal, log):
        now = iter(count(100.0, 0.3))
        looking = ToldLooking(MAX_TRIALS, stream, lambda now=now: next(now))
        for done in range(1, 6):
            looking.worked("rendering", done, 5)
        looking.done()
    assert terminal.getvalue().split("\r\x1b[K")[1:] == [f"rendering: {done} of 5 nodes" for done in (3, 4, 5)] + [""]
    assert log.getvalue() == ""


def test_what_is_over_at_once_is_not_told(terminal: Terminal) -> None:
    assert told(terminal, 0.05) == told(io.StringIO(), 0.3) == ""


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["log", "dumb terminal"])
def test_a_log_has_one_line_and_no_codes(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert told(stream, 3.0) == "looking for changes that would fit; --no-help leaves it out\n"


def test_a_quiet_run_says_nothing(terminal: Terminal) -> None:
    @click.command()
    @loudness_options
    def command() -> None:
        assert told(terminal, 3.0) == ""

    assert CliRunner().invoke(command, ["-q"]).exit_code == 0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Looking]:
    """What commands ask the solver to look with."""
    found: list[Looking] = []
    solve = pipeline.solve

    def watched(*words: object, looking: Looking) -> object:
        found.append(looking)
        return solve(*words, looking=looking)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "solve", watched)
    return found


@pytest.mark.parametrize("name", ["compile", "diff", "explain", "plan"])
@pytest.mark.parametrize(
    ("words", "trials", "is_told"),
    [
        ((), MAX_TRIALS, True),
        (("--trials", "7"), 7, True),
        (("--no-help",), 0, True),
        (("--format", "json"), MAX_TRIALS, False),
    ],
)
def test_commands_look_as_far_as_they_are_told(
    name: str, words: tuple[str, ...], trials: int, *, is_told: bool, asked: list[Looking]
) -> None:
    result = CliRunner().invoke(cli, [name, str(TOO_LARGE), *words])
    assert result.exit_code == 1
    assert [(each.trials, isinstance(each, ToldLooking)) for each in asked] == [(trials, is_told)]
