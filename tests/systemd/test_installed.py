"""The life of a stack with a real vLLM under a real systemd: installed, used, killed, upgraded, broken, rolled back.

The tests are one story and run in this order, because a start of vLLM takes most of their time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from compiler.cli.run.lock import lock_spec
from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan
from compiler.resolve.transport.hub import Hub
from tests.engine.conftest import engine, tiny_model  # noqa: F401  (fixtures)
from tests.engine.engine_process import ENGINE
from tests.systemd.machine import Completed, Machine
from tests.systemd.trees import copy_tree

pytestmark = pytest.mark.engine

UNIT, TARGET = "tiny-tiny.service", "tiny.target"
KEY = "sk-nobody-may-see-this"
# As pip writes it. The environment's packages are those of .engine/, and lie where the sandbox shows them.
VLLM = """#!/opt/vllm/bin/python
import os

# No compilation: this halves the start. The stages of a group need it, and their launch scripts say so.
os.environ.setdefault("VLLM_CPU_CI_ENV", "1")
from vllm.entrypoints.cli.main import main
if __name__ == "__main__":
    main()
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
        # Fewer processes, which start sooner. The interpreter's library is mounted elsewhere.
        "patches: {systemd: {tiny: {Service: {Environment: [VLLM_ENABLE_V1_MULTIPROCESSING=0, "
        "LD_LIBRARY_PATH=/opt/python/lib]}}}}\n"
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


def engine_mounts() -> dict[str, Path]:
    """The engine's packages in a virtual environment, and the interpreter that it was made with."""
    lines = (ENGINE / "cpu/pyvenv.cfg").read_text().splitlines()
    home = next(Path(line.partition("=")[2].strip()) for line in lines if line.startswith("home"))
    packages = next((ENGINE / "cpu/lib").glob("python3.*"))
    return {f"/opt/vllm/lib/{packages.name}/site-packages": packages / "site-packages", "/opt/python": home.parent}


def install_engine(machine: Machine) -> None:
    """Make the mounts a virtual environment with `vllm` in it."""
    machine.write("/opt/vllm/bin/vllm", VLLM, mode=0o755)
    machine.write("/opt/vllm/pyvenv.cfg", "home = /opt/python/bin\n")
    machine.must("ln", "-s", "/opt/python/bin/python3", "/opt/vllm/bin/python")


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

    def server_pid(self) -> int:
        """vLLM itself, which lib/supervise runs."""
        return int(self.machine.must("pgrep", "--parent", str(self.main_pid())).split()[0])

    def has_three_sequences(self) -> bool:
        """Whether what runs is the second version."""
        return "--max-num-seqs\x003\x00" in self.machine.must("cat", f"/proc/{self.server_pid()}/cmdline")


@pytest.fixture(scope="module")
def stack(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:  # noqa: F811
    """The installed and running stack."""
    folder = tmp_path_factory.mktemp("installed")
    plan = plan_of(folder, tiny_model)
    with Machine.boot(folder, engine_mounts()) as machine:
        install_engine(machine)
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


def test_systemd_adds_little_to_the_start_of_vllm(
    stack: Stack, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """From `systemctl start` to an active unit, less the time that the server itself needed until it listened."""
    begin, launch, active = (
        int(stack.machine.property(UNIT, f"{name}TimestampMonotonic")) / 1e6
        for name in ("InactiveExit", "ExecMainStart", "ActiveEnter")
    )
    log = stack.machine.must("journalctl", "--no-pager", "--output=json", f"--unit={UNIT}")
    lines = [json.loads(line) for line in log.splitlines()]
    said = next(line for line in lines if "Application startup complete" in str(line["MESSAGE"]))
    listens = int(said["__MONOTONIC_TIMESTAMP"]) / 1e6
    before, after = launch - begin, active - listens
    record_testsuite_property("seconds_added", {"vllm": listens - launch, "before": before, "after": after})
    assert before + after < 2, f"{before:.2f} s before and {after:.2f} s after the {listens - launch:.2f} s of vLLM"


def test_nobody_sees_the_key(stack: Stack) -> None:
    shown = stack.machine.must("sh", "-c", "cat /proc/[0-9]*/cmdline; systemctl show 'tiny*'; ps ax -o args")
    shown += stack.machine.must("sh", "-c", "cat /etc/systemd/system/tiny* /opt/stackc/tiny/current/bin/*")
    assert "serve" in shown
    assert KEY not in shown + stack.machine.log()


def test_a_killed_server_comes_back(stack: Stack) -> None:
    pid = stack.main_pid()
    stack.machine.must("kill", "-9", str(stack.server_pid()))
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
    assert stack.has_three_sequences()
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
    assert not stack.has_three_sequences()
    assert stack.chats()


def test_a_stop_is_clean(stack: Stack) -> None:
    began = time.monotonic()
    stack.machine.must("systemctl", "stop", TARGET, UNIT)
    assert time.monotonic() - began < 60
    assert stack.machine.property(UNIT, "Result") == "success"
    assert stack.machine.run("ps", "-u", "stackc-tiny", "-o", "args=").stdout == ""


def test_uninstalling_leaves_the_models_and_nothing_else(stack: Stack) -> None:
    done = stack.run("first", "uninstall")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tiny" not in stack.machine.must("ls", "-R", "/etc/systemd/system")
    assert stack.machine.run("test", "-e", "/opt/stackc/tiny").returncode == 1
    assert stack.machine.run("test", "-d", "/var/lib/stackc/tiny/cache").returncode == 0
