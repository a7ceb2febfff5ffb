"""One server over two machines: a real vLLM under two real systemds, on two networks that a cable joins.

The tests are one story and run in this order, because a start of vLLM takes most of their time.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from compiler.cli.run.lock import lock_spec
from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan
from compiler.resolve.transport.hub import Hub
from tests.engine.conftest import engine, tiny_model  # noqa: F401  (fixtures)
from tests.systemd.machine import Machine
from tests.systemd.test_installed import engine_mounts, install_engine
from tests.systemd.trees import copy_tree

pytestmark = pytest.mark.engine

UNIT, PORT = "pair-tiny.service", 8000
NODES = {"left": "10.77.0.1", "right": "10.77.0.2"}
ASK = """
import json, urllib.request
body = {"model": "tiny", "prompt": "a", "max_tokens": 8}
request = urllib.request.Request(
    "http://127.0.0.1:8000/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
)
print(json.load(urllib.request.urlopen(request, timeout=60))["usage"]["completion_tokens"])
"""
# A start, the wait before it, and whatever else a busy machine does meanwhile.
SECONDS = 420.0


def plans_of(folder: Path, model: Path) -> tuple[Plan, ...]:
    """What the whole pipeline makes of a spec of two nodes."""
    spec = folder / "pair.yaml"
    own = "{Service: {Environment: [LD_LIBRARY_PATH=/opt/python/lib, VLLM_CPU_OMP_THREADS_BIND=nobind]}}"
    spec.write_text(
        "stack: pair\n"
        "engine: {vllm: 0.32.0}\n"
        "nodes:\n"
        + "".join(
            f"  {name}: {{cpu: {{memory: 6GiB}}, address: {address}, interface: cable}}\n"
            for name, address in NODES.items()
        )
        + f"services: {{tiny: {{model: {model}, machines: 2, context: 256, concurrency: 4, port: {PORT}}}}}\n"
        "targets: [scripts, systemd]\n"
        "paths: {vllm: /opt/vllm/bin/vllm}\n"
        f"patches: {{systemd: {{tiny: {own}}}}}\n"
    )
    problems, _ = lock_spec(spec, spec.name, Hub("http://127.0.0.1:9"))
    assert not problems
    compiled, found = compile_stack(spec, spec.name)
    assert compiled is not None, found
    return compiled.plans


@dataclass(frozen=True, slots=True)
class Pair:
    """The machine that answers, and the other one."""

    left: Machine
    right: Machine

    def answers(self) -> bool:
        done = self.left.run("python3", "-c", ASK)
        return done.returncode == 0 and int(done.stdout) > 0

    def wait_until_it_answers(self) -> None:
        what = f"an answer\n--- right:\n{self.right.log(UNIT)[-3000:]}\n--- left:\n{self.left.log(UNIT)[-3000:]}"
        self.left.wait(self.answers, SECONDS, what)

    def engines(self, machine: Machine) -> list[str]:
        """vLLM itself on a machine."""
        return machine.run("pgrep", "--full", "bin/vllm serve").stdout.split()

    def kill(self, machine: Machine) -> None:
        """Kill vLLM, and wait until the unit has begun again."""
        before = machine.property(UNIT, "NRestarts")
        machine.must("kill", "-9", *self.engines(machine))
        machine.wait(lambda: machine.property(UNIT, "NRestarts") != before, 120, "a restart")


@pytest.fixture(scope="module")
def pair(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:  # noqa: F811
    """Both machines, installed: the one that does not answer first, which waits for the other."""
    folder = tmp_path_factory.mktemp("group")
    plans = plans_of(folder, tiny_model)
    with ExitStack() as running:
        machines = {name: running.enter_context(Machine.boot(folder / name, engine_mounts())) for name in NODES}
        join(machines["left"], machines["right"])
        for plan in reversed(plans):
            machine = machines[plan.node.name]
            install_engine(machine)
            machine.copy(tiny_model, str(tiny_model))
            machine.must("chmod", "-R", "a+rX", str(tiny_model.parent))
            tree = copy_tree(machine, plan, folder / plan.node.name, plan.node.name)
            done = machine.run(f"{tree}/bin/install", "--start", seconds=SECONDS)
            assert done.returncode == 0, done.stdout + done.stderr + machine.log()[-6000:]
        yield Pair(machines["left"], machines["right"])


def join(left: Machine, right: Machine) -> None:
    """Lay a cable between two machines, and give each end its address."""
    ends = [("cable", str(left.pid)), ("cable", str(right.pid))]
    words = ["ip", "link", "add", "name", "cable", "netns", ends[0][1]]
    subprocess.run([*words, "type", "veth", "peer", "name", "cable", "netns", ends[1][1]], check=True)
    for machine, address in ((left, NODES["left"]), (right, NODES["right"])):
        machine.must("ip", "address", "add", f"{address}/24", "dev", "cable")
        machine.must("ip", "link", "set", "cable", "up")
        machine.must("ip", "link", "set", "lo", "up")


def test_two_machines_answer_as_one_server(pair: Pair) -> None:
    pair.wait_until_it_answers()
    assert [machine.property(UNIT, "ActiveState") for machine in (pair.left, pair.right)] == ["active", "active"]
    # Each holds its part of the layers; the second one listens for no client.
    assert "--headless" in pair.right.must("sh", "-c", "tr '\\0' ' ' </proc/$0/cmdline", pair.engines(pair.right)[0])
    assert f":{PORT} " not in pair.right.must("ss", "--listening", "--tcp", "--numeric")


def test_the_smoke_test_asks_the_machine_that_answers(pair: Pair) -> None:
    current = "/opt/stackc/pair/current/bin"
    done = pair.left.run(f"{current}/smoke-test", seconds=240)
    assert done.returncode == 0, done.stdout + done.stderr
    refused = pair.right.run(f"{current}/smoke-test", "tiny")
    assert (refused.returncode, f"answers on left ({NODES['left']})" in refused.stderr) == (2, True)


def test_a_follower_that_is_killed_comes_back_with_the_leader(pair: Pair) -> None:
    leader = pair.engines(pair.left)
    pair.kill(pair.right)
    pair.wait_until_it_answers()
    assert pair.engines(pair.left) != leader, "the others of a group do not go on alone"


def test_a_leader_that_is_killed_comes_back_with_the_follower(pair: Pair) -> None:
    follower = pair.engines(pair.right)
    pair.kill(pair.left)
    pair.wait_until_it_answers()
    assert pair.engines(pair.right) != follower


def test_a_network_that_is_cut_ends_both_and_a_mended_one_brings_them_back(pair: Pair) -> None:
    """As where a machine has lost its power: nobody closes a connection."""
    pair.right.must("ip", "link", "set", "cable", "down")
    for machine in (pair.left, pair.right):
        machine.wait(lambda machine=machine: not pair.engines(machine), 120, "the end of its part")  # type: ignore[misc]
    pair.right.must("ip", "link", "set", "cable", "up")
    pair.wait_until_it_answers()


def test_a_stop_is_clean_on_both(pair: Pair) -> None:
    pair.left.must("systemctl", "stop", "pair.target", UNIT)
    pair.right.must("systemctl", "stop", "pair.target", UNIT)
    for machine in (pair.left, pair.right):
        assert machine.run("ps", "-u", "stackc-pair", "-o", "args=").stdout == ""
    assert pair.left.property(UNIT, "Result") == "success"
