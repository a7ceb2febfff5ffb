"""Several servers of one model: who is asked, who is not, and that no request is lost which none has begun."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from compiler.plan.ir import Plan, Upstream
from tests.conftest import ROOT
from tests.gateway.machine import Machine, free_port, gateway_plan, wait_until
from tests.gateway.servers import Answer, FakeServer, serving
from tests.unit.plan_samples import write_tree

NAMES = ("coder", "coder-2", "coder-3")


def replicated(ports: dict[str, int], *, sticky: str = "none", gateway_port: int = 0) -> Plan:
    """`coder` with a server at each of the ports, and nothing else."""
    plan = gateway_plan(port=gateway_port or free_port())
    assert plan.gateway is not None
    coder = plan.services[0]
    services = tuple(replace(coder, name=name, port=port, served_name="coder") for name, port in ports.items())
    upstreams = tuple(Upstream(name, "gpu01", "127.0.0.1", port) for name, port in ports.items())
    route = replace(plan.gateway.routes[0], upstreams=upstreams, sticky=sticky, header="X-Session-Id")
    return replace(plan, services=services, gateway=replace(plan.gateway, routes=(route,)))


@contextmanager
def balanced(root: Path, *, sticky: str = "none", down: tuple[str, ...] = ()) -> Iterator[Machine]:
    """A running gateway before three servers, of which some do not listen."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(FakeServer(name))) for name in NAMES if name not in down}
        ports = {name: servers[name].port if name in servers else free_port() for name in NAMES}
        machine = Machine(root, replicated(ports, sticky=sticky), servers)
        stack.enter_context(machine.running())
        yield machine


def asked(machine: Machine, count: int, headers: dict[str, str] | None = None) -> Counter[str]:
    """Who answered as many requests, all of which must have been answered."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: machine.client.chat("coder", headers), range(count)))
    assert {answer.status for answer in answers} == {200}, [answer for answer in answers if answer.status != 200][:3]
    return Counter(answer.data["server"] for answer in answers)


def test_each_server_gets_requests(nginx: str, tmp_path: Path) -> None:
    with balanced(tmp_path) as machine:
        assert set(asked(machine, 60)) == set(NAMES)


def test_a_request_goes_to_the_server_with_the_fewest_open_ones(nginx: str, tmp_path: Path) -> None:
    with balanced(tmp_path) as machine:
        for name in ("coder", "coder-2"):
            machine.servers[name].delay = 3.0
        with ThreadPoolExecutor(24) as pool:
            open_ones = [pool.submit(machine.client.chat, "coder") for _ in range(2)]
            wait_until(lambda: sum(len(each.seen) for each in machine.servers.values()) >= 2)
            busy = {name for name in ("coder", "coder-2") if machine.servers[name].seen}
            answers = [machine.client.chat("coder") for _ in range(6)]
            assert not busy & {answer.data["server"] for answer in answers}
            assert all(each.result().status == 200 for each in open_ones)


def test_a_server_that_is_down_costs_no_request(nginx: str, tmp_path: Path) -> None:
    with balanced(tmp_path, down=("coder-2",)) as machine:
        assert set(asked(machine, 60)) == {"coder", "coder-3"}


def test_servers_that_load_get_the_request_and_do_not_keep_it(nginx: str, tmp_path: Path) -> None:
    with balanced(tmp_path) as machine:
        machine.servers["coder"].is_loading = machine.servers["coder-2"].is_loading = True
        assert set(asked(machine, 40)) == {"coder-3"}
        machine.servers["coder-3"].is_loading = True
        answer = machine.client.chat("coder")
        assert (answer.status, answer.error["code"]) == (503, "server_unavailable")
        assert answer.headers["retry-after"] == "5"


def test_a_generation_that_breaks_off_is_never_asked_for_again(nginx: str, tmp_path: Path) -> None:
    with balanced(tmp_path) as machine:
        for server in machine.servers.values():
            server.breaks_off = True
        answer = machine.client.chat("coder")
        assert (answer.status, answer.error["code"]) == (502, "server_error")
        assert sum(len(server.seen) for server in machine.servers.values()) == 1


def test_all_down_is_said_and_the_first_that_comes_back_answers_at_once(nginx: str, tmp_path: Path) -> None:
    with balanced(tmp_path, down=NAMES) as machine:
        assert machine.client.chat("coder").error["code"] == "server_unavailable"
        with serving(FakeServer("coder-3", machine.plan.service("coder-3").port)):
            assert asked(machine, 5) == {"coder-3": 5}


@pytest.mark.parametrize("sticky", ["header", "client"])
def test_a_session_stays_with_its_server(nginx: str, tmp_path: Path, sticky: str) -> None:
    with balanced(tmp_path, sticky=sticky) as machine:
        assert len(asked(machine, 20, {"X-Session-Id": "one"})) == 1
        assert (len(asked(machine, 60)) == 3) == (sticky == "header"), "requests of no session go to any"


def test_the_loss_of_a_server_moves_its_own_sessions_alone(nginx: str, tmp_path: Path) -> None:
    with balanced(tmp_path, sticky="header") as machine:

        def places() -> list[str]:
            return [next(iter(asked(machine, 1, {"X-Session-Id": f"s{index}"}))) for index in range(60)]

        before = places()
        assert set(before) == set(NAMES)
        machine.gateway("drain", "coder-2")
        assert machine.gateway("reload").returncode == 0
        after = places()
        assert set(after) == {"coder", "coder-3"}
        assert [new for old, new in zip(before, after, strict=True) if old != "coder-2"] == [
            old for old in before if old != "coder-2"
        ]
        machine.gateway("undrain", "coder-2")
        assert machine.gateway("reload").returncode == 0
        assert places() == before


def test_a_drained_server_gets_nothing_also_where_another_does_not_answer(nginx: str, tmp_path: Path) -> None:
    with balanced(tmp_path, down=("coder",)) as machine:
        assert machine.gateway("drain", "coder-2").returncode == 0
        assert machine.gateway("reload").returncode == 0
        assert asked(machine, 30) == {"coder-3": 30}
        assert machine.gateway("drain", "coder").returncode == 0
        done = machine.gateway("drain", "coder-3")
        assert (done.returncode, "no other server of coder" in done.stderr) == (2, True)
        assert machine.gateway("drain", "general").returncode == 2


@dataclass
class Load:
    """Twenty requests a second, each from a thread of its own."""

    machine: Machine
    answers: list[tuple[str, Answer]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """From now until the end of the block, when all of them have ended."""
        ended, threads = threading.Event(), []

        def begin() -> None:
            while not ended.wait(0.05):
                threads.append(threading.Thread(target=self._ask))
                threads[-1].start()

        source = threading.Thread(target=begin)
        source.start()
        try:
            yield
        finally:
            ended.set()
            source.join()
            for each in threads:
                each.join()

    def _ask(self) -> None:
        answer = self.machine.client.chat("coder")
        self.answers.append((answer.headers["x-request-id"], answer))

    def failed(self) -> dict[str, Answer]:
        return {request: answer for request, answer in self.answers if answer.status != 200}

    def answered_by(self, first: int = 0) -> set[str]:
        """Servers of the answers that came after so many others."""
        return {answer.data["server"] for _, answer in self.answers[first:] if answer.status == 200}

    def count(self) -> int:
        return len(self.answers)


def start(name: str, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-m", "tests.gateway.replica", name, str(port)], cwd=ROOT)
    wait_until(lambda: listens(port))
    return process


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_killed_server_loses_only_what_it_had_begun_and_gets_requests_again(nginx: str, tmp_path: Path) -> None:
    ports = {name: free_port() for name in NAMES[:2]}
    processes = {name: start(name, port) for name, port in ports.items()}
    try:
        machine = Machine(tmp_path, replicated(ports), {})
        load = Load(machine)
        with machine.running(), load.running():
            wait_until(lambda: load.count() >= 20)
            processes["coder"].kill()
            processes["coder"].wait()
            killed = load.count()
            wait_until(lambda: load.count() >= killed + 60)
            processes["coder"] = start("coder", ports["coder"])
            again = load.count()
            wait_until(lambda: "coder" in load.answered_by(again))
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    sent = {line["request"]: line["upstream"] for line in machine.requests()}
    lost = load.failed()
    # What nginx had handed over to it may have been begun; nothing else is lost, nor asked of another.
    assert {sent[request] for request in lost} <= {f"127.0.0.1:{ports['coder']}"}
    assert len(lost) <= 20, "no more than were open on it when it was killed"


def test_a_server_that_is_added_costs_no_request(nginx: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(FakeServer(name))) for name in NAMES}
        ports = {name: server.port for name, server in servers.items()}
        machine = Machine(tmp_path, replicated({name: ports[name] for name in NAMES[:2]}), {})
        load = Load(machine)
        with machine.running(), load.running():
            wait_until(lambda: load.count() >= 20)
            write_tree(replicated(ports, gateway_port=machine.port), machine.tree)
            assert machine.gateway("reload").returncode == 0
            wait_until(lambda: "coder-3" in load.answered_by())
    assert load.failed() == {}
    assert load.answered_by() == set(NAMES)
