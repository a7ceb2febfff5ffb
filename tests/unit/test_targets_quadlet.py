"""Podman's unit files: only keys that its oldest release knows, and the same containers as everywhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from compiler.catalog.quadlet import FLOOR, KEYS, REFUSED_SERVICE_KEYS
from compiler.plan.ir import Plan
from compiler.targets.compose import emit_compose
from compiler.targets.deployment import ready_seconds
from compiler.targets.quadlet import emit_quadlet, qualified_image
from tests.plain_yaml import read_yaml
from tests.unit.container_samples import behind_gateway, every_plan, patched
from tests.unit.plan_samples import UUIDS, one_on_cpu, one_on_two_gpus, two_on_one_gpu, with_engine, with_service

Unit = Mapping[str, Mapping[str, list[str]]]

PATCH = {
    "coder": {
        "Unit": {"After": ["vault.service"], "ConditionPathExists": "/srv/models"},
        "Container": {"Environment": ["VLLM_LOGGING_LEVEL=DEBUG"], "Label": "team=ml", "PodmanArgs": "--memory=64g"},
        "Service": {"Nice": -5},
        "Install": {"WantedBy": "ai.target"},
    },
    "prefetch": {"Service": {"ExecStartPre": "/usr/bin/true"}},
}
PLANS = [*every_plan(), replace(patched(behind_gateway(), quadlet=PATCH), stack="patched")]


def read(text: str) -> dict[str, dict[str, list[str]]]:
    """A unit file as systemd and Podman read it: sections of keys, each with one or more values."""
    unit: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in text.splitlines():
        if not line or line.startswith(("#", ";")):
            continue
        if line.startswith("["):
            section = line.removeprefix("[").removesuffix("]")
            assert section not in unit, "a section stands twice"
            unit[section] = {}
            continue
        assert not line.endswith("\\"), "the next line would be part of this one"
        key, equals, value = line.partition("=")
        assert equals, line
        assert value, f"{key} is empty, which takes back what stood before"
        unit[section].setdefault(key, []).append(value)
    return unit


def load(plan: Plan) -> dict[str, dict[str, dict[str, list[str]]]]:
    return {artifact.path.name: read(artifact.text) for artifact in emit_quadlet(plan)}


def container(plan: Plan, name: str) -> dict[str, dict[str, list[str]]]:
    return load(plan)[f"{plan.stack}-{name}.container"]


def variables(unit: Unit) -> dict[str, str]:
    pairs = (value.strip('"').partition("=") for value in unit["Container"].get("Environment", []))
    return {name: value.replace("$$", "$").replace("%%", "%") for name, _, value in pairs}


def composed(plan: Plan) -> dict[str, Any]:
    services: dict[str, Any] = read_yaml(emit_compose(plan)[0].text)["services"]
    return services


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_the_oldest_podman_knows_every_key(plan: Plan) -> None:
    """Its generator refuses a file with a key that it does not know, and then the unit does not exist."""
    for name, unit in load(plan).items():
        section = {"container": "Container", "volume": "Volume", "network": "Network"}[name.rpartition(".")[2]]
        assert unit.keys() <= {section, "Unit", "Service", "Install"}
        assert all(KEYS[section][key] <= FLOOR for key in unit[section]), name
        assert not REFUSED_SERVICE_KEYS & unit.get("Service", {}).keys()


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stack)
def test_every_volume_and_network_that_is_named_has_a_file(plan: Plan) -> None:
    files = load(plan)
    for unit in files.values():
        named = [value.partition(":")[0] for value in unit.get("Container", {}).get("Volume", [])]
        named += unit.get("Container", {}).get("Network", [])
        assert {name for name in named if not name.startswith("/")} <= files.keys()


@pytest.mark.parametrize("plan", every_plan(), ids=lambda plan: plan.stack)
def test_the_containers_are_those_of_compose(plan: Plan) -> None:
    services = composed(plan)
    for name in [service.name for service in plan.services] + ["prefetch"] + (["gateway"] if plan.gateway else []):
        unit, service = container(plan, name)["Container"], services[name]
        assert json.loads(unit["Entrypoint"][0]) == service["entrypoint"]
        assert variables(container(plan, name)) == service["environment"]
        assert f"{unit['User'][0]}:{unit['Group'][0]}" == service["user"]
        assert unit["Image"][0].endswith(service["image"])
        assert unit.get("ShmSize", [None])[0] == service.get("shm_size")
        assert [value.removeprefix("CAP_") for value in unit.get("AddCapability", [])] == service.get("cap_add", [])
        assert len(unit.get("Secret", [])) == len(service.get("secrets", []))
        targets = {value.removesuffix(":ro").rpartition(":")[2] for value in unit["Volume"]}
        assert targets == {mount["target"] for mount in service["volumes"]}
        limits = {value.partition("=")[0] for value in unit.get("Ulimit", [])}
        assert limits == service.get("ulimits", {}).keys()


def test_the_tree_is_that_of_the_installed_version() -> None:
    """The link is read at each start, so that one rename switches every container."""
    volumes = container(two_on_one_gpu(), "coder")["Container"]["Volume"]
    for part in ("bin", "lib", "plan.json"):
        assert f"/opt/stackc/duo/current/{part}:/opt/stackc/{part}:ro" in volumes


def test_each_server_gets_its_gpus_by_cdi() -> None:
    assert container(two_on_one_gpu(), "coder")["Container"]["AddDevice"] == ["nvidia.com/gpu=0"]
    assert container(one_on_two_gpus(), "big")["Container"]["AddDevice"] == [f"nvidia.com/gpu={each}" for each in UUIDS]
    assert "AddDevice" not in container(one_on_cpu(), "tiny")["Container"]


def test_neighbours_start_one_after_another() -> None:
    unit = container(two_on_one_gpu(), "general")
    assert "duo-coder.service" in unit["Unit"]["After"][0].split()
    assert unit["Container"]["Notify"] == ["healthy"], "else After= would wait for the process only"
    locks = variables(unit)["STACKC_LOCK_DIR"]
    for name in ("coder", "general"):
        assert f"duo-locks.volume:{locks}" in container(two_on_one_gpu(), name)["Container"]["Volume"]


@pytest.mark.parametrize("plan", every_plan(), ids=lambda plan: plan.stack)
def test_deadlines_stand_in_the_order_in_which_they_must_pass(plan: Plan) -> None:
    for service in plan.services:
        unit = container(plan, service.name)
        start, stop = int(unit["Service"]["TimeoutStartSec"][0]), int(unit["Service"]["TimeoutStopSec"][0])
        assert start > ready_seconds(plan, service)
        assert service.timeouts.drain < int(unit["Container"]["StopTimeout"][0]) < stop
        failed = start + stop + int(unit["Service"]["RestartSec"][0])
        burst = int(unit["Unit"]["StartLimitBurst"][0])
        assert int(unit["Unit"]["StartLimitIntervalSec"][0]) > burst * failed, "it would restart for ever"


def test_the_health_check_is_a_command_that_podman_does_not_split() -> None:
    """Podman 5.0 splits a list that starts with CMD at its spaces, quotes and all."""
    unit = container(two_on_one_gpu(), "coder")["Container"]
    for key in ("HealthCmd", "HealthStartupCmd"):
        words = json.loads(unit[key][0])
        assert words[:3] == ["python3", "-I", "-c"]
        compile(words[3], "healthcheck", "exec")
    assert unit["HealthStartupRetries"] == ["0"], "a slow start is no reason to restart"


def test_secrets_come_from_podmans_store_and_only_their_user_reads_them() -> None:
    plan = behind_gateway()
    gateway = container(plan, "gateway")
    assert "duo-client-keys,type=mount,target=client-keys,uid=101,gid=0,mode=0400" in gateway["Container"]["Secret"]
    assert variables(gateway)["STACKC_CLIENT_KEYS_FILE"] == "/run/secrets/client-keys"
    assert not any("client-keys" in value for value in container(plan, "coder")["Container"]["Secret"])
    for artifact in emit_quadlet(plan):
        assert "/etc/stackc" not in artifact.text, "the store has a copy, the file is not mounted"


def test_a_port_is_published_where_the_plan_says() -> None:
    assert container(one_on_two_gpus(), "big")["Container"]["PublishPort"] == ["10.0.0.7:8000:8000"]
    assert container(one_on_two_gpus(), "big")["Unit"]["Wants"] == ["network-online.target nvidia-persistenced.service"]
    v6 = with_service(one_on_cpu(), "tiny", host="::1")
    assert container(v6, "tiny")["Container"]["PublishPort"] == ["[::1]:8000:8000"]


def test_behind_a_gateway_only_it_is_published_and_servers_have_no_way_out() -> None:
    plan = behind_gateway()
    files = load(plan)
    published = {name for name, unit in files.items() if unit.get("Container", {}).get("PublishPort")}
    assert published == {"duo-gateway.container"}
    assert files["duo-backend.network"]["Network"]["Internal"] == ["true"]
    for name in ("coder", "general"):
        unit = container(plan, name)["Container"]
        assert unit["Network"] == ["duo-backend.network"]
        assert unit["PodmanArgs"] == [f"--network-alias={name}"], "the gateway knows it by this name"
    assert container(plan, "gateway")["Container"]["Network"] == ["duo-backend.network", "duo-edge.network"]
    assert container(plan, "prefetch")["Container"]["Network"] == ["duo-download.network"]


def test_a_port_of_roots_can_be_listened_on() -> None:
    """Podman keeps the limit inside, and neither the server nor nginx is root there."""
    plan = behind_gateway()
    assert plan.gateway is not None
    plan = with_service(replace(plan, gateway=replace(plan.gateway, port=80)), "coder", port=81)
    lifted = {name for name, unit in load(plan).items() if unit.get("Container", {}).get("Sysctl")}
    assert lifted == {"duo-gateway.container", "duo-coder.container"}
    assert not any("Sysctl" in unit.get("Container", {}) for unit in load(behind_gateway()).values())


def test_the_gateway_is_reloaded_as_with_units_of_systemd() -> None:
    """`systemctl reload` is what a rollout calls, whatever runs the gateway."""
    (command,) = container(behind_gateway(), "gateway")["Service"]["ExecReload"]
    assert command == "/usr/bin/podman exec duo-gateway /bin/bash /opt/stackc/bin/gateway reload"
    assert container(behind_gateway(), "gateway")["Container"]["ContainerName"] == ["duo-gateway"]
    assert "ExecReload" not in container(behind_gateway(), "coder")["Service"]


def test_every_volume_belongs_to_the_user_that_writes_there() -> None:
    for plan in every_plan():
        files = load(plan)
        for unit in files.values():
            for value in unit.get("Container", {}).get("Volume", []):
                name = value.partition(":")[0]
                if name in files:
                    owner, user = files[name]["Volume"], unit["Container"]
                    assert (owner["User"], owner["Group"]) == (user["User"], user["Group"])


def test_containers_have_no_capability_but_those_they_need() -> None:
    for plan in every_plan():
        for name, unit in load(plan).items():
            if name.endswith(".container"):
                assert unit["Container"]["DropCapability"] == ["all"]
                assert unit["Container"]["NoNewPrivileges"] == ["true"]
                is_bound = "tiny" in name and "llama.cpp" not in unit["Container"]["Image"][0]
                assert unit["Container"].get("AddCapability", []) == (["CAP_SYS_NICE"] if is_bound else [])


def test_the_download_runs_once_and_not_at_boot() -> None:
    unit = container(two_on_one_gpu(), "prefetch")
    assert unit["Service"] == {"Type": ["oneshot"], "TimeoutStartSec": ["infinity"]}
    assert "Install" not in unit
    assert container(two_on_one_gpu(), "coder")["Install"]["WantedBy"] == ["multi-user.target"]


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("nginx:1.28.0", "docker.io/library/nginx:1.28.0"),
        ("vllm/vllm-openai:v0.33.0", "docker.io/vllm/vllm-openai:v0.33.0"),
        ("ghcr.io/berriai/litellm:v1", "ghcr.io/berriai/litellm:v1"),
        ("registry:5000/vllm@sha256:0", "registry:5000/vllm@sha256:0"),
        ("localhost/vllm:1", "localhost/vllm:1"),
    ],
)
def test_an_image_is_named_with_its_registry(image: str, full: str) -> None:
    """Podman asks a person which registry is meant, and a unit has none to ask."""
    assert qualified_image(image) == full


def test_systemd_puts_nothing_into_a_value() -> None:
    plan = with_engine(two_on_one_gpu(), image="registry.io/$HOME/100%/vllm:1")
    assert container(plan, "coder")["Container"]["Image"] == ["registry.io/$$HOME/100%%/vllm:1"]


def test_a_patch_stands_beside_what_stackc_writes() -> None:
    plain = container(behind_gateway(), "coder")
    unit = container(patched(behind_gateway(), quadlet=PATCH), "coder")
    assert unit["Unit"]["After"] == [*plain["Unit"]["After"], "vault.service"]
    assert unit["Container"]["Environment"] == [*plain["Container"]["Environment"], "VLLM_LOGGING_LEVEL=DEBUG"]
    assert unit["Container"]["PodmanArgs"] == [*plain["Container"]["PodmanArgs"], "--memory=64g"]
    assert (unit["Container"]["Label"], unit["Service"]["Nice"]) == (["team=ml"], ["-5"])
    assert unit["Install"]["WantedBy"] == ["multi-user.target", "ai.target"]
    for section, keys in plain.items():
        for key, values in keys.items():
            assert unit[section][key][: len(values)] == values
    text = next(
        each.text for each in emit_quadlet(patched(behind_gateway(), quadlet=PATCH)) if "coder" in each.path.name
    )
    assert text.count("# From `patches.quadlet` of the spec.") == 4


def test_every_unit_says_where_it_comes_from() -> None:
    for artifact in emit_quadlet(behind_gateway()):
        assert artifact.text.startswith("# Stack `duo`, written by `stackc compile`. DO NOT EDIT")
        assert not re.search(r"\n\n\n", artifact.text)
