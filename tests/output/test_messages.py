"""What is shown of text that stackc did not write: nothing of it acts on a terminal, and 80 columns stay readable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.diagnostics import Diagnostic, Help, Label, Position, SourceText, Span
from compiler.diagnostics.render import WIDTH, plain_data, render_text, visible
from tests.output.conftest import Project, run

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202eevil\u2066\x00\x85\r\x9b31m\u200b\ud800\udcff\U000e0041"
ACTING = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def assert_harmless(text: str) -> None:
    bad = [hex(ord(char)) for char in text if unicodedata.category(char) in ACTING and char not in "\n\t"]
    assert not bad, bad


@given(st.text(st.characters(), max_size=60))
def test_visible_text_is_one_line_that_acts_on_nothing(text: str) -> None:
    shown = visible(text)
    assert_harmless(shown)
    assert "\n" not in shown
    assert visible(shown) == shown
    shown.encode()


def test_each_kind_is_shown_as_its_escape() -> None:
    assert visible("a\x1b\u202e\udcff\ud800\U000e0041\tb") == "a\\x1b\\u202e\\xff\\ud800\\U000e0041\tb"
    assert visible("Größe 8×, 日本語 …") == "Größe 8×, 日本語 …"


def test_no_part_of_a_diagnostic_reaches_the_terminal_raw() -> None:
    source = SourceText(f"stacks/{HOSTILE}.yaml", f"key: {HOSTILE}")
    label = Label(Span(source, Position(1, 6), Position(1, 9)), HOSTILE)
    found = Diagnostic("E0201", HOSTILE, label, (HOSTILE,), (Help(HOSTILE), Help(HOSTILE)))
    assert_harmless(render_text([found]))


@given(
    line=st.text(st.characters(exclude_characters="\n\t", exclude_categories=["Zl", "Zp", "Cc", "Cs"]), max_size=400),
    start=st.integers(0, 400),
    length=st.integers(1, 400),
)
def test_a_long_line_is_shown_around_what_is_marked(line: str, start: int, length: int) -> None:
    line = "x" * 121 + line  # longer than anybody writes by hand
    start = min(start, len(line) - 1)
    source = SourceText("x.yaml", line)
    span = Span(source, Position(1, start + 1), Position(1, min(len(line), start + length) + 1))
    *_, shown, carets, _, _ = render_text([Diagnostic("E0201", "wrong", Label(span))]).split("\n")
    assert len(shown) <= WIDTH
    assert "^" in carets
    under = carets.index("^")
    narrow = all(unicodedata.east_asian_width(char) not in "WF" and not unicodedata.combining(char) for char in shown)
    assert not narrow or shown[under:].startswith(visible(line[start])[: WIDTH - under])


def test_a_spec_of_one_line_is_readable(project: Project) -> None:
    """A program wrote it, as JSON; each error printed all of it."""
    services = {f"s{i}": {"model": "acme/x", "context": "8K", "port": "x" * 40} for i in range(2000)}
    data = {"stack": "one", "engine": {"vllm": "0.33.0"}, "nodes": {"a": {"gpus": {"model": "a10"}}}}
    (project / "stacks" / "one.yaml").write_text(json.dumps({**data, "services": services}))
    told = run("compile", "stacks/one.yaml").stderr
    assert told.count("error[E0203]") == 2000
    assert max(map(len, told.splitlines())) <= 120
    snippet = told.splitlines()[3:5]
    assert snippet[1].index("^") == snippet[0].index('"xxx')


def test_a_word_as_long_as_a_file_is_not_shown_whole(project: Project) -> None:
    (project / "stacks" / "one.yaml").write_text(f'stack: "{"K" * 500_000}"\n')
    result = run("compile", "stacks/one.yaml")
    assert "error[E0203]" in result.stderr
    assert " characters)" in result.stderr
    assert len(result.stderr) < 20_000


@pytest.mark.parametrize("name", ["\x1b[31mred", "\u202egnp.exe", b"caf\xe9", "a\nerror[E0000]: faked"])
@pytest.mark.parametrize("where", ["generated", "generated/tiny-cpu", "generated/tiny-cpu/bin"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_names_on_disk_are_shown_without_effect(project: Project, name: str | bytes, where: str, form: str) -> None:
    (project / where / os.fsdecode(name)).write_text("mine")
    result = run("compile", "--check", "--format", form)
    assert result.exit_code == 1
    assert_harmless(result.output)
    assert "\nerror[E0000]" not in result.output
    if form == "json":
        json.loads(result.stdout)
        assert "\\ud8" not in result.stdout
        assert "\\udc" not in result.stdout, "no program but Python's takes half a character"


def test_a_diff_of_what_lies_on_disk_acts_on_nothing(project: Project) -> None:
    (project / "generated/tiny-cpu/bin/launch-tiny").write_bytes(b"\x1b[2J\xe2\x80\xae\x00\xff\n")
    result = run("compile", "--check", "-v")
    assert "E0606" in result.stderr
    assert "\\x1b[2J\\u202e\\x00" in result.stdout
    assert_harmless(result.output)


TYPED = [("compile", "a\x1b[2Jb"), ("explain", "\x1b[2J"), ("\x1b[2J",), ("compile", "--\x1b")]


@pytest.mark.parametrize("arguments", TYPED)
def test_what_was_typed_is_shown_without_effect(arguments: tuple[str, ...], tmp_path: Path) -> None:
    program = "from compiler.cli.main import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 2
    assert "\\x1b" in result.stderr
    assert_harmless(result.stderr)


TEXT = st.text(st.characters())
DATA = st.recursive(TEXT | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=10)


@given(DATA)
def test_any_answer_is_json_for_every_program(data: object) -> None:
    json.dumps(plain_data(data), ensure_ascii=False).encode()


def test_a_reader_that_goes_away_and_a_full_disk_are_no_tracebacks(tmp_path: Path) -> None:
    command = f'{sys.executable} -c "from compiler.cli.main import main; main()" gpus'
    gone = subprocess.run(["bash", "-c", f"{command} | true"], capture_output=True, text=True, check=False)
    full = subprocess.run(["bash", "-c", f"{command} > /dev/full"], capture_output=True, text=True, check=False)
    assert "Traceback" not in gone.stderr + full.stderr
    assert (full.returncode, "cannot be written" in full.stderr) == (3, True)
