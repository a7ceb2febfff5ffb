"""The compose file: valid, and the same servers as everywhere else."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compiler.catalog.images import MONITORING_IMAGES as IMAGES
from compiler.engines.vllm.options.catalog import load_flags
from compiler.engines.vllm.options.decided import HOST_FILE_OPTIONS, decided
from compiler.engines.vllm.releases import RELEASES
from compiler.pipeline import render_plan
from compiler.plan.ir import Argument, Plan
from compiler.targets.deployment import ready_seconds
from tests.gateway.machine import gateway_plan
from tests.schema_checker import checked
from tests.unit.compose_reading import PLANS, compose_tool, load, text_of
from tests.unit.container_samples import behind_gateway, monitored_slices, with_files
from tests.unit.plan_samples import (
    UUIDS,
    one_on_cpu,
    one_on_two_gpus,
    two_on_one_gpu,
    with_engine,
    with_service,
    write_tree,
)


def test_the_compose_schema_accepts_it(tmp_path: Path) -> None:
    files = [tmp_path / f"{plan.stack}.yaml" for plan in PLANS]
    for file, plan in zip(files, PLANS, strict=True):
        file.write_text(text_of(plan))
    result = checked("--builtin-schema", "vendor.compose-spec", *files)
    assert result.exit_code == 0, result.output


def test_compose_itself_reads_the_same_stack(tmp_path: Path) -> None:
    """Compose resolves volumes, networks, secrets and conditions, which a schema does not."""
    for plan in PLANS:
        tree = write_tree(plan, tmp_path / plan.stack)
        command = [compose_tool(), "--file", str(tree / "compose/compose.yaml"), "--profile", "*", "config"]
        done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "WARN" not in done.stderr, "a variable was put in, or a key ignored"
        read, written = json.loads(done.stdout), load(plan)
        assert read["name"] == plan.stack
        assert read["services"].keys() == written["services"].keys()
        for name, service in read["services"].items():
            # It shows values in the form in which a file would have to hold them.
            assert service.get("environment", {}) == written["services"][name].get("environment", {})
            assert (service.get("command") or []) == written["services"][name].get("command", [])


def test_it_says_where_it_comes_from() -> None:
    assert text_of(two_on_one_gpu()).startswith("# Stack `duo`, written by `stackc compile`. DO NOT EDIT")


def test_flags_are_in_the_launch_script_and_nowhere_else() -> None:
    service = load(two_on_one_gpu())["services"]["coder"]
    assert service["entrypoint"][:2] == ["/bin/bash", "/opt/stackc/lib/supervise"]
    assert service["entrypoint"][-2:] == ["--", "/opt/stackc/bin/launch-coder"]
    assert service["command"] == []


@pytest.mark.parametrize("name", ["coder", "prefetch", "gateway", "prepare"])
def test_a_container_sees_of_the_tree_what_it_runs_and_reads_and_changes_nothing(name: str) -> None:
    """Each part is a mount of its own: `lib` may be a link, which an engine follows on the host and nowhere else."""
    service = load(gateway_plan())["services"][name]
    parts = {each["target"]: each for each in service["volumes"] if each["target"].startswith("/opt/stackc")}
    wanted = {"prepare": {"lib"}, "gateway": {"bin", "lib", "gateway"}}.get(name, {"bin", "lib", "plan.json"})
    assert set(parts) == {f"/opt/stackc/{part}" for part in wanted}
    for part in wanted:
        bind = parts[f"/opt/stackc/{part}"]
        assert (bind["source"], bind["read_only"]) == (f"../{part}", True)
        assert bind["bind"] == {"create_host_path": False}
    started = [word for word in service["entrypoint"] if word.startswith("/opt/stackc/")]
    emitted = {str(artifact.path) for artifact in render_plan(gateway_plan())}
    assert started
    assert {word.removeprefix("/opt/stackc/") for word in started} <= emitted


def test_a_port_is_published_where_the_plan_says() -> None:
    (port,) = load(one_on_two_gpus())["services"]["big"]["ports"]
    assert port == {"target": 8000, "published": "8000", "host_ip": "10.0.0.7", "protocol": "tcp"}
    named = with_service(one_on_cpu(), "tiny", host="localhost")
    assert load(named)["services"]["tiny"]["ports"][0]["host_ip"] == "127.0.0.1"


def test_no_two_containers_publish_one_port() -> None:
    for plan in PLANS:
        ports = [port["published"] for each in load(plan)["services"].values() for port in each.get("ports", [])]
        assert len(set(ports)) == len(ports)


def test_inside_the_server_listens_for_the_other_side_of_that_port() -> None:
    environment = load(two_on_one_gpu())["services"]["coder"]["environment"]
    assert (environment["STACKC_HOST"], environment["STACKC_CONTAINER"]) == ("0.0.0.0", "1")


def devices(plan: Plan, name: str) -> Any:
    return load(plan)["services"][name]["deploy"]["resources"]["reservations"]["devices"]


def test_each_server_gets_its_gpus_and_no_other() -> None:
    assert devices(two_on_one_gpu(), "coder") == [{"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}]
    assert devices(one_on_two_gpus(), "big")[0]["device_ids"] == list(UUIDS)
    assert "deploy" not in load(one_on_cpu())["services"]["tiny"]


def test_a_number_of_gpus_and_their_names_are_never_both_given() -> None:
    """The schema takes both, Docker refuses the container."""
    for plan in PLANS:
        for service in load(plan)["services"].values():
            for device in service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", []):
                assert ("count" in device) != ("device_ids" in device)


def test_several_workers_get_the_shared_memory_they_ask_for() -> None:
    assert load(one_on_two_gpus())["services"]["big"]["shm_size"] == "1280m"  # twice 160 + 2 × 240 MiB
    assert "shm_size" not in load(two_on_one_gpu())["services"]["coder"]


def test_neighbours_start_one_after_another_and_share_a_lock() -> None:
    services = load(two_on_one_gpu())["services"]
    assert services["general"]["depends_on"]["coder"] == {"condition": "service_healthy"}
    for name in ("coder", "general"):
        mounts = {each["source"]: each["target"] for each in services[name]["volumes"]}
        assert mounts["locks"] == services[name]["environment"]["STACKC_LOCK_DIR"]
    assert "locks" not in load(one_on_two_gpus())["volumes"]


def seconds(text: str) -> int:
    assert text.endswith("s")
    return int(text[:-1])


def test_a_slow_start_is_not_unhealthy() -> None:
    for plan in PLANS:
        for service in plan.services:
            check = load(plan)["services"][service.name]["healthcheck"]
            assert seconds(check["start_period"]) >= ready_seconds(plan, service) >= service.timeouts.ready
            words = check["test"][1:]
            assert words[0] in ("python3", "curl")
            if words[0] == "python3":
                compile(words[3], "healthcheck", "exec")
    general = load(two_on_one_gpu())["services"]["general"]["healthcheck"]
    assert general["start_period"] == "1200s", "its own start and the neighbour's"


def test_a_server_may_finish_its_requests_before_it_is_killed() -> None:
    for plan in PLANS:
        services = load(plan)["services"]
        for service in plan.services:
            assert seconds(services[service.name]["stop_grace_period"]) > service.timeouts.drain
        if plan.gateway is not None:
            longest = max(service.timeouts.drain for service in plan.services)
            assert seconds(services["gateway"]["stop_grace_period"]) > longest


def test_secrets_are_files_for_those_who_need_them() -> None:
    file = load(two_on_one_gpu())
    assert file["secrets"] == {
        "api-key": {"file": "/etc/stackc/api-key"},
        "hf-token": {"file": "/etc/stackc/hf-token"},
    }
    assert file["services"]["coder"]["secrets"] == ["api-key"]
    assert file["services"]["prefetch"]["secrets"] == ["hf-token"]
    assert "secrets" not in load(one_on_two_gpus())


def test_every_secret_is_mounted_where_the_program_is_told_to_read_it() -> None:
    for plan in PLANS:
        for service in load(plan)["services"].values():
            named = [
                value for key, value in service.get("environment", {}).items() if re.search("KEYS?_FILE|TOKEN", key)
            ]
            if named:
                assert sorted(named) == sorted(f"/run/secrets/{name}" for name in service["secrets"])


def test_only_the_gateway_sees_the_keys_of_clients() -> None:
    services = load(behind_gateway())["services"]
    having = {name for name, service in services.items() if "client-keys" in service.get("secrets", [])}
    assert having == {"gateway", "prepare"}


def test_downloading_is_asked_for_explicitly() -> None:
    prefetch = load(two_on_one_gpu())["services"]["prefetch"]
    assert (prefetch["profiles"], prefetch["restart"]) == (["prefetch"], "no")
    assert prefetch["environment"]["HF_HOME"] == "/var/lib/stackc/hf"


def test_containers_have_no_capability_but_those_they_need() -> None:
    needed = {"prepare": ["CHOWN"], "tiny": ["SYS_NICE"]}
    for plan in PLANS:
        for name, service in load(plan)["services"].items():
            if name == "vault":
                continue  # the patch's own
            assert service["cap_drop"] == ["ALL"]
            wanted = [] if name == "tiny" and "llama.cpp" in service["image"] else needed.get(name, [])
            assert service.get("cap_add", []) == wanted
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert not {"privileged", "ipc", "pid"} & set(service)


def test_a_cpu_server_may_bind_its_memory() -> None:
    """Without the capability, Docker's seccomp profile refuses set_mempolicy, which vLLM's CPU build calls."""
    assert load(one_on_cpu())["services"]["tiny"]["cap_add"] == ["SYS_NICE"]


def test_a_server_that_binds_its_memory_may_do_so() -> None:
    plan = one_on_two_gpus()
    bound = (*plan.service("big").arguments, Argument("--numa-bind", None, "engine_args"))
    assert load(with_service(plan, "big", arguments=bound))["services"]["big"]["cap_add"] == ["SYS_NICE"]


@pytest.mark.parametrize("release", RELEASES)
def test_options_that_name_files_are_options_that_a_spec_may_give(release: str) -> None:
    for name in HOST_FILE_OPTIONS:
        flag = load_flags(release).find(name)
        assert flag is not None
        assert decided(flag) is None


def test_no_server_runs_as_root_and_every_volume_belongs_to_its_user() -> None:
    for plan in PLANS:
        services = load(plan)["services"]
        owned = dict(
            reversed(word.removeprefix("--own=").split("=", 1))
            for word in services["prepare"]["command"]
            if word.startswith("--own=")
        )
        for name in (*(service.name for service in plan.services), "prefetch", *(["gateway"] if plan.gateway else [])):
            assert services[name]["user"] != "0:0" or (name, plan.gateway and plan.gateway.kind) == (
                "gateway",
                "litellm",
            )
            for mount in services[name]["volumes"]:
                if mount["type"] == "volume":
                    assert owned[mount["target"]] == services[name]["user"], "it could not write there"
            assert {"prepare"} <= services[name]["depends_on"].keys()
            assert services[name]["depends_on"]["prepare"] == {"condition": "service_completed_successfully"}


def test_the_preparing_container_has_every_volume_that_it_gives_away() -> None:
    for plan in PLANS:
        prepare = load(plan)["services"]["prepare"]
        mounted = {mount["target"] for mount in prepare["volumes"] if mount["type"] == "volume"}
        assert mounted == {word.rpartition("=")[2] for word in prepare["command"] if word.startswith("--own=")}
        assert prepare["network_mode"] == "none"


def test_a_model_folder_is_mounted_where_the_launch_script_looks() -> None:
    mount = {
        "type": "bind",
        "source": "/srv/models/tiny",
        "target": "/srv/models/tiny",
        "read_only": True,
        "bind": {"create_host_path": False},
    }
    for name in ("tiny", "prefetch"):
        assert mount in load(one_on_cpu())["services"][name]["volumes"]


def test_files_that_options_name_are_there_inside_too() -> None:
    """Else the server would end at once: the launch script passes the host's path."""
    mounts = load(with_files())["services"]["big"]["volumes"]
    assert {"/srv/templates/big.jinja", "/srv/images"} <= {
        mount["target"] for mount in mounts if mount.get("read_only")
    }


def test_compose_puts_no_variable_into_a_value() -> None:
    plan = with_engine(two_on_one_gpu(), image="registry/$HOME/vllm")
    assert load(plan)["services"]["coder"]["image"] == "registry/$$HOME/vllm"
    for each in PLANS:
        assert "$" not in text_of(each).replace("$$", "")


def test_every_image_is_one_release() -> None:
    """`latest` and a bare name are another image tomorrow."""
    for plan in PLANS:
        for service in load(plan)["services"].values():
            tag = service["image"].rpartition("/")[2].partition(":")[2]
            assert re.search(r"\d", tag), service["image"]
            assert "latest" not in tag
    assert all(re.search(r":v?\d", image.reference) for image in IMAGES.values())


def test_behind_a_gateway_nothing_else_is_published_beyond_the_machine() -> None:
    services = load(behind_gateway())["services"]
    assert {name for name, each in services.items() if each.get("ports")} == {"gateway", *IMAGES}
    assert services["gateway"]["ports"][0] | {"protocol": "tcp"} == {
        "target": 8080,
        "published": "8080",
        "host_ip": "0.0.0.0",
        "protocol": "tcp",
    }
    for name in IMAGES:
        assert services[name]["ports"][0]["host_ip"] == "127.0.0.1"


def test_behind_a_gateway_servers_reach_nothing_outside() -> None:
    file = load(behind_gateway())
    internal = {name for name, network in file["networks"].items() if network.get("internal")}
    for name in ("coder", "general"):
        assert set(file["services"][name]["networks"]) == {"backend"} == internal
    # The download needs the way out, and no server is beside it.
    assert file["services"]["prefetch"]["networks"] == ["download"]
    assert "networks" not in load(two_on_one_gpu())


def test_the_gateway_reaches_every_server_by_its_name() -> None:
    file = load(behind_gateway())
    gateway = file["services"]["gateway"]
    for name in ("coder", "general"):
        assert set(gateway["networks"]) & set(file["services"][name]["networks"])
        # It waits for the name, not for a server that may take an hour or never come.
        assert gateway["depends_on"][name] == {"condition": "service_started"}


def test_the_gateway_can_write_only_where_it_may() -> None:
    gateway = load(behind_gateway())["services"]["gateway"]
    assert (gateway["user"], gateway["read_only"]) == ("101:0", True)
    folders = {each.partition(":")[0]: each for each in gateway["tmpfs"]}
    assert folders[gateway["environment"]["STACKC_GATEWAY_DIR"]] == "/run/stackc:uid=101,gid=0,mode=0700"
    assert gateway["healthcheck"]["test"] == ["CMD", "/bin/bash", "/opt/stackc/bin/gateway", "wait", "--once"]


def test_every_container_is_read_only_but_for_those_whose_image_is_not_made_for_it() -> None:
    """LiteLLM's image writes beside its programs; NVIDIA says nowhere what its exporter writes."""
    for plan in PLANS:
        for name, container in load(plan)["services"].items():
            if name not in {"prepare", "prefetch", "gateway", *IMAGES, *(each.name for each in plan.services)}:
                continue  # a container of the spec's own
            is_litellm = name == "gateway" and "litellm" in container["image"]
            assert container.get("read_only", False) is not (is_litellm or name == "dcgm-exporter"), name


def test_a_server_has_room_for_what_it_compiles_and_loads() -> None:
    """Docker mounts a tmpfs `noexec`, and vLLM loads libraries that it has compiled in /tmp."""
    for name in ("coder", "prefetch"):
        service = load(two_on_one_gpu())["services"][name]
        assert service["tmpfs"] == ["/tmp:uid=2000,gid=0,mode=0700,exec"]
        # All else that it writes goes below HOME or a cache, in volumes.
        volumes = [mount["target"] for mount in service["volumes"] if mount["type"] == "volume"]
        for variable in ("HOME", "HF_HOME", "XDG_CACHE_HOME", "VLLM_CACHE_ROOT", "TRITON_CACHE_DIR"):
            path = service["environment"][variable]
            assert any(path == volume or path.startswith(f"{volume}/") for volume in volumes), variable


def test_monitoring_is_asked_for_explicitly() -> None:
    services = load(behind_gateway())["services"]
    assert {name for name, each in services.items() if each.get("profiles") == ["monitoring"]} == set(IMAGES)
    assert "dcgm-exporter" not in load(two_on_one_gpu())["services"]
    assert "grafana" not in load(monitored_slices())["services"]


def test_monitoring_listens_where_the_plan_says() -> None:
    services = load(behind_gateway())["services"]
    ports = {name: services[name]["ports"][0] for name in IMAGES}
    ports = {name: (port["published"], port["target"]) for name, port in ports.items()}
    assert ports == {"prometheus": ("9091", 9090), "grafana": ("3001", 3000), "dcgm-exporter": ("9401", 9400)}


def test_prometheus_reaches_what_it_reads() -> None:
    file = load(behind_gateway())
    networks = set(file["services"]["prometheus"]["networks"])
    for name in ("coder", "general", "dcgm-exporter", "grafana"):
        assert networks & set(file["services"][name]["networks"]), name


def test_the_gpu_exporter_sees_whole_cards() -> None:
    assert devices(monitored_slices(), "dcgm-exporter") == [
        {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    ]
    assert devices(behind_gateway(), "dcgm-exporter")[0]["device_ids"] == ["0"]


def test_grafana_has_no_default_password() -> None:
    environment = load(behind_gateway())["services"]["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
