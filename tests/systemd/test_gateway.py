"""A gateway and a rollout under a real systemd: real units, nginx and programs; the servers only pose as vLLM."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from compiler.plan.ir import Plan, Service, Timeouts
from tests.conftest import tool
from tests.gateway.machine import gateway_plan
from tests.systemd.machine import Machine
from tests.systemd.test_faults import SMI
from tests.systemd.trees import copy_tree

STABLE, CANDIDATE, GATEWAY, TARGET = (
    "duo-general.service",
    "duo-general-candidate.service",
    "duo-gateway.service",
    "duo.target",
)
KEY, CLIENT_KEY = "sk-servers-nobody-may-see-this", "sk-clients-nobody-may-see-this"
PORT = 8080
# Twenty requests a second, each from its own thread, as long as it is told; prints what came of them.
LOAD = """
import json, sys, threading, time, urllib.error, urllib.request
key = sys.argv[2] if len(sys.argv) > 2 else open("/etc/stackc/client-keys").readline().strip().partition(":")[2]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
found = []
def ask():
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    body = json.dumps({"model": "general", "messages": [{"role": "user", "content": "a"}]}).encode()
    request = urllib.request.Request("http://127.0.0.1:8080/v1/chat/completions", body, headers)
    try:
        with opener.open(request, timeout=30) as answer:
            found.append([answer.status, json.load(answer)])
    except urllib.error.HTTPError as error:
        found.append([error.code, json.load(error)])
    except OSError as error:
        found.append([0, str(error)])
threads = []
for _ in range(int(sys.argv[1])):
    threads.append(threading.Thread(target=ask))
    threads[-1].start()
    time.sleep(0.05)
for thread in threads:
    thread.join()
print(json.dumps(found))
"""


def plan() -> Plan:
    """`coder`, and `general` with a candidate that gets nothing at first, behind nginx."""
    found = gateway_plan(port=PORT)
    assert found.gateway is not None
    coder, general = found.gateway.routes
    assert general.rollout is not None
    rollout = replace(general.rollout, strategy="blue-green", weight=0)
    # A silence that a test can wait for: it bounds the gateway's stop too.
    routes = (replace(coder, read_timeout=20), replace(general, rollout=rollout, read_timeout=20))
    gateway = replace(found.gateway, routes=routes)
    paths = replace(found.paths, nginx=tool("nginx"))
    return replace(found, services=tuple(map(_quick, found.services)), gateway=gateway, paths=paths)


def _quick(service: Service) -> Service:
    """With a model that lies in a folder, and deadlines as short as a busy machine allows."""
    model = replace(service.model, repository=None, folder="/srv/models/m", commit=None, is_pinned=False)
    arguments = tuple(
        replace(each, value=str(service.port)) if each.flag == "--port" else each for each in service.arguments
    )
    timeouts = Timeouts(ready=30, start=40, drain=1, stop=9)
    return replace(service, model=model, arguments=arguments, timeouts=timeouts, start_after=())


@dataclass(frozen=True, slots=True)
class Stack:
    """The installed stack."""

    machine: Machine

    def ask(self, count: int = 1) -> list[tuple[int, Any]]:
        """What came of as many requests through the gateway, twenty in a second."""
        answers = json.loads(self.machine.must("python3", "-c", LOAD, str(count)))
        return [(status, data) for status, data in answers]

    def ports(self, count: int = 10) -> Counter[int]:
        """Servers that answered."""
        return Counter(data["port"] for _, data in self.ask(count))

    def rollout(self, *words: str) -> str:
        return self.machine.must("/opt/stackc/duo/current/bin/rollout", *words)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("gateway")
    with Machine.boot(folder, {}) as machine:
        machine.write("/opt/vllm/bin/vllm", Path(__file__).with_name("fake_vllm.py").read_text(), mode=0o755)
        machine.write("/opt/vllm/bin/nvidia-smi", SMI, mode=0o755)
        machine.write("/srv/models/m/config.json", "{}")
        machine.write("/srv/models/m/model.safetensors", bytes(4096))
        for secret, text in (("api-key", KEY), ("hf-token", KEY), ("client-keys", f"team:{CLIENT_KEY}")):
            machine.write(f"/etc/stackc/{secret}", text + "\n", mode=0o640)
        machine.write(f"/etc/systemd/system/{STABLE}.d/fast.conf", "[Service]\nRestartSec=2s\n")
        machine.must(f"{copy_tree(machine, plan(), folder, 'duo')}/bin/install")
        machine.must("systemctl", "start", TARGET, seconds=120)
        yield Stack(machine)


def test_one_handle_starts_servers_and_gateway(stack: Stack) -> None:
    for unit in (STABLE, CANDIDATE, GATEWAY, TARGET, "duo-coder.service"):
        assert stack.machine.property(unit, "ActiveState") == "active", stack.machine.log(unit)


def test_the_gateway_gives_the_server_its_own_key(stack: Stack) -> None:
    ((status, data),) = stack.ask()
    assert (status, data) == (200, {"port": 8002, "key": f"Bearer {KEY}"})


def test_not_a_request_is_lost_while_traffic_moves_and_returns(stack: Stack) -> None:
    assert stack.ports() == {8002: 10}, "a blue-green rollout begins with none"
    load = stack.machine.start("python3", "-c", LOAD, "240")
    for words in (("shift", "general", "50"), ("promote", "general"), ("rollback", "general"), ("promote", "general")):
        stack.rollout(*words)
    output, _ = load.communicate(timeout=90)
    answers = json.loads(output)
    assert Counter(status for status, _ in answers) == {200: 240}
    assert set(Counter(data["port"] for _, data in answers)) == {8002, 8003}
    assert stack.ports() == {8003: 10}


def test_what_was_promoted_stays_so_over_a_restart(stack: Stack) -> None:
    stack.machine.must("systemctl", "restart", GATEWAY)
    assert stack.ports() == {8003: 10}
    stack.rollout("rollback", "general")
    assert stack.ports() == {8002: 10}


def test_a_killed_server_is_answered_for_and_comes_back(stack: Stack) -> None:
    stack.machine.must("systemctl", "kill", "--kill-who=main", "--signal=KILL", STABLE)
    ((status, data),) = stack.ask()
    assert status == 503
    assert "general" in data["error"]["message"]
    stack.machine.wait(lambda: stack.ask()[0][0] == 200, 30, "an answer from the server that came back")


def test_a_key_comes_and_goes_while_others_are_served(stack: Stack) -> None:
    keys = "/opt/stackc/duo/current/bin/keys"
    load = stack.machine.start("python3", "-c", LOAD, "400")
    key, said = stack.machine.must(keys, "add", "research").splitlines()
    assert "has taken it" in said
    assert [status for status, _ in json.loads(stack.machine.must("python3", "-c", LOAD, "1", key))] == [200]
    assert "has taken it" in stack.machine.must(keys, "revoke", "research")
    assert [status for status, _ in json.loads(stack.machine.must("python3", "-c", LOAD, "1", key))] == [401]
    output, _ = load.communicate(timeout=120)
    assert Counter(status for status, _ in json.loads(output)) == {200: 400}
    assert stack.machine.must("stat", "--format=%a %U", "/etc/stackc/client-keys") == "640 root\n"
    assert key not in stack.machine.log()


def test_nobody_sees_a_key(stack: Stack) -> None:
    shown = stack.machine.must("sh", "-c", "cat /proc/[0-9]*/cmdline; systemctl show 'duo*'; ps ax -o args")
    shown += stack.machine.must("grep", "-rh", "", "/opt/stackc/duo", "/etc/systemd/system")
    shown += stack.machine.log()
    assert "nginx" in shown
    assert KEY not in shown
    assert CLIENT_KEY not in shown


def test_one_handle_stops_everything(stack: Stack) -> None:
    stack.machine.must("systemctl", "stop", TARGET)
    stack.machine.wait(
        lambda: stack.machine.run("ps", "-u", "stackc-duo", "-o", "args=").stdout == "", 30, "no process left"
    )
    assert stack.machine.property(GATEWAY, "Result") == "success"


def test_a_request_without_an_end_does_not_make_the_gateways_stop_a_failure(stack: Stack) -> None:
    stack.machine.write("/etc/fake/coder.json", json.dumps({"answer": 10_000}))
    stack.machine.must("systemctl", "start", TARGET, seconds=240)
    stack.machine.must("systemctl", "restart", "duo-coder.service")
    load = stack.machine.start("python3", "-c", LOAD.replace('"general"', '"coder"'), "1")
    asks_coder = f":{8001:04X} 01 "

    def is_asking() -> bool:
        assert load.poll() is None, load.communicate()[0]
        return asks_coder in stack.machine.must("cat", "/proc/net/tcp")

    stack.machine.wait(is_asking, 60, "the request at the server")
    stack.machine.must("systemctl", "stop", GATEWAY)
    states = [stack.machine.property(GATEWAY, name) for name in ("ActiveState", "Result")]
    assert states == ["inactive", "success"], stack.machine.log(GATEWAY)
    assert "1 open connections are cut off" in stack.machine.log(GATEWAY)
    assert json.loads(load.communicate(timeout=60)[0])[0][0] == 0, "it was cut off"
