"""wait-ready: bounded, and over as soon as nothing is left to wait for."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.plan.ir import Plan
from tests.unit.fake_server import FakeServer, run_program
from tests.unit.plan_samples import two_on_one_gpu, with_service, write_tree

Wait = Callable[..., subprocess.CompletedProcess[str]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def waiting(tmp_path: Path, server: FakeServer) -> Wait:
    tree = write_tree(_plan_at(server.port), tmp_path / "tree")

    def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_program(tree, "wait-ready", "coder", *options, **environment)

    return run


def _plan_at(port: int) -> Plan:
    return with_service(two_on_one_gpu(), "coder", port=port)


def test_a_ready_server_ends_the_wait(waiting: Wait) -> None:
    assert waiting("--pid", str(os.getpid())).returncode == 0


def test_a_server_that_listens_everywhere_is_probed_on_loopback(waiting: Wait) -> None:
    assert waiting(STACKC_HOST="0.0.0.0").returncode == 0


def test_the_wait_is_bounded(tmp_path: Path) -> None:
    tree = write_tree(_plan_at(free_port()), tmp_path)
    # The plan grants a quarter of an hour.
    assert run_program(tree, "wait-ready", "coder", "--timeout", "0.3").returncode == 3


def test_what_is_waited_for_is_said_first_and_apart_from_the_report(waiting: Wait, server: FakeServer) -> None:
    done = waiting("--timeout", "9", "--json")
    assert done.stderr.startswith(f"wait-ready: waiting for coder on 127.0.0.1:{server.port}, at most 9 s\n")
    assert json.loads(done.stdout)["ready"]


def test_a_process_that_is_gone_ends_the_wait_at_once(tmp_path: Path) -> None:
    tree = write_tree(_plan_at(free_port()), tmp_path)
    gone = subprocess.Popen(["true"])
    gone.wait()
    for options, environment in ((["--pid", str(gone.pid)], {}), ([], {"MAINPID": str(gone.pid)})):
        assert run_program(tree, "wait-ready", "coder", *options, **environment).returncode == 4


@pytest.mark.parametrize(("started_by", "code"), [("systemd", 0), ("a person", -signal.SIGTERM)])
def test_a_stop_of_its_unit_is_no_failure(tmp_path: Path, started_by: str, code: int) -> None:
    """systemd ends what waits with the server, and calls a unit failed where that was killed."""
    tree = write_tree(_plan_at(free_port()), tmp_path)
    own = "$$" if started_by == "systemd" else "1"
    script = f'SYSTEMD_EXEC_PID={own} exec "$0" coder --timeout 600'
    with socket.create_server(("127.0.0.1", plan_port(tree))) as silent:
        process = subprocess.Popen(["bash", "-c", script, tree / "bin/wait-ready"], stderr=subprocess.DEVNULL)
        # It asks, so it waits.
        silent.accept()[0].close()
        process.terminate()
        assert process.wait(60) == code


def plan_port(tree: Path) -> int:
    port: int = json.loads((tree / "plan.json").read_text())["services"][0]["port"]
    return port


def test_a_zombie_is_gone(waiting: Wait) -> None:
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert waiting("--pid", str(zombie.pid)).returncode == 4
    finally:
        zombie.wait()


def test_a_dead_engine_ends_the_wait(waiting: Wait, server: FakeServer) -> None:
    server.health = 503
    assert waiting().returncode == 4


def test_a_server_that_dies_while_it_loads_ends_the_wait(tmp_path: Path) -> None:
    """A crash at second 20 must not cost the 45 minutes that a load may take."""
    tree = write_tree(_plan_at(free_port()), tmp_path)
    with subprocess.Popen(["sleep", "1"]) as loading:
        done = run_program(tree, "wait-ready", "coder", MAINPID=str(loading.pid))
    assert (done.returncode, "is gone: its own output says why" in done.stderr) == (4, True)


def test_another_server_on_the_port_is_no_sign_of_life(waiting: Wait) -> None:
    """The old server still answers; the new one found its port taken and ended."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert waiting("--pid", str(gone.pid)).returncode == 4


def test_a_port_that_accepts_and_says_nothing_does_not_stretch_the_wait(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        tree = write_tree(_plan_at(silent.getsockname()[1]), tmp_path)
        done = run_program(tree, "wait-ready", "coder", "--timeout", "1", "--json")
    assert done.returncode == 3
    # One question alone may take five.
    assert json.loads(done.stdout)["seconds"] < 4


def test_a_server_that_turns_ready_is_found(tmp_path: Path, server: FakeServer) -> None:
    server.health = 404
    tree = write_tree(_plan_at(server.port), tmp_path)
    with subprocess.Popen([str(tree / "bin" / "wait-ready"), "coder"], stdout=subprocess.PIPE, text=True) as waiting:
        time.sleep(0.8)
        assert waiting.poll() is None
        server.health = 200
        assert waiting.communicate(timeout=60)[0].startswith("wait-ready: ready after")
    assert waiting.returncode == 0


def test_json_reports_what_happened(waiting: Wait, server: FakeServer) -> None:
    found = json.loads(waiting("--json").stdout)
    assert found == found | {"service": "coder", "ready": True, "exit_code": 0}
    server.health = 500
    done = waiting("--json", "--timeout", "0.2")
    found = json.loads(done.stdout)
    assert done.returncode == 3
    assert found == found | {"ready": False, "exit_code": 3}
    assert "HTTP 500" in found["detail"]


def test_help_names_the_exit_codes(waiting: Wait) -> None:
    assert "3 not ready in time" in waiting("--help").stdout


@pytest.mark.parametrize("options", [["nobody"], ["coder", "--timeout", "nan"], ["coder", "--timeout", "-1"], []])
def test_wrong_usage_is_refused(tmp_path: Path, options: list[str]) -> None:
    assert run_program(write_tree(two_on_one_gpu(), tmp_path), "wait-ready", *options).returncode == 2
