"""Units: systemd must accept them without a word, and they must start, stop and confine servers as planned."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from configparser import RawConfigParser
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.plan.ir import Paths, Plan, Secrets
from compiler.targets.systemd import emit_systemd, service_unit
from tests.conftest import tool
from tests.unit.plan_samples import (
    one_on_cpu,
    one_on_two_gpus,
    two_on_one_gpu,
    with_service,
    write_executable,
    write_tree,
)

PLANS = [two_on_one_gpu(), one_on_two_gpus(), one_on_cpu()]


def unit(plan: Plan, name: str) -> dict[str, list[str]]:
    """Keys of one emitted unit, each with all its values."""
    artifact = next(each for each in emit_systemd(plan) if each.path.name == name)
    values: dict[str, list[str]] = {}
    for line in artifact.text.splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            values.setdefault(key, []).append(value)
    return values


def installed(plan: Plan, tmp_path: Path) -> list[Path]:
    """The units of a plan whose programs really exist below `tmp_path`."""
    paths = replace(plan.paths, install=str(tmp_path / "tree"), vllm=str(tmp_path / "venv" / "bin" / "vllm"))
    write_executable(tmp_path / "venv" / "bin" / "vllm", "#!/bin/sh\n")
    return sorted(write_tree(replace(plan, paths=paths), tmp_path / "tree").glob("systemd/*"))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_systemd_has_nothing_to_say(plan: Plan, tmp_path: Path) -> None:
    command = [tool("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", *installed(plan, tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_the_sandbox_does_not_get_weaker(plan: Plan, tmp_path: Path) -> None:
    for path in installed(plan, tmp_path):
        if path.suffix == ".service":
            command = [tool("systemd-analyze"), "security", "--offline=true", "--threshold=45", path]
            assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_every_unit_reads_as_sections_and_says_where_it_comes_from(plan: Plan) -> None:
    for artifact in emit_systemd(plan):
        assert artifact.text.startswith(f"# Stack `{plan.stack}`, written by `stackc compile`. DO NOT EDIT")
        parser = RawConfigParser(strict=False)
        parser.read_string(artifact.text)
        assert parser.has_section("Unit")


def test_a_stack_is_one_handle() -> None:
    target = unit(two_on_one_gpu(), "duo.target")
    assert target["Wants"] == ["duo-coder.service", "duo-general.service"]
    for name in target["Wants"]:
        assert unit(two_on_one_gpu(), name)["PartOf"] == ["duo.target"]
        assert unit(two_on_one_gpu(), name)["WantedBy"] == ["duo.target"]


def test_a_server_starts_after_its_neighbour_but_does_not_need_it() -> None:
    general = unit(two_on_one_gpu(), "duo-general.service")
    assert "duo-coder.service" in general["After"]
    assert "Requires" not in general
    assert "duo-general.service" not in unit(two_on_one_gpu(), "duo-coder.service")["After"]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_inner_deadlines_end_before_outer_ones(plan: Plan) -> None:
    for service in plan.services:
        document = service_unit(plan, service)
        ready = int(document.wait_ready[-1])
        assert service.timeouts.ready <= ready < document.start_seconds
        assert service.timeouts.start <= document.start_seconds
        once = document.start_seconds + document.stop_seconds + document.restart_seconds
        assert document.start_interval > document.start_burst * once


def test_a_neighbours_start_is_waited_for_within_the_own_deadline() -> None:
    plan = two_on_one_gpu()
    general = unit(plan, "duo-general.service")
    assert general["ExecStartPost"] == ["/opt/stackc/duo/bin/wait-ready general --timeout 1200"]
    assert unit(one_on_cpu(), "cpu-tiny.service")["ExecStartPost"][0].endswith("--timeout 600")


def test_a_stop_reaches_the_server_first_and_everything_in_the_end() -> None:
    service = unit(two_on_one_gpu(), "duo-coder.service")
    assert (service["KillMode"], service["TimeoutStopSec"]) == (["mixed"], ["60"])


def test_each_unit_gets_only_the_secret_that_it_needs() -> None:
    plan = two_on_one_gpu()
    assert unit(plan, "duo-coder.service")["LoadCredential"] == ["api-key:/etc/stackc/api-key"]
    assert unit(plan, "duo-prefetch.service")["LoadCredential"] == ["hf-token:/etc/stackc/hf-token"]
    bare = replace(plan, secrets=Secrets(None, None))
    for artifact in emit_systemd(bare):
        assert "LoadCredential" not in artifact.text


def test_every_cache_lies_in_the_state_folder() -> None:
    environment = dict(line.split("=", 1) for line in unit(two_on_one_gpu(), "duo-coder.service")["Environment"])
    for name in ("HOME", "HF_HOME", "VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME"):
        assert environment[name].startswith("/var/lib/stackc/duo")
    assert environment["PATH"].startswith("/opt/vllm/bin:")


def test_what_would_break_a_gpu_server_is_never_set() -> None:
    keys = unit(two_on_one_gpu(), "duo-coder.service")
    assert not {"PrivateDevices", "MemoryDenyWriteExecute", "PrivateNetwork", "PrivateIPC"} & set(keys)


def test_gpu_device_files_are_made_before_the_sandbox_is_entered() -> None:
    first, *_ = unit(two_on_one_gpu(), "duo-coder.service")["ExecStartPre"]
    # `+`: outside the sandbox; `-`: a machine that has them already need not have the tool.
    assert first == "+-/usr/bin/nvidia-modprobe -u -c 0"


def test_a_cpu_node_knows_nothing_of_gpus() -> None:
    keys = unit(one_on_cpu(), "cpu-tiny.service")
    assert keys["PrivateDevices"] == ["yes"]
    assert "nvidia" not in str(keys)


def test_only_a_server_on_a_network_card_waits_for_the_network() -> None:
    assert "network-online.target" in unit(one_on_two_gpus(), "pair-big.service")["After"]
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "::"):
        plan = with_service(one_on_two_gpus(), "big", host=host)
        assert "network-online.target" not in unit(plan, "pair-big.service")["After"]


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        (lambda paths: replace(paths, state="/data/duo"), "ReadWritePaths", ["/data/duo"]),
        (lambda paths: replace(paths, vllm="/home/me/venv/bin/vllm"), "ProtectHome", ["read-only"]),
        (lambda paths: replace(paths, install="/tmp/duo"), "PrivateTmp", None),
        (lambda paths: paths, "StateDirectory", ["stackc/duo"]),
        (lambda paths: paths, "ProtectHome", ["yes"]),
        (lambda paths: paths, "PrivateTmp", ["yes"]),
    ],
)
def test_the_sandbox_leaves_visible_what_the_stack_uses(
    change: Callable[[Paths], Paths], key: str, value: list[str] | None
) -> None:
    plan = replace(two_on_one_gpu(), paths=change(two_on_one_gpu().paths))
    for name in ("duo-coder.service", "duo-prefetch.service"):
        assert unit(plan, name).get(key) == value
