"""The start lock: servers that share a GPU size their memory one after another, whatever happens to one of them."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.plan.ir import Secrets, Timeouts
from tests.unit.plan_samples import one_on_two_gpus, two_on_one_gpu, with_service, write_executable
from tests.unit.script_machine import free_port
from tests.unit.test_scripts_launch import Machine, duo_machine, pair_machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return duo_machine(tmp_path)


def test_a_server_waits_until_its_neighbour_is_ready_or_gone(machine: Machine) -> None:
    first = subprocess.Popen(machine.command("coder"), env=machine.environment | {"RECORDER_SLEEP": "0.8"})
    _until((machine.root / "record.fds").exists)
    start = time.monotonic()
    assert machine.launch("general").returncode == 0
    assert time.monotonic() - start > 0.5
    assert first.wait() == 0


def test_a_server_does_not_keep_the_lock_itself(machine: Machine) -> None:
    machine.launch("coder")
    assert "gpu-0.lock" not in (machine.root / "record.fds").read_text()


def test_a_lock_that_never_comes_free_ends_the_wait(machine: Machine) -> None:
    plan = with_service(two_on_one_gpu(), "coder", timeouts=Timeouts(ready=0, start=1, drain=1, stop=2))
    machine.install(plan)
    (machine.root / "locks").mkdir()
    with (machine.root / "locks" / "gpu-0.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = machine.launch("general")
    assert done.returncode == 18
    assert "same GPU" in done.stderr
    assert "gpu-0.lock" in done.stderr


def test_a_lock_folder_that_cannot_be_made_names_the_variable(machine: Machine) -> None:
    done = machine.launch("coder", STACKC_LOCK_DIR="/proc/nowhere")
    assert done.returncode == 18
    assert "STACKC_LOCK_DIR" in done.stderr


def test_a_gpu_of_its_own_needs_no_lock(tmp_path: Path) -> None:
    made = pair_machine(tmp_path)
    made.install(replace(one_on_two_gpus(), secrets=Secrets(None, None)))
    made.launch("big")
    assert not (tmp_path / "locks").exists()


SERVER = f"""#!{sys.executable}
import http.server, os, sys, time
log = open(os.environ["RECORD"] + ".times", "a")
print("begin", sys.argv[sys.argv.index("--port") + 1], time.monotonic(), file=log, flush=True)
time.sleep(0.7)  # the memory is sized
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *arguments):
        pass
port = int(sys.argv[sys.argv.index("--port") + 1])
server = http.server.HTTPServer(("127.0.0.1", port), Health)
print("ready", port, time.monotonic(), file=log, flush=True)
server.serve_forever()
"""


def test_two_starts_at_once_size_their_memory_one_after_the_other(machine: Machine) -> None:
    plan = with_service(two_on_one_gpu(), "coder", port=free_port())
    machine.install(with_service(plan, "general", port=free_port()))
    write_executable(machine.root / "fake" / "vllm", SERVER)
    times = machine.root / "record.times"
    started = [subprocess.Popen(machine.command(name), env=machine.environment) for name in ("coder", "general")]
    try:
        _until(lambda: times.exists() and times.read_text().count("ready") == 2, 15)
    finally:
        for process in started:
            process.kill()
            process.wait()
    order = [line.split()[0] for line in times.read_text().splitlines()]
    assert order == ["begin", "ready", "begin", "ready"]


def _is_locked(machine: Machine) -> bool:
    with (machine.root / "locks" / "gpu-0.lock").open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("how", ["killed", "crashed"])
def test_a_server_that_dies_while_it_starts_frees_its_gpu(machine: Machine, how: str) -> None:
    sleep = "600" if how == "killed" else "0.5"
    process = subprocess.Popen(machine.command("coder"), env=machine.environment | {"RECORDER_SLEEP": sleep})
    _until((machine.root / "record.fds").exists)
    assert _is_locked(machine)
    if how == "killed":
        process.kill()
    process.wait()
    _until(lambda: not _is_locked(machine))


def test_a_server_that_never_gets_ready_frees_its_gpu_after_its_time(machine: Machine) -> None:
    """Its unit fails then; the neighbour must not wait for a supervisor to kill it."""
    machine.install(
        with_service(two_on_one_gpu(), "coder", timeouts=Timeouts(1, 2, 1, 2), port=free_port()),
    )
    process = subprocess.Popen(machine.command("coder"), env=machine.environment | {"RECORDER_SLEEP": "600"})
    try:
        _until((machine.root / "record.fds").exists)
        _until(lambda: not _is_locked(machine))
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_lock_file_that_a_power_cut_left_says_nothing(machine: Machine) -> None:
    (machine.root / "locks").mkdir()
    (machine.root / "locks" / "gpu-0.lock").write_text("4242\n", encoding="ascii")
    assert machine.launch("coder").returncode == 0


@pytest.mark.parametrize("obstacle", ["locks", "locks/gpu-0.lock/x"])
def test_a_lock_that_cannot_be_opened_ends_the_start(machine: Machine, obstacle: str) -> None:
    path = machine.root / obstacle
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("", encoding="ascii")
    done = machine.launch("coder")
    assert done.returncode == 18
    assert "STACKC_LOCK_DIR" in done.stderr
    assert not (machine.root / "record.argv").exists()


def _until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
