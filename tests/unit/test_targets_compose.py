"""The compose file: valid, and the same servers as everywhere else."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from compiler.plan.ir import Engine, Plan
from compiler.targets.compose import emit_compose
from tests.unit.plan_samples import UUIDS, one_on_cpu, one_on_two_gpus, two_on_one_gpu, with_service, write_tree

PLANS = [two_on_one_gpu(), one_on_two_gpus(), one_on_cpu()]


def load(plan: Plan) -> dict[str, Any]:
    (artifact,) = emit_compose(plan)
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(artifact.text)
    return loaded


def test_the_compose_schema_accepts_it(tmp_path: Path) -> None:
    files = [write_tree(plan, tmp_path / plan.stack) / "compose" / "compose.yaml" for plan in PLANS]
    tool = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [tool, "--builtin-schema", "vendor.compose-spec", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_it_says_where_it_comes_from() -> None:
    (artifact,) = emit_compose(two_on_one_gpu())
    assert artifact.text.startswith("# Stack `duo`, written by `stackc compile`. DO NOT EDIT")


def test_flags_are_in_the_launch_script_and_nowhere_else() -> None:
    service = load(two_on_one_gpu())["services"]["coder"]
    assert service["entrypoint"] == ["/bin/bash", "/opt/stackc/bin/launch-coder"]
    assert service["command"] == []
    assert {"type": "bind", "source": "..", "target": "/opt/stackc", "read_only": True} in service["volumes"]


def test_a_port_is_published_where_the_plan_says() -> None:
    (port,) = load(one_on_two_gpus())["services"]["big"]["ports"]
    assert port == {"target": 8000, "published": "8000", "host_ip": "10.0.0.7", "protocol": "tcp"}
    named = with_service(one_on_cpu(), "tiny", host="localhost")
    assert load(named)["services"]["tiny"]["ports"][0]["host_ip"] == "127.0.0.1"


def test_inside_the_server_listens_for_the_other_side_of_that_port() -> None:
    environment = load(two_on_one_gpu())["services"]["coder"]["environment"]
    assert (environment["STACKC_HOST"], environment["STACKC_CONTAINER"]) == ("0.0.0.0", "1")


def test_each_server_gets_its_gpus_and_no_other() -> None:
    def devices(plan: Plan, name: str) -> Any:
        return load(plan)["services"][name]["deploy"]["resources"]["reservations"]["devices"]

    assert devices(two_on_one_gpu(), "coder") == [{"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}]
    assert devices(one_on_two_gpus(), "big")[0]["device_ids"] == list(UUIDS)
    assert "deploy" not in load(one_on_cpu())["services"]["tiny"]


def test_several_workers_get_the_shared_memory_they_ask_for() -> None:
    assert load(one_on_two_gpus())["services"]["big"]["shm_size"] == "1280m"  # twice 160 + 2 × 240 MiB
    assert "shm_size" not in load(two_on_one_gpu())["services"]["coder"]


def test_neighbours_start_one_after_another_and_share_a_lock() -> None:
    services = load(two_on_one_gpu())["services"]
    assert services["general"]["depends_on"] == {"coder": {"condition": "service_healthy"}}
    for name in ("coder", "general"):
        mounts = {each["source"]: each["target"] for each in services[name]["volumes"]}
        assert mounts["locks"] == services[name]["environment"]["STACKC_LOCK_DIR"]
    assert "locks" not in load(one_on_two_gpus())["volumes"]


def test_a_slow_start_is_not_unhealthy() -> None:
    coder, general = (load(two_on_one_gpu())["services"][name]["healthcheck"] for name in ("coder", "general"))
    assert (coder["start_period"], general["start_period"]) == ("1200s", "1200s")  # its own start and the neighbour's
    compile(coder["test"][3], "healthcheck", "exec")


def test_secrets_are_files_for_those_who_need_them() -> None:
    file = load(two_on_one_gpu())
    assert file["secrets"] == {
        "api-key": {"file": "/etc/stackc/api-key"},
        "hf-token": {"file": "/etc/stackc/hf-token"},
    }
    assert file["services"]["coder"]["secrets"] == ["api-key"]
    assert file["services"]["prefetch"]["secrets"] == ["hf-token"]
    assert "secrets" not in load(one_on_two_gpus())


def test_downloading_is_asked_for_explicitly() -> None:
    prefetch = load(two_on_one_gpu())["services"]["prefetch"]
    assert (prefetch["profiles"], prefetch["restart"]) == (["prefetch"], "no")
    assert prefetch["environment"]["HF_HOME"] == "/var/lib/stackc/hf"


def test_containers_have_no_capability() -> None:
    for plan in PLANS:
        for service in load(plan)["services"].values():
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert not {"privileged", "network_mode", "ipc", "pid"} & set(service)


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


def test_compose_puts_no_variable_into_a_value() -> None:
    plan = replace(two_on_one_gpu(), engine=Engine("0.33.0", "registry/$HOME/vllm"))
    assert load(plan)["services"]["coder"]["image"] == "registry/$$HOME/vllm"


def test_a_cpu_server_may_bind_its_memory() -> None:
    """Without the capability, Docker's seccomp profile refuses set_mempolicy, which vLLM's CPU build calls."""
    assert load(one_on_cpu())["services"]["tiny"]["cap_add"] == ["SYS_NICE"]
    assert "cap_add" not in load(two_on_one_gpu())["services"]["coder"]
