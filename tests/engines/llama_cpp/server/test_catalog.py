"""The committed options and metrics are what the program itself says, and its parser agrees with what we accept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compiler.engines.llama_cpp.options.catalog import Flag, Kind, Many, check_value, load_flags, render
from tests.conftest import ROOT
from tests.engines.llama_cpp.server.running import serve
from tools.extract_llama_options import ask
from tools.setup_llama_server import BUILD, SERVER

pytestmark = pytest.mark.engine

FLAGS = load_flags(BUILD).flags
# The value names a file or a device that must be there, or text of a form of its own.
OWN_FORM = {
    *("--api-key-file", "--chat-template-file", "--grammar-file", "--json-schema-file", "--ui-config-file"),
    *("--control-vector-scaled", "--lora-scaled", "--cpu-mask", "--cpu-mask-batch", "--cpu-range", "--cpu-range-batch"),
    *("--device", "--spec-draft-device", "--logit-bias", "--override-kv", "--override-tensor", "--media-path"),
    *("--spec-draft-cpu-mask", "--spec-draft-cpu-mask-batch", "--spec-draft-cpu-range", "--slot-save-path"),
    *(
        "--spec-draft-override-tensor",
        "--docker-repo",
        "--models-dir",
        "--mcp-servers-config",
        "--path",
        "--defrag-thold",
    ),
}


def check(tool: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"tools.{tool}", *words, "--check"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_extracting_the_options_again_changes_nothing() -> None:
    result = check("extract_llama_options")
    assert result.returncode == 0, result.stdout + result.stderr


def test_extracting_the_metrics_again_changes_nothing(model: Callable[[str], Path], tmp_path: Path) -> None:
    with serve(model("llama"), tmp_path / "log", "--metrics") as running:
        result = check("extract_llama_metrics", f"http://127.0.0.1:{running.port}")
    assert result.returncode == 0, result.stdout + result.stderr


def refusal(*words: str) -> str | None:
    """Why the parser refuses the words; None if it reads on to `--version`."""
    done = ask(SERVER, *words, "--version")
    return done.stderr if done.returncode else None


def accepted(flag: Flag) -> Iterator[object]:
    """Values that we accept: one of each form."""
    yield from (value for value in (True, False, 1, 0.5, "x", {"a": 1}, [1, 2]) if check_value(flag, value) is None)
    yield from flag.choices


def test_what_we_accept_the_parser_reads() -> None:
    refused = {}
    for flag in FLAGS:
        if flag.is_removed or flag.name in OWN_FORM:
            continue
        values = list(accepted(flag))
        assert values, flag.name
        refused |= {(flag.name, str(value)): said for value in values if (said := refusal(*render(flag, value)))}
    assert not refused


def test_every_spelling_is_known_and_switches_what_we_say() -> None:
    for flag in FLAGS:
        if flag.kind in (Kind.SWITCH, Kind.BOOLEAN):
            assert refusal(flag.name, *flag.aliases, *flag.off) is None, flag.name
        elif flag.name not in OWN_FORM and flag.many is not Many.PAIR and not flag.is_removed:
            value = render(flag, flag.choices[0] if flag.choices else next(accepted(flag)))[1]
            words = [word for spelling in (flag.name, *flag.aliases) for word in (spelling, value)]
            assert refusal(*words) is None, flag.name


def test_what_is_not_among_the_choices_ends_the_start() -> None:
    for flag in FLAGS:
        if flag.choices:
            assert check_value(flag, "no-such-choice")
            assert refusal(flag.name, "no-such-choice"), flag.name


def test_what_is_removed_ends_the_start_and_names_what_to_write_instead() -> None:
    removed = [flag for flag in FLAGS if flag.is_removed]
    assert removed
    for flag in removed:
        said = refusal(flag.name, "1")
        assert said is not None
        assert "has been removed" in said
        assert all(each in said for each in flag.replacements)


def test_a_number_beyond_32_bits_ends_the_start() -> None:
    flag = load_flags(BUILD).find("ctx-size")
    assert flag is not None
    for value, is_read in ((2**31 - 1, True), (2**31, False), (-(2**31), True), (-(2**31) - 1, False)):
        assert (check_value(flag, value) is None) is is_read
        assert (refusal("--ctx-size", str(value)) is None) is is_read
