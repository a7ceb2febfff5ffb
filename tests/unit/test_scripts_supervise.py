"""lib/supervise: whatever a server or its clients do, a stop ends in time, cleanly, and leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from compiler.plan.ir import Plan
from compiler.targets.deployment import deadlines, gateway_stop_seconds, supervised, supervised_gateway
from tests.conftest import interrupts
from tests.unit.plan_samples import one_on_cpu, one_on_two_gpus, two_on_one_gpu, write_tree
from tests.unit.script_machine import free_port
from tests.unit.test_targets_systemd import with_gateway

SHELLCHECK = Path(sys.executable).with_name("shellcheck")
# Poses as vLLM: it has an engine of its own, listens, takes SIGTERM as `on_term` says, and tells each step.
SERVER = """
import os, signal, socket, sys, threading, time
port, on_term = int(sys.argv[1]), sys.argv[2]
say = lambda text: print(text, flush=True)
def end(number, frame):
    say("got " + signal.Signals(number).name)
    if on_term == "answer":
        for each in clients:
            each.sendall(b"whole")
    if on_term != "wait":
        os.kill(engine, signal.SIGKILL)
        os.waitpid(engine, 0)
        sys.exit()
for each in (signal.SIGTERM, signal.SIGQUIT):
    signal.signal(each, end)
engine, clients = os.fork(), []
if engine == 0:
    for each in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    time.sleep(1000)
listener = socket.create_server(("127.0.0.1", port)) if port else None
say(f"ready {engine}")
while listener is None:
    time.sleep(0.1)
while True:
    clients.append(listener.accept()[0])
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(two_on_one_gpu(), tmp_path_factory.mktemp("supervise")) / "lib/supervise"


@dataclass
class Supervised:
    """A supervisor, and the server that it runs."""

    process: subprocess.Popen[str]
    port: int
    engine: int

    def end(self) -> tuple[int, str]:
        """Exit code, and all that was said."""
        said = self.process.communicate(timeout=60)[0]
        return self.process.returncode, said

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)


Start = Callable[..., Supervised]


@pytest.fixture
def start(program: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a server under the supervisor; nothing of it outlives the test."""
    started: list[Supervised] = []

    def begin(
        on_term: str = "end", seconds: int = 30, *options: str, listens: bool = True, ignores_interrupts: bool = False
    ) -> Supervised:
        port = free_port()
        command = [str(program), "--name", "coder", "--port", str(port), "--seconds", str(seconds), *options, "--"]
        command += [sys.executable, "-c", SERVER, str(port if listens else 0), on_term]
        with interrupts(ignored=ignores_interrupts):
            process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        word, engine = process.stdout.readline().split()
        assert word == "ready"
        started.append(Supervised(process, port, int(engine)))
        return started[-1]

    yield begin
    for each in started:
        for pid in (each.process.pid, *children(each.process.pid), each.engine):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        each.process.communicate()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in file.read_text().split()] if file.exists() else []


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while is_alive(pid):
        assert time.monotonic() < deadline, f"{pid} is left"
        time.sleep(0.05)


def test_shellcheck_finds_nothing(program: Path) -> None:
    command = [SHELLCHECK, "--severity=style", "--enable=all", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("plan", [two_on_one_gpu(), one_on_two_gpus(), one_on_cpu()], ids=lambda plan: plan.stack)
def test_each_deadline_ends_after_the_one_inside_it(plan: Plan) -> None:
    for service in plan.services:
        chain = deadlines(plan, service)
        # vLLM's workers get 5 s and 4 s more; after the cut, what is left of it 2 s.
        assert chain.drain + 9 < chain.cut < chain.stop - 2
        words = supervised("/tree", service)
        assert words[words.index("--seconds") + 1] == str(chain.cut)
    gateway = with_gateway(two_on_one_gpu()).gateway
    assert gateway is not None
    words = supervised_gateway("/tree", gateway)
    assert 0 < int(words[words.index("--seconds") + 1]) < gateway_stop_seconds(gateway) - 2


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 15", 15), ("kill -s KILL $$", 137)])
def test_the_end_of_the_program_is_passed_on(program: Path, script: str, status: int) -> None:
    command = [program, "--name", "coder", "--port", "1", "--seconds", "5", "--", "/bin/bash", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (status, "")


@pytest.mark.parametrize("asked", ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"])
@pytest.mark.parametrize("passed", ["TERM", "QUIT"])
def test_each_signal_that_asks_for_an_end_becomes_the_one_that_the_program_knows(
    start: Start, asked: str, passed: str
) -> None:
    server = start("end", 30, "--signal", passed)
    server.process.send_signal(signal.Signals[asked])
    code, said = server.end()
    assert code == 0, said
    assert said.splitlines() == [
        f"supervise: coder: {asked}: 0 open connections, 30 s to finish",
        f"got SIG{passed}",
        "supervise: coder: ended with status 0",
    ]


def test_requests_that_finish_in_time_are_answered_whole(start: Start) -> None:
    server = start("answer")
    with server.connect() as client:
        wait_for_connections(server.port, 1)
        server.process.send_signal(signal.SIGTERM)
        assert client.recv(100) == b"whole"
    code, said = server.end()
    assert (code, "cut off" in said) == (0, False)


def test_clients_that_never_hang_up_are_cut_off_and_counted(start: Start) -> None:
    server = start("wait", 1)
    with server.connect() as idle, server.connect() as half:
        half.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
        wait_for_connections(server.port, 2)
        server.process.send_signal(signal.SIGTERM)
        code, said = server.end()
        # Unread bytes make the end a reset.
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionResetError):
            half.recv(1)
    assert code == 0
    assert "got SIGTERM" in said
    assert "not ended after 1 s: 2 open connections are cut off" in said
    assert "processes of it outlive it: killed" in said
    wait_until_gone(server.engine)


def wait_for_connections(port: int, count: int) -> None:
    """Until the server has accepted them: a connection that is only announced would be counted too."""
    deadline = time.monotonic() + 30
    while connected(port) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def connected(port: int) -> int:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return len([each for each in map(str.split, lines) if each[1].endswith(f":{port:04X}") and each[3] == "01"])


def test_a_server_that_does_not_listen_yet_has_nothing_to_finish(start: Start) -> None:
    server = start("wait", 600, listens=False)
    server.process.send_signal(signal.SIGINT)
    assert server.process.stdout is not None
    assert server.process.stdout.readline().endswith("0 open connections, 10 s to finish\n")
    assert server.process.stdout.readline() == "got SIGTERM\n"
    # Whoever waits at a terminal need not wait for the rest.
    server.process.send_signal(signal.SIGINT)
    code, said = server.end()
    assert (code, "a second SIGINT: 0 open connections are cut off" in said) == (0, True)


def test_asking_twice_cuts_nothing_short(start: Start) -> None:
    server = start("wait", 600)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.stdout is not None
    while server.process.stdout.readline() != "got SIGTERM\n":
        assert server.process.poll() is None
    server.process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(1)


def test_an_interrupt_that_the_caller_ignores_stays_ignored(start: Start) -> None:
    server = start("end", ignores_interrupts=True)
    server.process.send_signal(signal.SIGINT)
    server.process.send_signal(signal.SIGTERM)
    code, said = server.end()
    assert (code, said.partition("\n")[0]) == (0, "supervise: coder: SIGTERM: 0 open connections, 30 s to finish")


def test_processes_that_a_crash_leaves_are_ended(start: Start) -> None:
    server = start()
    (child,) = children(server.process.pid)
    os.kill(child, signal.SIGKILL)
    code, said = server.end()
    assert (code, said) == (137, "supervise: coder: processes of it outlive it: killed\n")
    wait_until_gone(server.engine)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--name is missing"),
        (["--name", "a", "--port", "x", "--seconds", "1", "--", "true"], "--port is a number"),
        (["--name", "a", "--port", "1", "--", "true"], "--seconds is a number"),
        (["--name", "a", "--port", "1", "--seconds", "1", "--signal", "9; id", "--", "true"], "--signal is a name"),
        (["--name", "a", "--port", "1", "--seconds", "1", "--"], "no program"),
        (["--name"], "--name needs a value"),
        (["true"], "unknown option true"),
    ],
)
def test_a_wrong_command_line_starts_nothing(program: Path, words: list[str], message: str) -> None:
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"supervise: {message}")
