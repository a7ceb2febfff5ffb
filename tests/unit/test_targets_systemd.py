"""Units: systemd must accept them without a word, and they must start, stop and confine servers as planned."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from configparser import RawConfigParser
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.catalog.systemd import ADDITIVE, OWNED, OWNED_VARIABLES, load_directives
from compiler.plan.ir import Gateway, Patches, Plan, Route, Secrets
from compiler.targets.deployment import deadlines
from compiler.targets.systemd import emit_systemd, service_unit
from tests.conftest import tool
from tests.unit.gguf_samples import alone_on_cpu, beside_vllm
from tests.unit.plan_samples import (
    one_on_cpu,
    one_on_two_gpus,
    two_on_one_gpu,
    with_engine,
    with_service,
    write_executable,
    write_tree,
)
from tools import extract_directives

# Exposure as `systemd-analyze security` counts it, from 0 to 10. A GPU's driver takes more than other programs need.
MOST_EXPOSED = {"gpu": 4.2, "other": 1.9}


def with_gateway(plan: Plan, kind: str = "nginx", port: int = 8080) -> Plan:
    """The plan with a gateway in front, and keys for its clients."""
    routes = tuple(Route(service.name, service.name, None, 2400) for service in plan.services)
    gateway = Gateway(kind, "0.0.0.0", port, f"{kind}:1", 1 << 25, None, 20, 64, routes)
    return replace(plan, gateway=gateway, secrets=replace(plan.secrets, client_keys="/etc/stackc/client-keys"))


PLANS = [
    with_gateway(two_on_one_gpu()),
    one_on_two_gpus(),
    with_gateway(one_on_cpu(), "litellm", port=443),
    replace(beside_vllm(), stack="both"),
    replace(alone_on_cpu(), stack="llama"),
]


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
    plan = with_engine(plan, program=str(tmp_path / "venv" / "bin" / "vllm"))
    paths = replace(plan.paths, install=str(tmp_path))
    write_executable(tmp_path / "venv" / "bin" / "vllm", "#!/bin/sh\n")
    tree = write_tree(replace(plan, paths=paths), tmp_path / "current")
    write_executable(tree / "bin" / "gateway", "#!/bin/sh\n")
    return sorted(tree.glob("systemd/*"))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_systemd_has_nothing_to_say(plan: Plan, tmp_path: Path) -> None:
    command = [tool("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", *installed(plan, tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_the_sandbox_does_not_get_weaker(plan: Plan, tmp_path: Path) -> None:
    for path in sorted(write_tree(plan, tmp_path).glob("systemd/*")):
        if path.suffix == ".service":
            command = [tool("systemd-analyze"), "security", "--offline=true", "--no-pager", path]
            report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            score = re.search(r"Overall exposure level for \S+: ([0-9.]+)", report)
            assert score is not None, report
            kind = "gpu" if "nvidia" in path.read_text() else "other"
            assert float(score[1]) <= MOST_EXPOSED[kind], f"{path.name}: {score[1]}"


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
    assert target["WantedBy"] == ["multi-user.target"]
    for name in target["Wants"]:
        assert unit(two_on_one_gpu(), name)["PartOf"] == ["duo.target"]
        # What starts is the target's list alone; an [Install] of their own could contradict it.
        assert "WantedBy" not in unit(two_on_one_gpu(), name)


def test_units_call_only_programs_of_the_installed_version() -> None:
    for artifact in emit_systemd(with_gateway(two_on_one_gpu())):
        for path in re.findall(r"/opt/stackc/duo/\S+", artifact.text):
            assert path.startswith(("/opt/stackc/duo/current/bin/", "/opt/stackc/duo/current/lib/supervise"))


def test_a_server_starts_after_its_neighbour_but_does_not_need_it() -> None:
    general = unit(two_on_one_gpu(), "duo-general.service")
    assert "duo-coder.service" in general["After"]
    assert "Requires" not in general
    assert "duo-general.service" not in unit(two_on_one_gpu(), "duo-coder.service")["After"]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_inner_deadlines_end_before_outer_ones(plan: Plan) -> None:
    for service in plan.services:
        chain = deadlines(plan, service)
        engine = int(dict(service.environment).get("VLLM_ENGINE_READY_TIMEOUT_S", 0))  # llama-server has no clock
        assert engine < service.timeouts.ready <= chain.poll < chain.start
        assert service.timeouts.start <= chain.start
        # VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS and the wait after SIGKILL come after the drain.
        assert service.timeouts.drain + 5 + 4 < chain.stop
        assert chain.interval > chain.burst * (chain.start + chain.stop + chain.restart)
        emitted = unit(plan, f"{plan.stack}-{service.name}.service")
        assert emitted["TimeoutStartSec"] == [str(chain.start)]
        assert emitted["TimeoutStopSec"] == [str(chain.stop)]
        assert emitted["StartLimitIntervalSec"] == [str(chain.interval)]
        assert service_unit(plan, service).wait_ready[-1] == str(chain.poll)


def test_a_neighbours_start_is_waited_for_within_the_own_deadline() -> None:
    plan = two_on_one_gpu()
    general = unit(plan, "duo-general.service")
    assert general["ExecStartPost"] == ["/opt/stackc/duo/current/bin/wait-ready general --timeout 1200"]
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


def with_paths(plan: Plan, **changes: str) -> Plan:
    return replace(plan, paths=replace(plan.paths, **changes))


def test_only_a_server_on_a_network_card_waits_for_the_network() -> None:
    assert "network-online.target" in unit(one_on_two_gpus(), "pair-big.service")["After"]
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "::"):
        plan = with_service(one_on_two_gpus(), "big", host=host)
        assert "network-online.target" not in unit(plan, "pair-big.service")["After"]


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        (lambda plan: with_paths(plan, state="/data/duo"), "ReadWritePaths", ["/data/duo"]),
        (lambda plan: with_engine(plan, program="/home/me/venv/bin/vllm"), "ProtectHome", ["read-only"]),
        (lambda plan: with_paths(plan, install="/tmp/duo"), "PrivateTmp", None),
        (lambda plan: plan, "StateDirectory", ["stackc/duo"]),
        (lambda plan: plan, "ProtectHome", ["yes"]),
        (lambda plan: plan, "PrivateTmp", ["yes"]),
    ],
)
def test_the_sandbox_leaves_visible_what_the_stack_uses(
    change: Callable[[Plan], Plan], key: str, value: list[str] | None
) -> None:
    plan = change(two_on_one_gpu())
    for name in ("duo-coder.service", "duo-prefetch.service"):
        assert unit(plan, name).get(key) == value


def test_a_gateway_waits_for_no_server_and_keeps_what_it_writes_to_itself() -> None:
    plan = with_gateway(two_on_one_gpu())
    keys = unit(plan, "duo-gateway.service")
    assert "After" not in keys
    assert keys["PartOf"] == ["duo.target"]
    assert "duo-gateway.service" in unit(plan, "duo.target")["Wants"]
    assert keys["LoadCredential"] == ["client-keys:/etc/stackc/client-keys", "api-key:/etc/stackc/api-key"]
    assert keys["UMask"] == ["0077"]
    program = "/opt/stackc/duo/current/bin/gateway"
    commands = [keys[key] for key in ("ExecStartPost", "ExecReload")]
    assert keys["ExecStart"][0].startswith("/opt/stackc/duo/current/lib/supervise ")
    assert keys["ExecStart"][0].endswith(f" -- {program} run")
    assert commands == [[f"{program} wait"], [f"{program} reload"]]
    environment = dict(line.split("=", 1) for line in keys["Environment"])
    assert environment["STACKC_GATEWAY_DIR"] == "/run/stackc-duo/gateway"
    assert environment["STACKC_STATE_DIR"] == "/var/lib/stackc/duo"


@pytest.mark.parametrize(("kind", "signal"), [("nginx", "--signal QUIT -- "), ("litellm", "--seconds 285 -- ")])
def test_a_gateway_ends_open_answers_before_it_stops(kind: str, signal: str) -> None:
    keys = unit(with_gateway(two_on_one_gpu(), kind), "duo-gateway.service")
    assert signal in keys["ExecStart"][0]
    assert keys["TimeoutStopSec"] == ["300"]


def test_without_a_gateway_there_is_no_unit_for_one() -> None:
    assert "duo-gateway.service" not in {artifact.path.name for artifact in emit_systemd(two_on_one_gpu())}


@pytest.mark.parametrize(("port", "capability"), [(443, "CAP_NET_BIND_SERVICE"), (8080, "")])
def test_a_port_below_1024_takes_the_one_capability_that_it_needs(port: int, capability: str) -> None:
    keys = unit(with_gateway(two_on_one_gpu(), port=port), "duo-gateway.service")
    assert keys["CapabilityBoundingSet"] == keys["AmbientCapabilities"] == [capability]


def test_what_a_patch_may_not_touch_is_what_the_units_set() -> None:
    set_by_stackc: dict[str, set[str]] = {"Unit": set(), "Service": set(), "Install": set()}
    elsewhere = replace(two_on_one_gpu(), paths=replace(two_on_one_gpu().paths, state="/data/duo"))
    variables = set()
    for plan in (*PLANS, with_gateway(elsewhere)):
        # No patch reaches the two units that reload the gateway.
        for artifact in (each for each in emit_systemd(plan) if "gateway-reload" not in each.path.name):
            section = ""
            for line in artifact.text.splitlines():
                if line.startswith("["):
                    section = line.strip("[]")
                elif "=" in line and not line.startswith("#"):
                    set_by_stackc[section].add(line.partition("=")[0])
                    variables |= set(re.findall(r"^Environment=\"?(\w+)=", line))
    assert {"Unit": OWNED["Unit"], "Service": OWNED["Service"]} == {
        name: set_by_stackc[name] for name in ("Unit", "Service")
    }
    assert variables | {"VLLM_ENGINE_READY_TIMEOUT_S"} == OWNED_VARIABLES
    assert OWNED["Unit"] | OWNED["Service"] >= ADDITIVE


def test_every_directive_that_stackc_sets_exists_in_the_oldest_systemd() -> None:
    known = load_directives().known
    assert all(OWNED[section] <= known[section] for section in OWNED)


def test_the_table_is_what_the_oldest_systemd_says_of_itself() -> None:
    version = subprocess.run([tool("systemctl"), "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.split()[1]) != load_directives().floor:
        pytest.skip(f"this is not systemd {load_directives().floor}")
    assert {name: frozenset(known) for name, known in extract_directives.directives().items()} == dict(
        load_directives().known
    )


def test_patches_stand_at_the_end_of_their_section_and_systemd_takes_them(tmp_path: Path) -> None:
    patches = {
        "coder": {"Unit": {"After": "data.mount"}, "Service": {"Nice": -5, "CPUWeight": 200}},
        "gateway": {"Service": {"Environment": ["A=1", '"B=two words"'], "IOAccounting": True}},
        "target": {"Unit": {"Documentation": "https://example.org/%p"}},
    }
    plan = replace(with_gateway(two_on_one_gpu()), patches=Patches(systemd=patches))
    coder = next(each.text for each in emit_systemd(plan) if each.path.name == "duo-coder.service")
    mark = "# From the spec's patches.systemd:\n"
    assert f"{mark}After=data.mount\n\n[Service]" in coder
    assert coder.endswith(f"{mark}Nice=-5\nCPUWeight=200\n")
    assert unit(plan, "duo-gateway.service")["Environment"][-2:] == ["A=1", '"B=two words"']
    command = [tool("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", *installed(plan, tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
