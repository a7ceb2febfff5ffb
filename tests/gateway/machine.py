"""A machine with a stack's tree, its servers and its gateway."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.plan.ir import Gateway, Plan, Rollout, Route, Secrets
from compiler.units import MIB
from tests.gateway.servers import BACKEND_KEY, KEY, OTHER_KEY, Client, FakeServer, serving
from tests.unit.plan_samples import two_on_one_gpu, with_service, write_tree

CLIENT_KEYS = f"# keys of the team\n\nalice:{KEY}\n  # an old one\n{OTHER_KEY}\n"


def gateway_plan(**changes: Any) -> Plan:
    """`coder`, and `general` with a candidate, behind nginx; changes are those of the gateway."""
    plan = two_on_one_gpu()
    coder, general = plan.services
    candidate = replace(
        general,
        name="general-candidate",
        candidate_of="general",
        port=8003,
        max_model_len=8192,
        model=replace(general.model, quantization="awq"),
        served_name="general",
    )
    rollout = Rollout("general", "general-candidate", "canary", 10, "none", "X-Session-Id")
    gateway = Gateway(
        kind="nginx",
        host="127.0.0.1",
        port=free_port(),
        image="nginx:1.28.0",
        max_body=32 * MIB,
        requests_per_second=None,
        burst=20,
        connections=64,
        routes=(Route("coder", "coder", None, 60), Route("general", "general", rollout, 60)),
    )
    return replace(
        plan,
        services=(coder, general, candidate),
        gateway=replace(gateway, **changes),
        secrets=Secrets("/etc/stackc/hf-token", "/etc/stackc/api-key", "/etc/stackc/client-keys"),
    )


def with_rollout(plan: Plan, **changes: Any) -> Plan:
    """The plan with another rollout of `general`."""
    assert plan.gateway is not None
    routes = tuple(
        route if route.rollout is None else replace(route, rollout=replace(route.rollout, **changes))
        for route in plan.gateway.routes
    )
    return replace(plan, gateway=replace(plan.gateway, routes=routes))


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Machine:
    """The tree of a plan whose services are the given servers."""

    def __init__(self, root: Path, plan: Plan, servers: dict[str, FakeServer]) -> None:
        for name, server in servers.items():
            plan = with_service(plan, name, port=server.port)
        assert plan.gateway is not None
        self.plan, self.root, self.servers = plan, root, servers
        self.port = plan.gateway.port
        self.tree = write_tree(plan, root / "tree")
        self.keys, self.api_key = root / "client-keys", root / "api-key"
        self.keys.write_text(CLIENT_KEYS)
        self.api_key.write_text(BACKEND_KEY + "\n")
        self.environment = {
            "PATH": os.environ["PATH"],
            "STACKC_GATEWAY_DIR": str(root / "run"),
            "STACKC_STATE_DIR": str(root / "state"),
            "STACKC_CLIENT_KEYS_FILE": str(self.keys),
            "STACKC_API_KEY_FILE": str(self.api_key),
        }
        self.log = root / "log"

    @property
    def client(self) -> Client:
        """Alice."""
        return Client(self.port)

    def command(self, program: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """One of the emitted programs."""
        return subprocess.run(
            [self.tree / "bin" / program, *words],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def gateway(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`bin/gateway`."""
        return self.command("gateway", *words, **environment)

    def rollout(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`bin/rollout`, which must succeed."""
        done = self.command("rollout", *words, "--runtime", "process")
        assert done.returncode == 0, done.stderr
        return done

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The gateway in the foreground, as a supervisor runs it."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [self.tree / "bin/gateway", "run"], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            done = self.gateway("wait", "--timeout", "60", MAINPID=str(process.pid))
            assert done.returncode == 0, (done.stderr, self.log.read_text())
            yield process
        finally:
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(60)

    def last_request(self, client: str) -> dict[str, str]:
        """The newest line of a client, which nginx writes after the answer."""
        wait_until(lambda: any(line["client"] == client for line in self.requests()))
        return [line for line in self.requests() if line["client"] == client][-1]

    def requests(self) -> list[dict[str, str]]:
        """The access log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@contextmanager
def machine_with(
    root: Path, plan: Plan, names: tuple[str, ...] = ("coder", "general", "general-candidate")
) -> Iterator[Machine]:
    """A machine whose named servers run; the others are down."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(FakeServer(name))) for name in names}
        yield Machine(root, plan, servers)


def wait_until(condition: Any, seconds: float = 60.0) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)
