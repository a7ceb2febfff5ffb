"""bin/keys: who has a key, a new one, and one that counts no more, while others are served."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.plan.ir import Team
from tests.gateway.machine import Machine, free_port, gateway_plan, machine_with, wait_until
from tests.gateway.servers import KEY, OTHER_KEY, Client
from tests.gateway.test_balancing import Load
from tests.unit.plan_samples import write_executable


@pytest.fixture
def machine(nginx: str, tmp_path: Path) -> Iterator[Machine]:
    """A gateway that runs, with a team."""
    with machine_with(tmp_path, gateway_plan(teams=(Team("research", 5, 20, ("coder",)),))) as one:
        one.keys.chmod(0o640)
        with one.running():
            yield one


def status(machine: Machine, key: str, model: str = "coder") -> int:
    return Client(machine.port, key).chat(model).status


def test_a_key_is_made_counts_and_is_revoked_while_others_are_served(machine: Machine) -> None:
    load = Load(machine)
    with load.running():
        wait_until(lambda: load.count() >= 10)
        done = machine.command("keys", "add", "research")
        assert (done.returncode, done.stderr) == (0, "")
        first = done.stdout.splitlines()[0]
        # The limits of the plan's team are its own at once.
        assert (status(machine, first), status(machine, first, "general")) == (200, 403)
        second = machine.command("keys", "add", "research").stdout.splitlines()[0]
        done = machine.command("keys", "revoke", "research", "--but-newest")
        assert done.returncode == 0, done.stderr
        assert [status(machine, key) for key in (first, second)] == [401, 200]
        assert machine.command("keys", "revoke", "research").returncode == 0
        assert status(machine, second) == 401
        wait_until(lambda: load.count() >= 60)
    assert load.failed() == {}
    assert stat.S_IMODE(machine.keys.stat().st_mode) == 0o640
    # A key without a name has that of its line.
    assert status(machine, OTHER_KEY) == 200
    assert machine.last_request("client-5")["status"] == "200"
    for key in (first, second):
        assert key not in machine.log.read_text()
        assert key not in machine.keys.read_text()


def test_the_list_has_names_and_limits_and_no_key(machine: Machine) -> None:
    done = machine.command("keys", "list")
    assert done.stdout.splitlines() == [
        "alice: 1 key, no rate, all models",
        "client-5: 1 key, no rate, all models",
        "research: 0 keys, 5 requests/s, coder",
    ]
    found = json.loads(machine.command("keys", "list", "--json").stdout)
    assert found[2] == {"name": "research", "keys": 0, "requests_per_second": 5, "models": ["coder"]}
    assert KEY not in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("revoke", "nobody"), 2, "no key"),
        (("revoke", "alice", "--but-newest"), 2, "only one key"),
        (("add", "a:b"), 2, "letters, digits"),
        (("add", "-x"), 2, "usage"),
    ],
)
def test_what_cannot_be_meant_changes_nothing(machine: Machine, words: tuple[str, ...], code: int, said: str) -> None:
    before = machine.keys.read_bytes()
    done = machine.command("keys", *words)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert machine.keys.read_bytes() == before


def test_the_last_key_stays(machine: Machine) -> None:
    machine.keys.write_text(f"alice:{KEY}\n")
    done = machine.command("keys", "revoke", "alice")
    assert (done.returncode, "nobody could use" in done.stderr) == (19, True), done.stderr
    assert machine.keys.read_text() == f"alice:{KEY}\n"


def test_a_file_that_cannot_be_used_is_named_and_left_alone(machine: Machine) -> None:
    machine.keys.write_text("alice:short\n")
    done = machine.command("keys", "add", "bob")
    assert (done.returncode, "line 1" in done.stderr, "short" in done.stderr) == (19, True, False), done.stderr
    assert machine.keys.read_text() == "alice:short\n"


def test_the_first_key_is_made_before_the_gateway_runs(nginx: str, tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(port=free_port()), ("coder",)) as machine:
        machine.keys.unlink()
        done = machine.command("keys", "add", "alice")
        assert (done.returncode, "when it starts" in done.stdout) == (0, True), done.stderr
        assert stat.S_IMODE(machine.keys.stat().st_mode) == 0o600
        with machine.running():
            assert status(machine, done.stdout.splitlines()[0]) == 200


def test_systemd_starts_the_unit_that_sees_new_keys_and_a_container_keeps_its_file(
    machine: Machine, tmp_path: Path
) -> None:
    """Recorded commands stand for the real ones; each passes on to the gateway of this machine."""
    programs, gateway = tmp_path / "programs", machine.tree / "bin/gateway"
    exports = "\n".join(f"export {name}={value}" for name, value in machine.environment.items() if name != "PATH")
    record = f'#!/bin/bash\necho "${{0##*/}} $*" >>{tmp_path}/calls\n{exports}\n'
    active = f'[[ $* != *is-active* ]] || exit "$(<{tmp_path}/is-active)"\n'
    reload = f"[[ $1 != start ]] || exec {gateway} reload\n"
    write_executable(programs / "systemctl", f"{record}{active}{reload}")
    inside = f'while [[ $1 != */bin/gateway ]]; do shift; done\nshift\nexec {gateway} "$@"\n'
    write_executable(programs / "docker", f'{record}[[ $* == *" ps "* ]] && echo id && exit\n{inside}')
    path = f"{programs}:{machine.environment['PATH']}"

    (tmp_path / "is-active").write_text("0")
    done = machine.command("keys", "add", "bob", PATH=path)
    assert done.returncode == 0, done.stderr
    assert "systemctl start duo-gateway-reload.service\n" in (tmp_path / "calls").read_text()
    assert status(machine, done.stdout.splitlines()[0]) == 200

    (tmp_path / "is-active").write_text("3")
    before = machine.keys.stat().st_ino
    done = machine.command("keys", "revoke", "bob", PATH=path)
    assert done.returncode == 0, done.stderr
    assert machine.keys.stat().st_ino == before, "a container sees the file that it was started with"
    assert " reload\n" in (tmp_path / "calls").read_text()
