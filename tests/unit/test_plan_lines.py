"""The plan in a terminal: every byte is in a block, and every line keeps to the width."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from compiler.catalog.hardware.gpus import GPUS
from compiler.cli.main import cli
from compiler.diagnostics import CODES
from compiler.plan.ir import Plan
from compiler.report.bars import allotted
from compiler.report.lines import plan_lines, stack_lines
from compiler.report.paint import ASCII, BLOCKS, plain, shortened, text_cells
from compiler.report.table import Column, table_lines
from compiler.report.usage import PartKind, device_uses
from compiler.units import GIB
from tests.conftest import ROOT
from tests.unit.plan_samples import one_on_cpu, one_on_two_gpus, two_on_one_gpu, with_service

STACKS = sorted(path for path in (ROOT / "stacks").glob("*.yaml") if not path.name.endswith(".lock.yaml"))
TINY = str(ROOT / "stacks" / "tiny-cpu.yaml")
# What decides how something is shown.
DECIDING = ("COLUMNS", "TERM", "NO_COLOR", "FORCE_COLOR", "LC_ALL", "LC_CTYPE", "LANG")
PLANS = [two_on_one_gpu(), one_on_two_gpus(), one_on_cpu()]


def shown(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(cli, arguments, env={"COLUMNS": None, **environment})
    assert result.exit_code == 0, result.output
    return result.stdout


def widest(text: str) -> int:
    return max(map(text_cells, text.splitlines()))


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.stem)
def test_no_line_of_a_shipped_stack_is_wider_than_the_terminal(path: Path) -> None:
    assert widest(shown("plan", str(path))) <= 80
    assert widest(shown("plan", str(path), COLUMNS="40")) <= 40
    assert widest(shown("plan", str(path), "--verbose", COLUMNS="40")) <= 40
    assert widest(shown("explain", str(path))) <= 80
    assert widest(shown("explain", str(path), "--verbose")) <= 80
    assert widest(shown("explain", str(path), "--verbose", COLUMNS="40")) <= 40


def test_lists_keep_to_the_width_too() -> None:
    assert widest(shown("gpus")) <= 80
    assert widest(shown("gpus", "-v")) <= 80
    assert widest(shown("explain")) <= 80
    assert shown("gpus").splitlines()[0].split() == ["GPU", "memory", "CC", "bandwidth"]
    assert len(shown("gpus", COLUMNS="40").splitlines()) > len(GPUS)
    assert len(CODES) == len(shown("explain", COLUMNS="400").splitlines())


def test_a_wider_terminal_is_used() -> None:
    assert 100 < widest(shown("plan", str(ROOT / "stacks/team-96gb.yaml"), COLUMNS="120")) <= 120


def test_sources_are_shown_when_asked_for() -> None:
    spec = str(ROOT / "stacks/coder-96gb.yaml")
    assert "sampler.py" not in shown("explain", spec)
    assert "sampler.py" in shown("explain", spec, "-v")
    assert "sampler.py" not in shown("plan", spec)
    assert "sampler.py" in shown("plan", spec, "-v")


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_the_parts_are_the_whole_device(plan: Plan) -> None:
    for use in device_uses(plan):
        parts = {(part.kind, part.service): part.bytes for part in use.parts}
        assert sum(parts.values()) == use.total
        device = plan.devices[use.indices[0]]
        assert parts[PartKind.FREE, None] == device.slack == use.left
        assert parts[PartKind.MARGIN, None] == device.used.high - device.used.expected
        for server in device.servers:
            mine = sum(size for (_, service), size in parts.items() if service == server.service)
            assert mine == server.bytes.expected


def test_devices_that_are_used_alike_are_one_line() -> None:
    (use,) = device_uses(one_on_two_gpus())
    assert (use.indices, use.label) == ((0, 1), "gpu02:0-1")
    plan = one_on_two_gpus()
    plan = replace(plan, devices=(plan.devices[0], replace(plan.devices[1], reserve=GIB)))
    assert [use.label for use in device_uses(plan)] == ["gpu02:0", "gpu02:1"]


def test_what_fits_only_within_the_margin_is_drawn_to_the_end() -> None:
    plan = two_on_one_gpu()
    used = plan.devices[0].used
    plan = replace(plan, devices=(replace(plan.devices[0], total=(used.expected + used.high) // 2),))
    (use,) = device_uses(plan)
    assert use.left < 0 < use.left_expected
    assert sum(part.bytes for part in use.parts) == use.total
    assert any(f" -{-use.left / GIB:.2f}" in plain(line) for line in plan_lines(plan, 80, BLOCKS))


@given(sizes=st.lists(st.integers(0, 2**40), min_size=1, max_size=30), cells=st.integers(1, 200))
def test_blocks_are_never_more_nor_fewer_than_the_line(sizes: list[int], cells: int) -> None:
    given_cells = allotted(sizes, cells)
    assert sum(given_cells) == (cells if any(sizes) else 0)
    assert all(count >= 0 for count in given_cells)
    if sum(map(bool, sizes)) <= cells:
        assert all(bool(count) == bool(size) for count, size in zip(given_cells, sizes, strict=True))


@given(text=st.text(max_size=60), room=st.integers(0, 60))
def test_a_shortened_text_keeps_to_its_room(text: str, room: int) -> None:
    assert text_cells(shortened(text, room, "…")) <= room
    assert text_cells(shortened(text, room, "..")) <= room


def test_a_table_shrinks_texts_before_it_drops_columns() -> None:
    columns = (Column("name", least=6), Column("model", least=8, rank=1), Column("port", is_right=True))
    rows = [("a" * 20, "b" * 20, "8000")]
    widths = {width: [plain(line) for line in table_lines(columns, rows, width, ASCII)] for width in (60, 26, 16)}
    assert widths[60][1] == f"{'a' * 20}  {'b' * 20}  8000"
    assert "model" in widths[26][0]
    assert "model" not in widths[16][0]
    assert all(len(line) <= width for width, lines in widths.items() for line in lines)


def test_names_of_any_length_keep_to_forty_columns() -> None:
    plan = two_on_one_gpu()
    name = "n" + "x" * 40
    plan = replace(plan, node=replace(plan.node, name=name), stack="s" * 41)
    plan = with_service(plan, "coder", port=65535, devices=(0,), concurrency=100_000)
    lines = [plain(line) for line in stack_lines([plan], 40, BLOCKS)]
    assert max(map(text_cells, lines)) <= 40


def test_plans_of_all_stacks_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    stacks = json.loads(shown("plan", "--format", "json"))["stacks"]
    assert stacks.keys() == {path.stem for path in STACKS}
    explained = json.loads(shown("explain", "stacks/coder-96gb.yaml", "--format", "json"))
    assert stacks["coder-96gb"] == {"plan": explained["plan"]}


def run_plan(command: str = "plan", encoding: str = "utf-8", **environment: str) -> bytes:
    """What is written off a terminal."""
    words = [command, TINY, *(["-v"] if command == "explain" else [])]
    clean: dict[str, str | None] = dict.fromkeys(DECIDING) | environment
    result = CliRunner(charset=encoding, env=clean).invoke(cli, words)
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


class Terminal(io.TextIOWrapper):
    """One that shows all that Python can write."""

    def isatty(self) -> bool:
        return True


def run_on_terminal(command: str = "plan", code: int = 0, **environment: str) -> bytes:
    """The same with a terminal as its output."""
    written = io.BytesIO()
    screen = Terminal(written, encoding="utf-8", write_through=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in DECIDING:
            patch.delenv(name, raising=False)
        for name, value in ({"TERM": "xterm", "COLUMNS": "80"} | environment).items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdout", screen)
        with pytest.raises(SystemExit) as ended:
            cli.main([command, TINY])
    assert ended.value.code == code
    return written.getvalue()


def test_off_a_terminal_text_is_plain_unless_colour_is_forced() -> None:
    assert b"\x1b" not in run_plan()
    assert b"\x1b[" in run_plan(FORCE_COLOR="1")
    assert b"\x1b" not in run_plan(FORCE_COLOR="1", NO_COLOR="1")


def test_on_a_terminal_there_is_colour_unless_it_is_not_wanted() -> None:
    assert b"\x1b[" in run_on_terminal(LANG="C.UTF-8")
    assert b"\x1b" not in run_on_terminal(LANG="C.UTF-8", NO_COLOR="1")
    assert b"\x1b" not in run_on_terminal(LANG="C.UTF-8", TERM="dumb")


def test_a_real_terminal_is_one_and_is_written_to_in_full() -> None:
    parent, child = pty.openpty()
    program = [sys.executable, "-c", "from compiler.cli.main import main; main()", "plan", TINY]
    clean = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "80", "LC_ALL": "C"}
    process = subprocess.Popen(program, env=clean, stdout=child, stderr=subprocess.DEVNULL)
    os.close(child)
    output = bytearray()
    with contextlib.suppress(OSError):  # the other end is closed
        while data := os.read(parent, 65536):
            output += data
    os.close(parent)
    assert process.wait() == 0
    wanted = run_on_terminal(LC_ALL="C")
    assert output.replace(b"\r\n", b"\n") == wanted
    assert wanted.isascii()
    assert b"\x1b[" in wanted


def test_where_blocks_cannot_be_printed_there_is_ascii() -> None:
    assert "▓".encode() in run_plan()
    assert run_plan(encoding="ascii").isascii()
    assert b"=" in run_plan(encoding="ascii")
    assert "×".encode() in run_plan("explain")
    assert run_plan("explain", encoding="ascii").isascii()
    assert run_on_terminal(LC_ALL="C", NO_COLOR="1").isascii()
    assert "▓".encode() in run_on_terminal(LC_ALL="C.UTF-8")


def test_a_page_is_not_poured_into_a_terminal() -> None:
    assert run_on_terminal("report", code=2) == b""


def test_a_plan_that_does_not_fit_is_an_error() -> None:
    spec = ROOT / "tests/cases/errors/llama-70b-fp16/llama-70b-fp16.yaml"
    result = CliRunner().invoke(cli, ["plan", str(spec)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error[E0401]" in result.stderr
