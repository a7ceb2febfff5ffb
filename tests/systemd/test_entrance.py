"""One entrance for two machines: a systemd in namespaces for each, with a cable between them, and real units and nginx.

The servers only pose as vLLM, and say at which port they were asked.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from compiler.lock.file import read_lock, write_lock
from compiler.lock.models import Lock
from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan, Service, Timeouts
from tests.conftest import ROOT, tool
from tests.systemd.machine import Machine
from tests.systemd.test_faults import SMI
from tests.systemd.test_gateway import CLIENT_KEY, KEY, LOAD
from tests.systemd.trees import copy_tree

NEAR, FAR, STRANGER = "10.77.0.11", "10.77.0.12", "10.77.0.99"
MODEL = "Qwen/Qwen2.5-7B-Instruct"
SPEC = f"""
stack: pair
engine: {{vllm: 0.33.0}}
nodes:
  gpu01: {{gpus: {{model: rtx-pro-6000}}, address: {NEAR}}}
  gpu02: {{gpus: {{model: rtx-pro-6000}}, address: {FAR}}}
services:
  chat: {{model: {MODEL}, quantization: none, context: 16K, port: 8000, replicas: 2}}
  general:
    model: {MODEL}
    quantization: none
    context: 16K
    port: 8010
    node: gpu02
    rollout: {{strategy: blue-green, candidate: {{context: 8K, port: 8012, node: gpu01}}}}
gateway: {{node: gpu01, port: 8080}}
secrets: {{api_key: /etc/stackc/api-key, client_keys: /etc/stackc/client-keys}}
paths: {{vllm: /opt/vllm/bin/vllm}}
targets: [scripts, systemd]
"""
PROBE = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2, source_address=(sys.argv[3], 0)).close()
    print("open")
except OSError:
    print("shut")
"""


def plans(folder: Path) -> dict[str, Plan]:
    """The plans of both machines, from a spec, with models and deadlines for fakes."""
    locked, _ = read_lock(ROOT / "stacks" / "qwen-96gb.lock.yaml", "lock")
    assert locked is not None
    asked = next(each for each in locked.services.values() if each.model == MODEL)
    models = {name: locked.models[name] for name in asked.candidates}
    write_lock(folder / "pair.lock.yaml", Lock(schema=1, services=dict.fromkeys(LOCKED, asked), models=models))
    (folder / "pair.yaml").write_text(SPEC)
    compiled, found = compile_stack(folder / "pair.yaml", "pair.yaml")
    assert compiled is not None, found
    ready = {plan.node.name: _quick(plan) for plan in compiled.plans}
    near, far = ready["gpu01"], ready["gpu02"]
    return {"gpu01": replace(near, neighbours=(far,)), "gpu02": far}


LOCKED = ("chat", "general", "general-candidate")


def _quick(plan: Plan) -> Plan:
    paths = replace(plan.paths, nginx=tool("nginx"))
    return replace(plan, services=tuple(map(_quick_server, plan.services)), paths=paths, folder="")


def _quick_server(service: Service) -> Service:
    model = replace(service.model, repository=None, folder="/srv/models/m", commit=None, is_pinned=False)
    timeouts = Timeouts(ready=30, start=40, drain=1, stop=9)
    return replace(service, model=model, timeouts=timeouts, start_after=(), host_needs=())


@dataclass(frozen=True, slots=True)
class Pair:
    """Both machines: the near one has the gateway."""

    near: Machine
    far: Machine

    def ask(self, model: str, count: int = 1) -> list[tuple[int, Any]]:
        """What came of as many requests through the gateway, twenty in a second."""
        answers = json.loads(self.near.must("python3", "-c", load_of(model), str(count)))
        return [(status, data) for status, data in answers]

    def ports(self, model: str, count: int = 20) -> Counter[int]:
        """Servers that answered, none of which refused."""
        answers = self.ask(model, count)
        assert {status for status, _ in answers} == {200}, answers
        return Counter(data["port"] for _, data in answers)


def load_of(model: str) -> str:
    return LOAD.replace('"general"', f'"{model}"')


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("entrance")
    tool("ip")
    found = plans(folder)
    with ExitStack() as stack:
        machines = {name: stack.enter_context(Machine.boot(folder / name, {})) for name in found}
        near, far = machines.values()
        connect(near, far)
        for name, machine in machines.items():
            install(machine, found[name], folder / f"tree-{name}")
        yield Pair(near, far)


def connect(near: Machine, far: Machine) -> None:
    """A cable between both; the near one has one address more, as a stranger in the same network would."""
    connect_with(near, far, NEAR, FAR, STRANGER)


def connect_with(near: Machine, far: Machine, here: str, there: str, *beside: str) -> None:
    """A cable between two machines, and their addresses; those `beside` are the near one's too."""
    ends = {f"sca{os.getpid()}": near, f"scb{os.getpid()}": far}
    first, second = ends
    subprocess.run(["ip", "link", "add", first, "type", "veth", "peer", "name", second], check=True)
    for (end, machine), addresses in zip(ends.items(), ((here, *beside), (there,)), strict=True):
        subprocess.run(["ip", "link", "set", end, "netns", str(machine.pid)], check=True)
        machine.must("ip", "link", "set", "lo", "up")
        for address in addresses:
            machine.must("ip", "address", "add", f"{address}/24", "dev", end)
        machine.must("ip", "link", "set", end, "name", "eth0")
        machine.must("ip", "link", "set", "eth0", "up")


def install(machine: Machine, plan: Plan, folder: Path) -> None:
    machine.write("/opt/vllm/bin/vllm", Path(__file__).with_name("fake_vllm.py").read_text(), mode=0o755)
    machine.write("/opt/vllm/bin/nvidia-smi", SMI, mode=0o755)
    machine.write("/srv/models/m/config.json", "{}")
    machine.write("/srv/models/m/model.safetensors", bytes(4096))
    for secret, text in (("api-key", KEY), ("client-keys", f"team:{CLIENT_KEY}")):
        machine.write(f"/etc/stackc/{secret}", text + "\n", mode=0o640)
    machine.must(f"{copy_tree(machine, plan, folder, 'pair')}/bin/install")
    machine.must("systemctl", "start", "pair.target", seconds=120)


def test_models_of_both_machines_are_answered_for_and_the_key_goes_along(pair: Pair) -> None:
    assert set(pair.ports("chat")) == {8000, 8001}, "one replica on each machine"
    ((status, data),) = pair.ask("general")
    assert (status, data) == (200, {"port": 8010, "key": f"Bearer {KEY}"})


def test_servers_listen_where_the_gateway_comes_and_nowhere_else(pair: Pair) -> None:
    listening = {machine: machine.must("ss", "-Hltn") for machine in (pair.near, pair.far)}
    assert f"{FAR}:8010 " in listening[pair.far]
    assert "127.0.0.1:8000 " in listening[pair.near] or "127.0.0.1:8001 " in listening[pair.near]
    assert "127.0.0.1:8012 " in listening[pair.near]
    shown = "".join(listening.values())
    assert not [word for word in ("0.0.0.0:80", "*:80", f"{NEAR}:80") if word in shown], shown


def test_the_units_let_in_the_gateways_node_alone(pair: Pair) -> None:
    ways = {source: pair.near.must("python3", "-c", PROBE, FAR, "8010", source).strip() for source in (NEAR, STRANGER)}
    if set(ways.values()) == {"open"}:
        pytest.skip("systemd filters no addresses here")
    assert ways == {NEAR: "open", STRANGER: "shut"}


def test_a_server_that_is_killed_on_the_other_machine_costs_only_what_it_had_begun(pair: Pair) -> None:
    unit = next(name for name in ("pair-chat.service", "pair-chat-2.service") if is_active(pair.far, name))
    load = pair.near.start("python3", "-c", load_of("chat"), "80")
    pair.near.wait(lambda: "chat" in pair.near.log("pair-gateway.service"), 30, "the first requests")
    pair.far.must("systemctl", "kill", "--kill-who=main", "--signal=KILL", unit)
    statuses = Counter(status for status, _ in json.loads(load.communicate(timeout=90)[0]))
    # Each answer takes 50 ms: at twenty a second no more than a few are open at once.
    assert statuses[200] >= 76, statuses
    assert statuses.keys() <= {200, 502}, statuses
    pair.far.wait(lambda: is_active(pair.far, unit), 60, "the server that was killed")
    pair.near.wait(lambda: set(pair.ports("chat")) == {8000, 8001}, 30, "requests to it")


def is_active(machine: Machine, unit: str) -> bool:
    return machine.run("systemctl", "is-active", "--quiet", unit).returncode == 0


def test_a_rollout_moves_from_one_machine_to_the_other_and_none_is_lost(pair: Pair) -> None:
    load = pair.near.start("python3", "-c", load_of("general"), "80")
    for words in (("promote", "general"), ("rollback", "general"), ("promote", "general")):
        pair.near.must("/opt/stackc/pair/current/bin/rollout", *words)
    answers = json.loads(load.communicate(timeout=90)[0])
    assert Counter(status for status, _ in answers) == {200: 80}
    assert set(pair.ports("general", 5)) == {8012}


def test_the_loss_of_a_machine_leaves_what_the_other_can_answer(pair: Pair) -> None:
    pair.far.must("ip", "link", "set", "eth0", "down")
    assert len(pair.ports("chat", 10)) == 1
    assert set(pair.ports("general", 5)) == {8012}, "its candidate is here"
    pair.far.must("ip", "link", "set", "eth0", "up")
    pair.near.wait(lambda: set(pair.ports("chat")) == {8000, 8001}, 60, "the other machine again")
