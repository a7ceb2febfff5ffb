"""bin/join-group: the parts of a server that spans machines start together, and none is left alone.

Two addresses of this machine's loopback stand for two machines.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.plan.ir import Group, Member, Plan
from tests.unit.plan_samples import over_two_machines, with_service, write_executable, write_tree
from tests.unit.script_machine import free_port

MEMBERS = (Member("one", "127.0.0.1", "lo"), Member("two", "127.0.0.2", "lo"))
# Says that it runs, and ends a moment after it is asked to, as a server does that finishes what it has begun.
PROGRAM = """
import signal, sys, time
def end(*_):
    time.sleep(float(sys.argv[1]))
    print("program ended", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("program runs", flush=True)
time.sleep(1000)
"""


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Those of both machines."""
    port = free_port()
    folder = tmp_path_factory.mktemp("group")
    return [write_tree(plan_of(rank, port), folder / member.node) for rank, member in enumerate(MEMBERS)]


def plan_of(rank: int, port: int) -> Plan:
    group = Group(rank, MEMBERS, rendezvous_port=29500, watch_port=port)
    return with_service(over_two_machines(rank), "big", group=group)


class Part:
    """One machine's part, and what it says."""

    def __init__(self, tree: Path, log: Path, finishing: float) -> None:
        self.log = log
        program = [sys.executable, "-c", PROGRAM, str(finishing)]
        command = [str(tree / "bin/join-group"), "big", "--", *program]
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str) -> None:
        wait(lambda: text in self.said, f"{text!r} in {self.said!r}")

    def child(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def end(self) -> int:
        return self.process.wait(60)


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


Start = Callable[..., Part]


@pytest.fixture
def start(trees: list[Path], tmp_path: Path) -> Iterator[Start]:
    """Start a part by its rank; nothing of it outlives the test."""
    started: list[Part] = []

    def begin(rank: int, finishing: float = 0.0, tree: Path | None = None) -> Part:
        part = Part(tree or trees[rank], tmp_path / f"{len(started)}.log", finishing)
        started.append(part)
        return part

    yield begin
    for part in started:
        with suppress(ProcessLookupError):
            os.killpg(part.process.pid, signal.SIGKILL)
        part.process.wait()


def both(start: Start, finishing: float = 0.0) -> tuple[Part, Part]:
    parts = start(0, finishing), start(1)
    for part in parts:
        part.wait_for("program runs")
    return parts


def test_no_part_starts_before_all_are_there(start: Start) -> None:
    second = start(1)
    second.wait_for("waits for one")
    first = start(0)
    for part in (first, second):
        part.wait_for("program runs")
        assert part.said.index("all 2 machines are here") < part.said.index("program runs")


def test_whoever_waits_for_the_others_can_be_stopped(start: Start) -> None:
    first = start(0)
    first.wait_for("waits for two (127.0.0.2)")
    first.process.terminate()
    assert first.end() == 0
    assert "program runs" not in first.said


@pytest.mark.parametrize("lost", [0, 1])
def test_when_one_part_ends_the_other_ends_with_an_error_and_its_program(start: Start, lost: int) -> None:
    """Whichever is killed: the unit of each starts it again, and it waits for the other."""
    parts = both(start)
    left = parts[1 - lost]
    os.kill(parts[lost].child(), signal.SIGKILL)
    assert parts[lost].end() == 128 + signal.SIGKILL
    assert left.end() == 28
    assert f"{MEMBERS[lost].node} is gone" in left.said
    assert "program ended" in left.said


@pytest.mark.parametrize("lost", [0, 1])
def test_a_machine_whose_programs_all_vanish_is_noticed(start: Start, lost: int) -> None:
    parts = both(start)
    os.killpg(parts[lost].process.pid, signal.SIGKILL)
    assert parts[1 - lost].end() == 28


def test_a_machine_that_says_nothing_any_more_is_gone(start: Start, trees: list[Path], tmp_path: Path) -> None:
    """As where it lost its power, or the network was cut: no connection ends then. Here they judge quicker."""
    parts = []
    for rank, tree in enumerate(trees):
        hasty = tmp_path / MEMBERS[rank].node
        hasty.mkdir()
        for path in tree.iterdir():
            (hasty / path.name).symlink_to(path)
        (hasty / "bin").unlink()
        (hasty / "bin").mkdir()
        text = (tree / "bin/join-group").read_text()
        quick = "import stack.group\nstack.group.BEAT_SECONDS, stack.group.LOST_SECONDS = 0.2, 4.0\nstack.run_program"
        write_executable(hasty / "bin/join-group", text.replace("stack.run_program", quick))
        parts.append(start(rank, tree=hasty))
    first, second = parts
    second.wait_for("program runs")
    first.process.send_signal(signal.SIGSTOP)
    assert second.end() == 28
    assert "nothing was heard of it" in second.said


def test_a_program_that_ends_well_by_itself_is_a_failure_too(start: Start) -> None:
    """vLLM's part on another machine than the first ends with 0 when one of its workers died."""
    first, second = both(start)
    os.kill(second.child(), signal.SIGTERM)
    assert second.end() == 28
    assert first.end() == 28


def test_the_others_stay_while_the_first_finishes_what_it_has_begun(start: Start) -> None:
    first, second = both(start, 1.0)
    first.process.terminate()
    assert first.end() == 0
    assert "program ended" in first.said
    # It was there until then: only the end of the connection told it.
    assert second.end() == 28
    assert "one is gone (it has closed the connection)" in second.said


def test_another_version_of_the_tree_does_not_join(start: Start, trees: list[Path], tmp_path: Path) -> None:
    port = json.loads((trees[0] / "plan.json").read_text())["services"][0]["group"]["watch_port"]
    plan = plan_of(1, port)
    service = plan.service("big")
    arguments = tuple(
        replace(each, value="9999") if each.flag == "--max-model-len" else each for each in service.arguments
    )
    other = write_tree(with_service(plan, "big", arguments=arguments), tmp_path / "other")
    first, second = start(0), start(1, tree=other)
    first.wait_for("two has another version of the stack")
    second.wait_for("it has another version of the stack")
    assert "program runs" not in first.said + second.said
    # The right one joins all the same.
    start(1).wait_for("program runs")


def test_what_a_stranger_says_changes_nothing(start: Start, trees: list[Path]) -> None:
    """Neither whoever comes from elsewhere, nor nonsense from a machine of the group."""
    port = json.loads((trees[0] / "plan.json").read_text())["services"][0]["group"]["watch_port"]
    first = start(0)
    first.wait_for("waits for two")
    for source in ("127.0.0.3", "127.0.0.2"):
        with socket.create_connection(("127.0.0.1", port), 60, source_address=(source, 0)) as stranger:
            for words in (b'{"rank": 1}\n', b"\xff\xfe" * 4096):
                try:
                    stranger.sendall(words)
                except OSError:
                    break
            stranger.settimeout(60)
            try:
                while stranger.recv(4096):
                    pass
            except ConnectionError:
                pass
    first.wait_for("127.0.0.3, which is no machine of the group")
    start(1).wait_for("program runs")


def test_a_start_is_not_joined_by_whoever_comes_late(start: Start) -> None:
    """A part that starts again before the first one knows of its loss waits until that one starts again too."""
    first, _ = both(start)
    again = start(1)
    again.wait_for("waits for one")
    assert first.process.poll() is None
    assert "program runs" not in again.said


def test_a_service_of_one_machine_is_refused(trees: list[Path], tmp_path: Path) -> None:
    tree = write_tree(with_service(over_two_machines(), "big", group=None), tmp_path / "alone")
    (tree / "bin/join-group").write_bytes((trees[0] / "bin/join-group").read_bytes())
    (tree / "bin/join-group").chmod(0o755)
    done = subprocess.run([tree / "bin/join-group", "big", "--", "true"], capture_output=True, text=True, check=False)
    assert (done.returncode, "runs on this machine alone" in done.stderr) == (2, True)
