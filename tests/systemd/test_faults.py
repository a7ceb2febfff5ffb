"""What units do when servers misbehave. The servers only pose as vLLM, all else is real: systemd, units, programs.

Two of them share a GPU that exists for nvidia-smi alone. The delay before a restart is shortened by a drop-in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from compiler.plan.ir import Plan, Timeouts
from tests.systemd.machine import Machine
from tests.systemd.trees import copy_tree
from tests.unit.plan_samples import two_on_one_gpu

CODER, GENERAL, TARGET = "duo-coder.service", "duo-general.service", "duo.target"
UNITS = (CODER, GENERAL)
KEY = "sk-nobody-may-see-this"
TIMEOUTS = Timeouts(ready=8, start=12, drain=1, stop=9)
SMI = """#!/bin/sh
case $* in
*query-gpu*) echo "0, GPU-1, NVIDIA RTX PRO 6000 Blackwell, 12.0, 97887, 97000, 580.95.05, Disabled, Enabled" ;;
esac
"""


def plan() -> Plan:
    """Two servers with models in folders, and deadlines that a test can wait for."""
    found = two_on_one_gpu()
    folder = "/srv/models/m"
    services = tuple(
        replace(
            service,
            model=replace(service.model, repository=None, folder=folder, commit=None, is_pinned=False),
            timeouts=TIMEOUTS,
        )
        for service in found.services
    )
    return replace(found, services=services)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a server noted about itself."""

    seconds: float
    what: str
    service: str


@dataclass(frozen=True, slots=True)
class Stack:
    """The installed stack."""

    machine: Machine

    def order(self, service: str, **orders: object) -> None:
        """Tell a server how to behave from its next start on."""
        self.machine.write(f"/etc/fake/{service}.json", json.dumps(orders))

    def events(self) -> list[Event]:
        lines = self.machine.run("cat", "/var/lib/stackc/duo/events").stdout.splitlines()
        return [Event(float(line.split()[0]), *line.split()[1:3]) for line in lines]

    def count(self, what: str, service: str) -> int:
        return len([event for event in self.events() if (event.what, event.service) == (what, service)])

    def start(self, *units: str, seconds: float = 60) -> float:
        """`systemctl start`, whether it succeeds or not; how long it took."""
        began = time.monotonic()
        self.machine.run("systemctl", "start", *units, seconds=seconds)
        return time.monotonic() - began

    def state(self, unit: str) -> str:
        return self.machine.property(unit, "ActiveState")

    def processes(self) -> list[str]:
        """Command lines of the stack's user."""
        return self.machine.run("ps", "-u", "stackc-duo", "-o", "args=").stdout.splitlines()

    def reset(self) -> None:
        self.machine.run("systemctl", "stop", TARGET, *UNITS)
        self.machine.run("systemctl", "reset-failed")
        self.machine.run(
            "sh", "-c", "rm -rf /etc/fake /var/lib/stackc/duo/events; journalctl --rotate --vacuum-time=1s"
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("faults")
    with Machine.boot(folder, {}) as machine:
        machine.write("/opt/vllm/bin/vllm", Path(__file__).with_name("fake_vllm.py").read_text(), mode=0o755)
        machine.write("/opt/vllm/bin/nvidia-smi", SMI, mode=0o755)
        machine.write("/srv/models/m/config.json", "{}")
        machine.write("/srv/models/m/model.safetensors", bytes(4096))
        for secret in ("api-key", "hf-token"):
            machine.write(f"/etc/stackc/{secret}", KEY + "\n", mode=0o600)
        for unit in UNITS:
            machine.write(f"/etc/systemd/system/{unit}.d/fast.conf", "[Service]\nRestartSec=500ms\n")
        tree = copy_tree(machine, plan(), folder, "duo")
        machine.must(f"{tree}/bin/install")
        yield Stack(machine)


@pytest.fixture
def stack(installed: Stack) -> Iterator[Stack]:
    yield installed
    installed.reset()


def assert_one_at_a_time(events: list[Event]) -> None:
    """No server loads while another one does: their stretches from begin to ready do not overlap."""
    loading: str | None = None
    for event in events:
        if event.what == "begin":
            assert loading is None, f"{event.service} begins while {loading} loads: {events}"
            loading = event.service
        else:
            assert loading == event.service
            loading = None


def test_servers_of_one_gpu_start_one_after_the_other(stack: Stack) -> None:
    stack.order("coder", load=1.5)
    stack.start(TARGET)
    # The command came back only now: both are ready, not merely begun.
    assert [(event.what, event.service) for event in stack.events()] == [
        ("begin", "coder"), ("ready", "coder"), ("begin", "general"), ("ready", "general"),
    ]  # fmt: skip
    assert [stack.state(unit) for unit in (*UNITS, TARGET)] == ["active"] * 3


def test_servers_that_crash_together_come_back_one_after_the_other(stack: Stack) -> None:
    stack.start(TARGET)
    for name in ("coder", "general"):
        stack.order(name, load=1.5)
    stack.machine.must("kill", "-9", *(stack.machine.property(unit, "MainPID") for unit in UNITS))
    stack.machine.wait(lambda: stack.count("ready", "coder") + stack.count("ready", "general") == 4, 20, "both back")
    assert_one_at_a_time(stack.events())


def test_a_server_that_crashes_while_its_neighbour_loads_waits_for_it(stack: Stack) -> None:
    """No order between units helps here: the first one starts after none. Only the lock does."""
    stack.start(TARGET)
    stack.order("general", load=4)
    stack.machine.must("kill", "-9", stack.machine.property(GENERAL, "MainPID"))
    stack.machine.wait(lambda: stack.count("begin", "general") == 2, 20, "the neighbour loads again")
    stack.machine.must("kill", "-9", stack.machine.property(CODER, "MainPID"))
    stack.machine.wait(lambda: stack.count("ready", "coder") == 2, 20, "the first one is back")
    assert_one_at_a_time(stack.events())
    stack.machine.wait(lambda: {stack.state(unit) for unit in UNITS} == {"active"}, 10, "both active")


def test_a_crash_loop_ends(stack: Stack) -> None:
    stack.order("coder", exit=1)
    stack.start(CODER)
    stack.machine.wait(lambda: stack.state(CODER) == "failed", 30, "no more restarts")
    assert stack.count("begin", "coder") == 5
    assert "Start request repeated too quickly" in stack.machine.log(CODER)


def test_a_server_that_never_gets_ready_is_ended_by_the_inner_deadline(stack: Stack) -> None:
    stack.order("coder", never=True)
    seconds = stack.start(CODER)
    # lock_wait of the neighbour, and its own: 8 + 8.
    assert 15 < seconds < 30
    assert "not ready after 16 s" in stack.machine.log(CODER)
    assert "start-post operation timed out" not in stack.machine.log(CODER)


def test_a_server_that_dies_while_it_loads_is_noticed_at_once(stack: Stack) -> None:
    stack.order("coder", exit=3, after=2)
    assert stack.start(CODER) < 10
    assert stack.count("begin", "coder") >= 1


@pytest.mark.parametrize("status", [2, 15, 17])
def test_what_does_not_mend_itself_is_not_repeated(stack: Stack, status: int) -> None:
    stack.order("coder", exit=status)
    stack.start(CODER)
    time.sleep(1.5)
    assert stack.state(CODER) == "failed"
    assert stack.count("begin", "coder") == 1


def test_a_broken_server_does_not_keep_its_neighbour_from_serving(stack: Stack) -> None:
    stack.order("coder", exit=2)
    stack.start(TARGET)
    assert (stack.state(CODER), stack.state(GENERAL)) == ("failed", "active")


def test_two_starts_at_once_are_one(stack: Stack) -> None:
    stack.order("coder", load=1.0)
    commands = [stack.machine.start("systemctl", "start", TARGET) for _ in range(2)]
    assert [command.wait(60) for command in commands] == [0, 0]
    for command in commands:
        command.communicate()
    assert (stack.count("begin", "coder"), stack.count("begin", "general")) == (1, 1)


def test_a_stop_leaves_no_process_of_a_server_that_ignores_it(stack: Stack) -> None:
    stack.order("coder", stubborn=True)
    stack.start(TARGET)
    assert stack.processes()
    stack.machine.must("systemctl", "stop", TARGET, *UNITS)
    assert stack.processes() == []
    assert_stopped_cleanly(stack, CODER)
    assert "0 open connections are cut off" in stack.machine.log(CODER)


def assert_stopped_cleanly(stack: Stack, unit: str) -> None:
    assert [stack.machine.property(unit, name) for name in ("ActiveState", "SubState", "Result")] == [
        "inactive", "dead", "success",
    ], stack.machine.log(unit)  # fmt: skip


def test_a_client_that_never_hangs_up_does_not_make_a_stop_a_failure(stack: Stack) -> None:
    """As vLLM, which waits for each open connection when its engine has ended already."""
    stack.order("coder", lingers=True)
    stack.start(TARGET)
    client = stack.machine.start("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8001; echo open >&2; read -r _ <&3")
    assert client.stdout is not None
    assert client.stdout.readline() == "open\n"
    stack.machine.must("systemctl", "stop", TARGET, *UNITS)
    client.communicate(timeout=30)
    assert_stopped_cleanly(stack, CODER)
    assert "1 open connections are cut off" in stack.machine.log(CODER)
    assert stack.processes() == []


@pytest.mark.parametrize("orders", [{}, {"stubborn": True}], ids=["obedient", "stubborn"])
def test_a_stop_while_a_server_loads_is_no_failure_either(stack: Stack, orders: dict[str, object]) -> None:
    stack.order("coder", never=True, **orders)
    stack.machine.must("systemctl", "start", "--no-block", CODER)
    stack.machine.wait(lambda: stack.count("begin", "coder") == 1, 60, "it loads")
    stack.machine.must("systemctl", "stop", CODER)
    assert_stopped_cleanly(stack, CODER)
    assert stack.processes() == []


def test_the_target_stops_and_starts_all_members(stack: Stack) -> None:
    stack.start(TARGET)
    stack.machine.must("systemctl", "restart", TARGET)
    stack.machine.wait(lambda: {stack.state(unit) for unit in UNITS} == {"active"}, 20, "both back")
    assert stack.count("begin", "general") == 2
    stack.machine.must("systemctl", "stop", TARGET)
    stack.machine.wait(lambda: stack.processes() == [], 10, "all gone")


def test_nobody_sees_a_secret(stack: Stack) -> None:
    stack.start(TARGET)
    shown = stack.machine.must("sh", "-c", "cat /proc/[0-9]*/cmdline; ps axeww -o args; systemctl show 'duo*'")
    shown += stack.machine.must("sh", "-c", "cat /opt/stackc/duo/current/systemd/* /opt/stackc/duo/current/bin/*")
    assert "vllm serve" in shown
    # root sees the environment of everyone; another user must not see that of the server.
    environment = stack.machine.run("setpriv", "--reuid=nobody", "--clear-groups", "ps", "axeww", "-o", "args=")
    assert KEY not in environment.stdout
    assert KEY not in stack.machine.log()
    lines = [line for line in shown.splitlines() if KEY in line]
    assert all("VLLM_API_KEY=" in line for line in lines), lines
