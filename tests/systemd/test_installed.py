"""The life of a stack with a real vLLM under a real systemd: installed, used, killed, upgraded, broken, rolled back.

The tests are one story and run in this order, because a start of vLLM takes most of their time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from compiler.cli.lock import lock_spec
from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan
from compiler.resolve.hub import Hub
from tests.engine.engine_process import ENGINE, engine_python
from tests.systemd.machine import Completed, Machine
from tests.systemd.trees import copy_tree

pytestmark = pytest.mark.engine

UNIT, TARGET = "tiny-tiny.service", "tiny.target"
KEY = "sk-nobody-may-see-this"
# The engine lies below a home that the sandbox hides, so it is mounted elsewhere with the interpreter it belongs to.
VLLM = """#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=$(echo /opt/engine/lib/python3.*/site-packages)
exec /opt/python/bin/python3 -m vllm.entrypoints.cli.main "$@"
"""
CHAT = """
import json, sys, urllib.request
body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "max_tokens": 8}
headers = {"Content-Type": "application/json", "Authorization": "Bearer " + open("/etc/stackc/api-key").read().strip()}
request = urllib.request.Request("http://127.0.0.1:8000/v1/chat/completions", json.dumps(body).encode(), headers)
print(json.load(urllib.request.urlopen(request, timeout=60))["usage"]["completion_tokens"])
"""


def plan_of(folder: Path, model: Path) -> Plan:
    """What the whole pipeline makes of a spec."""
    spec = folder / "tiny.yaml"
    spec.write_text(
        "stack: tiny\n"
        "engine: {vllm: 0.32.0}\n"
        "nodes: {here: {cpu: {memory: 6GiB}}}\n"
        f"services: {{tiny: {{model: {model}, context: 256, concurrency: 4, port: 8000}}}}\n"
        "secrets: {api_key: /etc/stackc/api-key}\n"
        "paths: {vllm: /opt/vllm/bin/vllm}\n"
        # No compilation: this halves the start.
        "patches: {systemd: {tiny: {Service: {Environment: [VLLM_CPU_CI_ENV=1]}}}}\n"
    )
    problems, _ = lock_spec(spec, spec.name, Hub("http://127.0.0.1:9"))
    assert not problems
    compiled, found = compile_stack(spec, spec.name)
    assert compiled is not None, found
    return compiled.plan


def with_argument(plan: Plan, flag: str, value: str) -> Plan:
    """The plan with another value of one argument."""
    service = plan.service("tiny")
    arguments = tuple(replace(each, value=value) if each.flag == flag else each for each in service.arguments)
    assert arguments != service.arguments
    return replace(plan, services=(replace(service, arguments=arguments),))


@dataclass(frozen=True, slots=True)
class Stack:
    """The machine, and the trees that were copied to it."""

    machine: Machine
    trees: dict[str, str]

    def run(self, tree: str, program: str, *options: str) -> Completed:
        return self.machine.run(f"{self.trees[tree]}/bin/{program}", "--json", *options, seconds=400)

    def chats(self) -> bool:
        return int(self.machine.must("python3", "-c", CHAT)) > 0

    def version(self) -> str:
        return self.machine.must("readlink", "/opt/stackc/tiny/current").strip().rpartition("/")[2]

    def main_pid(self) -> int:
        return int(self.machine.property(UNIT, "MainPID"))


@pytest.fixture(scope="module")
def stack(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The installed and running stack."""
    folder = tmp_path_factory.mktemp("installed")
    plan = plan_of(folder, tiny_model)
    lines = (ENGINE / "cpu/pyvenv.cfg").read_text().splitlines()
    home = next(Path(line.partition("=")[2].strip()) for line in lines if line.startswith("home"))
    with Machine.boot(folder, {"/opt/engine": engine_python().parents[1], "/opt/python": home.parent}) as machine:
        machine.write("/opt/vllm/bin/vllm", VLLM, mode=0o755)
        machine.write("/etc/stackc/api-key", KEY + "\n", mode=0o600)
        machine.copy(tiny_model, str(tiny_model))
        machine.must("chmod", "-R", "a+rX", str(tiny_model.parent))
        plans = {
            "first": plan,
            "second": with_argument(plan, "--max-num-seqs", "3"),
            "no-model": replace(
                plan, services=(replace(plan.services[0], model=replace(plan.services[0].model, folder="/nowhere")),)
            ),
            "wrong-flag": with_argument(plan, "--dtype", "no-such-type"),
        }
        trees = {name: copy_tree(machine, each, folder, name) for name, each in plans.items()}
        done = machine.run(f"{trees['first']}/bin/install", "--start", seconds=400)
        assert done.returncode == 0, done.stdout + done.stderr + machine.log()[-6000:]
        yield Stack(machine, trees)


def test_an_installed_stack_answers(stack: Stack) -> None:
    assert [stack.machine.property(unit, "ActiveState") for unit in (UNIT, TARGET)] == ["active", "active"]
    assert stack.chats()


def test_systemd_adds_little_to_the_start_of_vllm(stack: Stack, record_property: pytest.RecordProperty) -> None:
    """From the start of the main process to an active unit, against what the server itself needed to listen."""
    ready = float(stack.machine.property(UNIT, "ActiveEnterTimestampMonotonic")) / 1e6
    log = stack.machine.must("journalctl", "--no-pager", "--output=json", f"--unit={UNIT}")
    lines = [json.loads(line) for line in log.splitlines()]
    said = [line for line in lines if "Application startup complete" in str(line["MESSAGE"])]
    added = ready - int(said[0]["__MONOTONIC_TIMESTAMP"]) / 1e6
    record_property("seconds_from_vllm_ready_to_active", round(added, 2))
    assert added < 2


def test_nobody_sees_the_key(stack: Stack) -> None:
    shown = stack.machine.must("sh", "-c", "cat /proc/[0-9]*/cmdline; systemctl show 'tiny*'; ps ax -o args")
    shown += stack.machine.must("sh", "-c", "cat /etc/systemd/system/tiny* /opt/stackc/tiny/current/bin/*")
    assert "serve" in shown
    assert KEY not in shown + stack.machine.log()


def test_a_killed_server_comes_back(stack: Stack) -> None:
    pid = stack.main_pid()
    stack.machine.must("kill", "-9", str(pid))
    stack.machine.wait(lambda: stack.machine.property(UNIT, "NRestarts") == "1", 60, "a restart")
    stack.machine.wait(lambda: stack.machine.property(UNIT, "ActiveState") == "active", 240, "active again")
    assert stack.main_pid() != pid
    assert stack.chats()


def test_an_upgrade_whose_model_is_missing_stops_nothing(stack: Stack) -> None:
    pid, version = stack.main_pid(), stack.version()
    done = stack.run("no-model", "upgrade")
    assert done.returncode == 21, done.stdout + done.stderr
    assert "/nowhere does not exist" in json.loads(done.stdout)["message"]
    assert (stack.main_pid(), stack.version()) == (pid, version)


def test_an_upgrade_takes_effect(stack: Stack) -> None:
    first = stack.version()
    done = stack.run("second", "upgrade")
    assert done.returncode == 0, done.stdout + done.stderr
    assert stack.version() != first
    assert "--max-num-seqs\x003\x00" in stack.machine.must("cat", f"/proc/{stack.main_pid()}/cmdline")
    assert stack.chats()


def test_an_upgrade_that_does_not_start_is_undone(stack: Stack) -> None:
    second = stack.version()
    done = stack.run("wrong-flag", "upgrade")
    assert done.returncode == 21, done.stdout + done.stderr
    assert "no-such-type" in json.loads(done.stdout)["message"]
    assert stack.version() == second
    assert stack.chats()


def test_a_rollback_returns_to_the_version_before(stack: Stack) -> None:
    second = stack.version()
    done = stack.run("second", "rollback")
    assert done.returncode == 0, done.stdout + done.stderr
    assert stack.version() != second
    assert "--max-num-seqs\x004\x00" in stack.machine.must("cat", f"/proc/{stack.main_pid()}/cmdline")
    assert stack.chats()


def test_a_stop_is_clean(stack: Stack) -> None:
    began = time.monotonic()
    stack.machine.must("systemctl", "stop", TARGET, UNIT)
    assert time.monotonic() - began < 20
    assert stack.machine.property(UNIT, "Result") == "success"
    assert stack.machine.run("ps", "-u", "stackc", "-o", "args=").stdout == ""


def test_uninstalling_leaves_the_models_and_nothing_else(stack: Stack) -> None:
    done = stack.run("first", "uninstall")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tiny" not in stack.machine.must("ls", "-R", "/etc/systemd/system")
    assert stack.machine.run("test", "-e", "/opt/stackc/tiny").returncode == 1
    assert stack.machine.run("test", "-d", "/var/lib/stackc/tiny/cache").returncode == 0
