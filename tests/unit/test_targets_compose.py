"""The compose file: valid, and the same servers as everywhere else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from compiler.catalog.compose import SERVICE_KEYS, TOP_LEVEL_KEYS
from compiler.catalog.flags import load_flags
from compiler.catalog.releases import RELEASES
from compiler.plan.ir import Argument, Engine, Plan, Service
from compiler.plan.lower_operations import lower_patches
from compiler.spec.engine_args import HOST_FILE_OPTIONS, decided
from compiler.spec.models import Spec
from compiler.spec.patch_compose import FILE_TREE, service_tree
from compiler.spec.patch_tree import Conflict, compare
from compiler.targets.compose import emit_compose
from compiler.targets.compose_monitoring import IMAGES
from compiler.targets.deployment import ready_seconds
from tests.conftest import missing, tool
from tests.unit.container_samples import behind_gateway, every_plan, monitored_slices, patched, with_files
from tests.unit.plan_samples import PATH as PLAN_PATH
from tests.unit.plan_samples import (
    UUIDS,
    one_on_cpu,
    one_on_two_gpus,
    two_on_one_gpu,
    with_service,
    write_executable,
    write_snapshot,
    write_tree,
)

PATCH = {
    "x-team": {"owner": "ml-platform", "on-call": ["a", "b"]},
    "services": {
        "coder": {
            "labels": {"team": "ml", "cost": "a $HOME of 5%"},
            "environment": {"VLLM_LOGGING_LEVEL": "DEBUG"},
            "logging": {"options": {"tag": "{{.Name}}"}},
            "deploy": {"resources": {"limits": {"memory": "64g"}}},
            "ulimits": {"nproc": 65535},
            "volumes": [{"type": "bind", "source": "/etc/ssl/corp.pem", "target": "/etc/ssl/corp.pem"}],
            "depends_on": {"vault": {"condition": "service_started"}},
        },
        "vault": {"image": "hashicorp/vault:1.20.0", "networks": ["backend"]},
    },
    "networks": {"backend": {"driver_opts": {"com.docker.network.driver.mtu": "9000"}}, "other": {"external": True}},
    "volumes": {"hf-cache": {"driver": "local", "driver_opts": {"type": "nfs", "o": "addr=10.0.0.9", "device": ":/m"}}},
}


def patched_plan() -> Plan:
    return patched(behind_gateway(), compose=PATCH)


PLANS = [*every_plan(), replace(patched_plan(), stack="patched")]


def text_of(plan: Plan) -> str:
    return emit_compose(plan)[0].text


def load(plan: Plan) -> dict[str, Any]:
    return parsed(text_of(plan))


@cache
def parsed(text: str) -> dict[str, Any]:
    """Read once for all tests, none of which changes it."""
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return loaded


def compose_tool() -> str:
    """Docker Compose itself; releases before 2.20.2 do not know `start_interval`."""
    found = tool("docker-compose")
    version = subprocess.run([found, "version", "--short"], capture_output=True, text=True, check=False).stdout
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    if numbers < (2, 20, 2):
        missing(f"{found} is Compose {version.strip() or 'of unknown version'}, 2.20.2 is needed")
    return found


def test_the_compose_schema_accepts_it(tmp_path: Path) -> None:
    files = [write_tree(plan, tmp_path / plan.stack) / "compose" / "compose.yaml" for plan in PLANS]
    checker = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


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
    assert service["entrypoint"] == ["/bin/bash", "/opt/stackc/bin/launch-coder"]
    assert service["command"] == []
    tree = next(each for each in service["volumes"] if each["target"] == "/opt/stackc")
    assert (tree["source"], tree["read_only"]) == ("..", True)


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
            compile(check["test"][3], "healthcheck", "exec")
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
            assert service.get("cap_add", []) == needed.get(name, [])
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
    plan = replace(two_on_one_gpu(), engine=Engine("0.33.0", "registry/$HOME/vllm"))
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
    assert all(re.search(r":v?\d", image) for image in IMAGES.values())


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
    assert (gateway["user"], gateway["read_only"], gateway["stop_signal"]) == ("101:0", True, "SIGQUIT")
    folders = {each.partition(":")[0]: each for each in gateway["tmpfs"]}
    assert folders[gateway["environment"]["STACKC_GATEWAY_DIR"]] == "/run/stackc:uid=101,gid=0,mode=0700"
    assert gateway["healthcheck"]["test"] == ["CMD", "/bin/bash", "/opt/stackc/bin/gateway", "wait", "--once"]


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


def test_a_patch_stands_beside_what_stackc_writes() -> None:
    plain, file = load(behind_gateway()), load(patched_plan())
    coder = file["services"]["coder"]
    assert coder["labels"] == {"team": "ml", "cost": "a $$HOME of 5%"}, "compose reads $$ as $"
    assert coder["environment"] == plain["services"]["coder"]["environment"] | {"VLLM_LOGGING_LEVEL": "DEBUG"}
    assert coder["logging"]["options"]["tag"] == "{{.Name}}"
    assert coder["deploy"]["resources"]["limits"] == {"memory": "64g"}
    assert coder["volumes"][-1]["target"] == "/etc/ssl/corp.pem"
    assert coder["depends_on"]["vault"] == {"condition": "service_started"}
    assert file["services"]["vault"]["image"] == "hashicorp/vault:1.20.0"
    assert file["networks"]["backend"]["internal"] is True
    assert file["volumes"]["hf-cache"]["driver_opts"]["type"] == "nfs"
    assert file["x-team"] == PATCH["x-team"]


def test_a_patch_takes_nothing_away() -> None:
    def without(added: Any, plain: Any) -> Any:
        if isinstance(plain, dict):
            assert plain.keys() <= added.keys()
            return {key: without(added[key], plain[key]) for key in plain}
        return added[: len(plain)] if isinstance(plain, list) else added

    plain = load(behind_gateway())
    assert without(load(patched_plan()), plain) == plain


def merged(base: Any, patch: Any) -> Any:
    """What a patch must come to: maps grow, lists grow at their end, values get `$$` for `$`."""
    if isinstance(patch, dict):
        base = base if isinstance(base, dict) else {}
        return base | {key: merged(base.get(key), value) for key, value in patch.items()}
    if isinstance(patch, list):
        return (base or []) + [merged(None, item) for item in patch]
    return patch.replace("$", "$$") if isinstance(patch, str) else patch


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
WORDS = st.sampled_from(["labels", "tag", "max-size", "limits", "resources", "options", "NEW", "HOME", "nproc", "core"])
VALUES = st.recursive(
    TEXT | st.integers(-9, 9) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS | TEXT, inner, max_size=2),
    max_leaves=6,
)
SERVICE_PATCHES = st.dictionaries(st.sampled_from(sorted(SERVICE_KEYS)), VALUES, max_size=4)


@settings(max_examples=20, suppress_health_check=[HealthCheck.filter_too_much])
@given(patch=st.dictionaries(st.sampled_from(["big", "prefetch"]), SERVICE_PATCHES, min_size=1))
def test_a_patch_that_passes_is_merged_and_changes_nothing_else(patch: dict[str, Any]) -> None:
    plan = one_on_two_gpus()
    base = load(plan)
    trees = {name: service_tree(name, base["services"]) or {} for name in patch}
    assume(not any(isinstance(found, Conflict) for name in patch for found in compare(patch[name], trees[name])))
    assert load(patched(plan, compose={"services": patch})) == merged(base, {"services": patch})


def test_a_reader_sees_what_a_patch_brought() -> None:
    assert text_of(patched_plan()).count("# From `patches.compose` of the spec.") == 12
    assert "patches.compose" not in text_of(behind_gateway())


def paths_of(data: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(data, dict) or not data:
        return [path]
    return [found for key, value in data.items() for found in paths_of(value, (*path, key))]


@pytest.mark.parametrize("plan", every_plan(), ids=lambda plan: plan.stack)
def test_nothing_that_is_written_can_be_patched_away(plan: Plan) -> None:
    """A key that the templates learn to write must come into the table, or a patch would give it a second time."""
    services = load(plan)["services"]
    for name, service in services.items():
        tree = service_tree(name, services)
        assert tree is not None
        for path in paths_of(service):
            patch: Any = "changed"
            for key in reversed(path):
                patch = {key: patch}
            assert all(isinstance(found, Conflict) for found in compare(patch, tree)), (name, path)
    assert {"name", "secrets", "networks", "volumes"} <= FILE_TREE.keys()
    for section in ("secrets", "networks", "volumes"):
        assert load(plan).get(section, {}).keys() <= FILE_TREE[section].keys()  # type: ignore[union-attr]


def test_the_tables_hold_keys_of_the_specification() -> None:
    import check_jsonschema  # noqa: PLC0415

    folder = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "compose-spec.json").read_text())
    definitions = schema["$defs"]
    known = {key for part in ("service", "container_spec", "workload_spec") for key in definitions[part]["properties"]}
    assert known >= SERVICE_KEYS
    assert known - SERVICE_KEYS <= {"umask"}, "new in the specification: decide whether stackc lets it pass"
    assert schema["properties"].keys() >= TOP_LEVEL_KEYS


def run_prepare(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tree / "compose/prepare", *words], capture_output=True, text=True, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(two_on_one_gpu(), tmp_path / "duo")


def owner_of(path: Path) -> str:
    return f"{path.stat().st_uid}:{path.stat().st_gid}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the container's user")
@pytest.mark.parametrize("mode", [0o640, 0o440, 0o604, 0o600, 0o400, 0o000])
@pytest.mark.parametrize("owner", [(0, 0), (1000, 1000), (1000, 0)])
def test_prepare_lets_pass_what_the_servers_can_read(tree: Path, mode: int, owner: tuple[int, int]) -> None:
    """As the kernel sees it: each user of a container asks for the file itself."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a test's own folder is closed for others
        Path(folder).chmod(0o755)
        secret = Path(folder) / "api-key"
        secret.write_text("hush")
        secret.chmod(mode)
        os.chown(secret, *owner)
        read = [
            subprocess.run(
                ["setpriv", f"--reuid={uid}", "--regid=0", "--clear-groups", "cat", secret],
                capture_output=True,
                check=False,
            ).returncode
            for uid in (2000, 101)
        ]
        assert (run_prepare(tree, f"--secret={secret}").returncode == 0) == (read == [0, 0])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the container's user")
def test_a_server_starts_as_the_user_of_its_container() -> None:
    """With the environment, the owners and the modes that the file says, and nothing else of the caller's."""
    plan = two_on_one_gpu()
    services = load(plan)["services"]
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        root = Path(folder)
        root.chmod(0o755)
        tree = write_tree(plan, root / "tree")
        inside = {"/opt/stackc": tree, "/run/secrets": root / "secrets"}
        inside |= {target: root / target[1:] for target in ("/var/lib/stackc", "/run/stackc")}

        def outside(text: str) -> str:
            return next((text.replace(path, str(to), 1) for path, to in inside.items() if path in text), text)

        (root / "secrets").mkdir()
        for name in services["prepare"]["secrets"]:
            (root / "secrets" / name).write_text("hush-hush-hush-hush\n")
            (root / "secrets" / name).chmod(0o640)
        for mount in services["prepare"]["volumes"]:
            Path(outside(mount["target"])).mkdir(parents=True, exist_ok=True)
        words = [outside(word) for word in services["prepare"]["command"]]
        assert run_prepare(tree, *words).returncode == 0
        write_snapshot(Path(outside("/var/lib/stackc/hf")), "org/coder-awq")
        vllm = write_executable(
            root / "vllm", '#!/bin/bash\nid -u; id -g; echo "$2"; echo "${#VLLM_API_KEY}"; touch "$HOME/kernel"\n'
        )
        coder = services["coder"]
        given = {name: outside(value) for name, value in coder["environment"].items()}
        uid, gid = coder["user"].split(":")
        done = subprocess.run(
            ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs", "--inh-caps=-all"]
            + [outside(word) for word in coder["entrypoint"]],
            env={"PATH": PLAN_PATH, "STACKC_VLLM": str(vllm), **given},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[:2] == ["2000", "0"]
        assert done.stdout.splitlines()[2].startswith(given["HF_HOME"])
        assert done.stdout.splitlines()[3] == str(len("hush-hush-hush-hush"))
        assert (Path(given["HOME"]) / "kernel").stat().st_uid == 2000
        assert list(Path(given["STACKC_LOCK_DIR"]).iterdir()), "no lock was taken"


def test_prepare_gives_a_volume_to_its_user(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    owner = "2000:0" if os.geteuid() == 0 else owner_of(folder)
    assert run_prepare(tree, f"--own={owner}={folder}").returncode == 0
    assert owner_of(folder) == owner


def test_prepare_says_which_volume_it_cannot_give_away(tree: Path, tmp_path: Path) -> None:
    done = run_prepare(tree, f"--own=2000:0={tmp_path}/gone")
    assert (done.returncode, "gone to 2000:0" in done.stderr) == (13, True)


@pytest.mark.parametrize(("mode", "code"), [(0o640, 0), (0o440, 0), (0o600, 17), (0o400, 17)])
def test_prepare_finds_a_secret_that_servers_cannot_read(tree: Path, tmp_path: Path, mode: int, code: int) -> None:
    secret = tmp_path / "api-key"
    secret.write_text("hush-hush")
    secret.chmod(mode)
    if secret.stat().st_gid != 0:
        pytest.skip("the file of a test belongs to group root only where root runs it")
    done = run_prepare(tree, f"--secret={secret}")
    assert done.returncode == code
    assert (code == 0) == (done.stderr == "")
    assert "hush" not in done.stderr


@pytest.mark.parametrize(("text", "words"), [(None, "is no file"), ("", "is empty")])
def test_prepare_finds_a_secret_that_is_not_there(tree: Path, tmp_path: Path, text: str | None, words: str) -> None:
    secret = tmp_path / "api-key"
    if text is not None:
        secret.write_text(text)
    done = run_prepare(tree, f"--own=0:0={tmp_path}/never", f"--secret={secret}")
    assert (done.returncode, words in done.stderr) == (17, True)


@pytest.mark.parametrize("word", ["--help", "x", "--own=", "--own=1:2", "--own=1:2=relative", "--secret="])
def test_prepare_refuses_what_it_does_not_know(tree: Path, word: str) -> None:
    assert run_prepare(tree, word).returncode == 2


def test_prepare_is_clean_for_shellcheck(tree: Path) -> None:
    done = subprocess.run(
        [tool("shellcheck"), "--severity=style", "--enable=all", tree / "compose/prepare"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_service_of_another_node_is_no_container_here() -> None:
    """Its patch would become a container of its own, without an image."""
    node = {"gpus": {"model": "h100-80gb"}}
    service = {"model": "org/m", "context": "8K", "port": 8000}
    spec = Spec.model_validate(
        {
            "stack": "pair",
            "engine": {"vllm": "0.33.0"},
            "nodes": {"a": node, "b": node},
            "services": {"here": {**service, "node": "a"}, "there": {**service, "node": "b"}},
            "patches": {
                "compose": {"services": {"here": {"labels": {}}, "there": {"labels": {}}, "own": {"image": "x:1"}}},
                "systemd": {"there": {"Service": {"Nice": "5"}}},
            },
        }
    )
    here: Service = replace(two_on_one_gpu().service("coder"), name="here")
    patches = lower_patches(spec, [here])
    assert (list(patches.compose["services"]), list(patches.systemd)) == (["here", "own"], [])


def test_a_patch_in_another_order_is_the_same_file() -> None:
    def lowered(patch: dict[str, Any]) -> Plan:
        data = {
            "stack": "duo",
            "engine": {"vllm": "0.33.0"},
            "nodes": {"a": {"gpus": {"model": "h100-80gb"}}},
            "services": {"coder": {"model": "org/m", "context": "8K", "port": 8000}},
            "patches": {"compose": patch},
        }
        plan = two_on_one_gpu()
        return replace(plan, patches=lower_patches(Spec.model_validate(data), plan.services))

    services = {"coder": {"labels": {"b": "1", "a": "2"}, "cpus": 4}, "zed": {"image": "z:1"}, "own": {"image": "o:1"}}
    backwards = {name: dict(reversed(list(keys.items()))) for name, keys in reversed(list(services.items()))}
    forth, back = {"x-b": 1, "x-a": 2, "services": services}, {"services": backwards, "x-a": 2, "x-b": 1}
    assert text_of(lowered(forth)) == text_of(lowered(back))
