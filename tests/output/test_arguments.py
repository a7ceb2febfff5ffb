"""Odd words on the command line: whatever is typed, the answer is a finding or a usage error."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.cli.main import COMMANDS
from tests.output.conftest import Project, run
from tests.unit.test_calibrate import LOG
from tests.unit.test_memory import QWEN3_8B

# What a shell or a program can hand over, what it cannot, and what is there.
ODD = [
    *("", ".", "..", "/", "//", "~", "-", "--", ":", "x:y", "a" * 300, "a/" * 3000, "a" * 300 + ".yaml"),
    *("x" * 250 + ".yaml", "a\x00b", "\x00", "\n", "\x1b[2J", "\u202e", "\ud800", "\udcff", "é", "²", "1" * 5000),
    *("-1", "0", "1e999", "NaN", "/dev/null", "/dev/full", "/proc/self/mem", "/proc/self/environ", "/etc/shadow/x"),
    *("stacks", "stacks/tiny-cpu.yaml", "stacks/tiny-cpu.yaml:none", "stacks/tiny-cpu.lock.yaml", "{}", "[]"),
    *("loop", "loop/x", "dangling", "pipe", "folder", "empty", "empty/x", "binary", "E0101", "e0101:x", "x.log"),
    *("generated/tiny-cpu", "generated/tiny-cpu/plan.json"),
]
SAID = ("--warnings", "--deny", "--deny-warnings", "--quiet", "--verbose", "-q", "-v")
OPTIONS = {
    "compile": [
        *("--check", "--locked", "--prune", "--force", "--output", "--templates", "--assume", "--no-help", "--trials"),
        *("--format", *SAID),
    ],
    "diff": ["--against", "--output", "--templates", "--assume", "--no-help", "--trials", "--format", *SAID],
    "calibrate": ["--speed", "--gpu", "--config", "--out", "--format", *SAID[3:]],
    "completion": ["--help"],
    "cost": ["--hours", "--kind", "--provider", "--input", "--output", "--utilization", "--day", "--format", *SAID],
    "explain": ["--no-help", "--trials", "--format", *SAID],
    "fit": [
        *("--gpu", "--mig", "--count", "--context", "--concurrency", "--quantization", "--kv-cache-dtype", "--task"),
        *(
            "--tp",
            "--pp",
            "--publisher",
            "--hub",
            "--engine",
            "--host-memory",
            "--here",
            "--assume",
            "--memory",
            "--compute-capability",
            "--no-help",
            "--trials",
        ),
        *("--format", *SAID),
    ],
    "gpus": ["--format", "--sources", "--prices", "--verbose"],
    "images": ["--pin", "--upgrade", "--format", *SAID],
    "init": ["--cpu", "--gpu", "--count", "--task", "--model", "--from", "--list", "--offline", "--yes", *SAID[3:]],
    "licenses": ["--format", *SAID],
    "lock": ["--upgrade", "--upgrade-service", "--folder", "--format", *SAID],
    "lsp": ["--stdio"],
    "models": [
        *("--task", "--license", "--language", "--context", "--kind", "--max-parameters", "--min-parameters", "--all"),
        "--format",
    ],
    "plan": ["--no-help", "--trials", "--format", *SAID],
    "recommend": [
        *("--task", "--gpu", "--count", "--here", "--budget", "--model", "--context", "--concurrency", "--users"),
        *("--license", "--language", "--features", "--min-speed", "--max-ttft", "--max-parameters", "--quantization"),
        *("--publisher", "--also", "--why-not", "--all", "--write", "--pick", "--format", "--quiet", "--verbose"),
    ],
    "report": ["--out", "--service", "--no-help", "--trials", "--format", *SAID],
    "sbom": ["--output", "--format", *SAID],
    "schema": ["--help"],
}
WORDS = st.sampled_from(ODD) | st.text(max_size=8)


@contextlib.contextmanager
def odd_folder() -> Iterator[Path]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "work"
        folder.mkdir()
        os.chdir(folder)
        try:
            (folder / "folder").mkdir()
            (folder / "loop").symlink_to("loop")
            (folder / "dangling").symlink_to("nowhere")
            os.mkfifo(folder / "pipe")
            (folder / "empty").write_text("")
            (folder / "binary").write_bytes(bytes(range(256)))
            (folder / "x.log").write_text(LOG)
            yield folder
        finally:
            os.chdir(before)


def assert_answered(result: Result, arguments: list[str]) -> None:
    ended = result.exception is None or isinstance(result.exception, SystemExit)
    assert ended, (arguments, result.exception)
    assert result.exit_code in (0, 1, 2, 3, 4), arguments


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def test_every_option_is_asked() -> None:
    for name in COMMANDS:
        told = run(name, "--help").output
        assert all(word.strip(",:.") in (*OPTIONS[name], "--help") for word in told.split() if word.startswith("--"))


@given(command=st.sampled_from(sorted(COMMANDS)), data=st.data())
@settings(max_examples=40)
def test_no_words_are_a_traceback(command: str, data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(OPTIONS[command]), WORDS), max_size=3))
    words = data.draw(st.lists(WORDS, max_size=2))
    with odd_folder():
        flags = (
            "--check",
            "--locked",
            "--prune",
            "--hub",
            "--pin",
            "--upgrade",
            "--sources",
            "--prices",
            "--force",
            "--no-help",
        )
        flags += ("--list", "--cpu", "--offline", "--yes", "--stdio", *SAID[2:])
        asked = [part for pair in pairs for part in (pair[:1] if pair[0] in flags else pair)]
        # An output may be any folder of this machine here: a fault must not cost what lies there.
        safe = [part for part in asked if part != "--prune" or "--output" not in asked]
        arguments = [command, *words, *safe]
        assert_answered(run(*arguments), arguments)


@pytest.mark.parametrize("word", ODD)
def test_each_odd_word_in_each_place_of_a_path(project: Project, word: str) -> None:
    (project / "x.log").write_text(LOG)
    os.mkfifo(project / "pipe")
    (project / "loop").symlink_to("loop")
    before = sorted(project.rglob("*"))
    for arguments in (
        ["compile", word],
        ["explain", word],
        ["diff", word],
        ["diff", "--against", word],
        ["diff", "stacks/tiny-cpu.yaml", "--output", word],
        ["plan", word],
        ["report", word],
        ["cost", word],
        ["licenses", word],
        ["report", "stacks/tiny-cpu.yaml", "--service", word],
        ["lock", word],
        ["compile", "stacks/tiny-cpu.yaml", "--check", "--output", word],
        ["compile", "stacks/tiny-cpu.yaml", "--check", "--templates", word],
        ["calibrate", word, "--gpu", "h100-80gb"],
        ["calibrate", "x.log", "--gpu", "h100-80gb", "--config", word],
        ["calibrate", "x.log", "--gpu", word],
        ["fit", word, "--gpu", "a10"],
        ["init", word],
        ["init", "--from", word],
        ["init", "--yes", "--offline", "--gpu", word],
        ["schema", word],
        ["completion", word],
    ):
        assert_answered(run(*arguments), arguments)
    assert sorted(project.rglob("*")) == before


CONFIG = json.dumps(QWEN3_8B)
NUMBERS = st.sampled_from(["0", "1", "7", "99999999999", "9" * 5000, "-1", "0.0", "00", "1" * 400 + ".5"])
FIGURES = ["1024", "8192", "15.27", "14.4", "0.84", "0.95", "2.21", "0.25", "57.5", "79.19", "0.51", "=1,"]


@given(changes=st.lists(st.tuples(st.sampled_from(FIGURES), NUMBERS), min_size=1, max_size=3), has_config=st.booleans())
@settings(max_examples=40)
def test_no_figure_of_a_log_is_a_traceback(changes: list[tuple[str, str]], *, has_config: bool) -> None:
    log = LOG
    for old, new in changes:
        log = log.replace(old, f"={new}," if old == "=1," else new)
    with odd_folder() as folder:
        (folder / "x.log").write_text(log)
        (folder / "config.json").write_text(CONFIG)
        config = ["--config", "config.json"] if has_config else []
        arguments = ["calibrate", "x.log", "--gpu", "h100-80gb", "--out", "out.yaml", *config]
        assert_answered(run(*arguments), [*arguments, str(changes)[:300]])
