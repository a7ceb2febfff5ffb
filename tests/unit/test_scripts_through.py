"""smoke-test: does the gateway lead to the models, guard them, and hide the rest?"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.plan.ir import Gateway, Plan, Rollout, Route, Secrets
from tests.unit.fake_server import KEY, FakeServer, run_program, serving, statuses
from tests.unit.plan_samples import two_on_one_gpu, with_service, write_tree

CLIENT_KEY = "ck-very-secret-of-a-client"
PATHS = ("/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/embeddings")
Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def gateway() -> Iterator[FakeServer]:
    """A gateway that does everything right, without servers behind it."""
    with serving() as made:
        made.key, made.allowed, made.models = CLIENT_KEY, PATHS, ("coder", "general")
        yield made


def gateway_plan(server: FakeServer, port: int, *, neighbours: tuple[Plan, ...] = (), **changes: Any) -> Plan:
    plan = with_service(two_on_one_gpu(), "coder", port=server.port)
    plan = with_service(plan, "general", port=server.port, served_name="coder", candidate_of="coder")
    rollout = Rollout("coder", "general", "canary", 10, "none", "X-Session-Id")
    routes = (Route("coder", "coder", rollout, 600),)
    gateway = Gateway("nginx", "0.0.0.0", port, "nginx:1", 2**20, None, 20, 32, routes)
    if neighbours:
        plan = replace(plan, services=plan.services[:1], neighbours=neighbours)
    return replace(plan, gateway=replace(gateway, **changes))


@pytest.fixture
def ask(tmp_path: Path, server: FakeServer, gateway: FakeServer, key_file: Path) -> Ask:
    clients = tmp_path / "client-keys"
    clients.write_text(f"# who may come\n\nteam-a:{CLIENT_KEY}\nsecond-key-of-somebody-else\n")

    def run(*options: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        plan = gateway_plan(server, gateway.port, **changes)
        secrets = Secrets(None, "/etc/stackc/api-key", "/etc/stackc/client-keys")
        tree = write_tree(replace(plan, secrets=secrets), tmp_path / "tree")
        files = {"STACKC_API_KEY_FILE": str(key_file), "STACKC_CLIENT_KEYS_FILE": str(clients)}
        given = ("--json", "--timeout", "0.3", "--requests", "0", *options)
        done = run_program(tree, "smoke-test", *given, **files)
        assert CLIENT_KEY not in done.stdout + done.stderr
        return done

    return run


def test_a_gateway_as_planned_passes(ask: Ask, gateway: FakeServer) -> None:
    done = ask("--gateway-only")
    assert done.returncode == 0, done.stdout
    names = {"reachable", "client-keys", "hidden", "unknown-model", "answer of coder", "stream of coder"}
    assert statuses(done, "gateway") == dict.fromkeys(names, "ok")
    assert statuses(done) == statuses(done, "gateway")
    assert gateway.paths[-1] == "/v1/chat/completions"


def test_servers_and_gateway_are_asked_by_default(ask: Ask, server: FakeServer) -> None:
    done = ask("coder")
    assert statuses(done, "coder")["chat"] == statuses(done, "gateway")["answer of coder"] == "ok"
    assert not statuses(ask("coder", "--no-gateway"), "gateway")


def test_the_candidate_of_a_rollout_is_asked_directly(ask: Ask) -> None:
    """It has no route of its own: through the gateway nobody could tell which revision answered."""
    done = ask()
    assert statuses(done, "general")["chat"] == "ok"
    assert "answer of coder" in statuses(done, "gateway")
    assert statuses(ask("general"), "gateway") == {"reachable": "skip"}


def test_a_route_is_asked_once_as_long_as_any_of_its_replicas_is_there(
    tmp_path: Path, server: FakeServer, gateway: FakeServer
) -> None:
    with serving() as gone:
        dead = gone.port
    plan = gateway_plan(server, gateway.port, routes=(Route("coder", "coder", None, 600),))
    plan = with_service(plan, "coder", port=dead, replicas=2)
    plan = with_service(plan, "general", replica_of="coder", replicas=2, candidate_of=None)
    clients = tmp_path / "client-keys"
    clients.write_text(f"team-a:{CLIENT_KEY}\n")
    secrets = Secrets(None, None, "/etc/stackc/client-keys")
    tree = write_tree(replace(plan, secrets=secrets), tmp_path / "tree")
    given = ("--json", "--timeout", "0.3", "--requests", "0")
    done = run_program(tree, "smoke-test", *given, STACKC_CLIENT_KEYS_FILE=str(clients))
    assert statuses(done, "coder")["health"] == "fail"
    assert statuses(done, "general")["health"] == "ok"
    asked = [title for title in statuses(done, "gateway") if title.startswith("answer of")]
    assert asked == ["answer of coder"]
    assert statuses(done, "gateway")["answer of coder"] == "ok"


def test_servers_of_other_nodes_are_asked_through_the_gateway_alone(ask: Ask, gateway: FakeServer) -> None:
    gateway.models = ("coder", "far")
    there = with_service(two_on_one_gpu(), "general", host="10.0.0.12", served_name="far")
    routes = (Route("coder", "coder", None, 600), Route("far", "general", None, 600))
    done = ask("--gateway-only", routes=routes, neighbours=(replace(there, services=there.services[1:]),))
    assert done.returncode == 0, done.stdout
    found = statuses(done, "gateway")
    assert found["answer of far"] == found["stream of far"] == found["answer of coder"] == "ok"
    gateway.models = ("coder",)
    assert statuses(ask(routes=routes, neighbours=(there,)), "gateway")["answer of far"] == "fail"


BREAKAGES: dict[str, dict[str, Any]] = {
    "reachable": {"allowed": (*PATHS, "/no-such-path")},
    "client-keys": {"key": None},
    "hidden": {"allowed": (*PATHS, "/metrics")},
    "unknown-model": {"models": ("coder", "no-such-model")},
    "answer of coder": {"models": ("general",)},
    "stream of coder": {"gap": 0.0, "first_gap": 1.1, "chunks": 32},
}


@pytest.mark.parametrize("check", BREAKAGES)
def test_a_gateway_that_is_open_or_broken_fails_its_check(ask: Ask, gateway: FakeServer, check: str) -> None:
    for name, value in BREAKAGES[check].items():
        setattr(gateway, name, value)
    done = ask("--gateway-only")
    assert done.returncode == 1, done.stdout
    assert statuses(done)[check] == "fail"


def test_the_servers_own_key_must_not_open_the_gateway(ask: Ask, gateway: FakeServer) -> None:
    """Whoever has it could pass limits and logs by."""
    gateway.key = KEY
    done = ask("--gateway-only")
    assert "the servers' own key: HTTP 200 instead of 401" in done.stdout


def test_a_gateway_that_is_down_is_unreachable(ask: Ask, gateway: FakeServer) -> None:
    gateway.shutdown()
    gateway.server_close()
    done = ask("--gateway-only", "--request-timeout", "0.3")
    assert done.returncode == 3
    assert set(statuses(done, "gateway").values()) == {"fail"}


def test_a_gateway_without_client_keys_says_that_it_is_open(
    tmp_path: Path, server: FakeServer, gateway: FakeServer
) -> None:
    gateway.key = server.key = None
    plan = replace(gateway_plan(server, gateway.port), secrets=Secrets(None, None))
    done = run_program(write_tree(plan, tmp_path), "smoke-test", "--json", "--gateway-only")
    assert (done.returncode, statuses(done)["client-keys"]) == (0, "skip")


def test_without_the_clients_file_it_is_the_environments_fault(
    tmp_path: Path, server: FakeServer, gateway: FakeServer, key_file: Path
) -> None:
    secrets = Secrets(None, "/etc/stackc/api-key", str(tmp_path / "none"))
    tree = write_tree(replace(gateway_plan(server, gateway.port), secrets=secrets), tmp_path / "tree")
    done = run_program(tree, "smoke-test", "--gateway-only", STACKC_API_KEY_FILE=str(key_file))
    assert (done.returncode, "none: cannot read it: No such file" in done.stderr) == (4, True)


def test_a_gateway_of_litellm_may_refuse_in_its_own_way(ask: Ask) -> None:
    assert statuses(ask("--gateway-only", kind="litellm"))["client-keys"] == "ok"


def test_another_server_is_not_the_one_behind_the_gateway(ask: Ask, server: FakeServer) -> None:
    done = ask("coder", "--port", str(server.port))
    assert statuses(done, "gateway") == {"reachable": "skip"}
