"""The shipped stacks: what is committed is what the specs say, and it means what the specs ask."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from compiler.cli.main import cli
from compiler.pipeline import compile_stack
from compiler.spec.rollouts import with_candidates
from compiler.units import parse_tokens
from tests.adapter_files import shipped_adapters
from tests.conftest import ROOT, tool
from tests.hub.server import serve
from tests.schema_checker import checked

STACKS = sorted(path.stem for path in (ROOT / "stacks").glob("*.yaml") if not path.name.endswith(".lock.yaml"))
SHIPPED = {
    "adapters-24gb", "budget-a10", "campus-16xh100", "chat-8gb", "chat-cpu", "coder-12gb", "coder-14b-96gb",
    "coder-2x48gb", "coder-5090", "coder-96gb", "coder-solo-96gb", "drafted-96gb", "duo-48gb", "large-24gb",
    "pair-cpu", "qwen-96gb", "reasoning-2x4090", "reasoning-a100", "team-96gb", "tiny-cpu",
}  # fmt: skip
# Of each stack, or of each node where it has several.
TREES = sorted(path.parent.relative_to(ROOT / "generated").as_posix() for path in ROOT.glob("generated/**/plan.json"))


def plan_of(name: str) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((ROOT / "generated" / name / "plan.json").read_text())
    return plan


def spec_of(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = YAML(typ="safe").load((ROOT / "stacks" / f"{name}.yaml").read_text())
    return spec


def test_every_stack_is_shipped() -> None:
    assert set(STACKS) == SHIPPED


def test_generated_is_what_the_specs_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(cli, ["compile", "--check"])
    assert result.exit_code == 0, result.output


def test_unconfirmed_facts_are_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(cli, ["compile", "--check", "--format", "json", "stacks/coder-96gb.yaml"])
    warnings = [found for found in json.loads(result.output)["diagnostics"] if found["code"] == "W0301"]
    assert len(warnings) == 2
    assert "commit" in warnings[0]["message"]
    assert "stackc lock stacks/coder-96gb.yaml" in warnings[0]["helps"][0]["text"]


def test_maps_in_another_order_in_another_folder_give_the_same_bytes(tmp_path: Path) -> None:
    def reverse(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reverse(value[key]) for key in reversed(value)}
        return value

    for name in STACKS:
        spec = tmp_path / f"{name}.yaml"
        written = spec_of(name)
        # Of engines the first serves what names none, and of like nodes the first is filled first.
        spec.write_text(json.dumps(reverse(written) | {key: written[key] for key in ("engine", "nodes")}))
        shutil.copy(ROOT / "stacks" / f"{name}.lock.yaml", tmp_path)
        compiled, _ = compile_stack(spec, str(spec))
        assert compiled is not None
        for artifact in compiled.artifacts:
            assert artifact.text == (ROOT / "generated" / name / artifact.path).read_text(), artifact.path


def test_locking_against_the_recordings_changes_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "stacks", tmp_path / "stacks", ignore=shutil.ignore_patterns("*.lock.yaml"))
    monkeypatch.chdir(tmp_path)
    with serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        result = CliRunner().invoke(cli, ["lock", *shipped_adapters(tmp_path / "adapters")])
    assert result.exit_code == 0, result.output
    for name in STACKS:
        committed = (ROOT / "stacks" / f"{name}.lock.yaml").read_text()
        assert (tmp_path / "stacks" / f"{name}.lock.yaml").read_text() == committed


@pytest.mark.parametrize("name", TREES)
def test_plan_keeps_every_promise_of_the_spec(name: str) -> None:
    plan, spec = plan_of(name), with_candidates(spec_of(name.partition("/")[0]))
    assert plan["verdict"] == "fits"
    for service in plan["services"]:
        asked = spec["services"][service.get("replica_of") or service["name"]]
        flags = {argument["flag"]: argument["value"] for argument in service["arguments"]}
        number = int(service["name"].rpartition("-")[2]) if service.get("replica_of") else 1
        assert flags["--port"] == str(asked["port"] + number - 1)
        assert service["kv_cache"]["max_concurrency"] >= asked.get("concurrency", 1) / asked.get("replicas", 1)
        PROMISES[service["engine"]](service, flags, parse_tokens(str(asked["context"])))
        if plan["node"]["kind"] == "gpu" and service["engine"] == "vllm":
            assert flags["--gpu-memory-utilization"] == f"{service['gpu_memory_utilization']:.4f}"


def promises_of_vllm(service: dict[str, Any], flags: dict[str, str], context: int) -> None:
    assert flags["--max-model-len"] == str(context)
    assert int(flags["--kv-cache-memory-bytes"]) == service["kv_cache"]["bytes"]
    assert {"--max-num-seqs", "--max-num-batched-tokens"} <= flags.keys()


def promises_of_llama_cpp(service: dict[str, Any], flags: dict[str, str], context: int) -> None:
    """Each slot has the whole context, and nothing is left for the server to choose."""
    assert int(flags["--ctx-size"]) == context * int(flags["--parallel"])
    assert (service["max_num_seqs"], "--no-kv-unified" in flags) == (int(flags["--parallel"]), True)
    assert {"--gpu-layers", "--cache-ram", "--flash-attn"} <= flags.keys()
    assert flags["--fit"] == "off"


PROMISES = {"vllm": promises_of_vllm, "llama.cpp": promises_of_llama_cpp}


@pytest.mark.parametrize("name", TREES)
def test_servers_started_in_turn_find_the_memory_that_vllm_demands(name: str) -> None:
    """vLLM refuses to start unless ceil(total × utilization) is free (vllm/v1/worker/utils.py:request_memory)."""
    plan = plan_of(name)
    utilization = {each["name"]: each.get("gpu_memory_utilization", 0.0) for each in plan["services"]}
    for device in plan["devices"]:
        free = device["total_bytes"] - device["reserve_bytes"]
        for server in device["servers"]:
            outside = sum(row["bytes"]["high"] for row in server["rows"] if row["kind"] == "outside")
            assert device["total_bytes"] * utilization[server["service"]] <= free - outside
            free -= sum(row["bytes"]["high"] for row in server["rows"])
        assert free == device["slack_bytes"] >= 0


@pytest.mark.parametrize("name", TREES)
def test_every_ledger_row_has_a_source(name: str) -> None:
    rows = [row for device in plan_of(name)["devices"] for server in device["servers"] for row in server["rows"]]
    assert rows
    assert all(row["source"].strip() for row in rows)


@pytest.mark.parametrize("name", TREES)
def test_servers_on_one_device_form_a_chain(name: str) -> None:
    plan = plan_of(name)
    after = {service["name"]: set(service["start_after"]) for service in plan["services"]}
    for device in plan["devices"]:
        names = [server["service"] for server in device["servers"]]
        for earlier, later in itertools.pairwise(names):
            assert earlier in after[later]


def test_what_is_shipped_can_be_read_in_a_review() -> None:
    """What no stack changes stands once. Files and bytes, links aside, of all that is shipped."""
    assert len(list((ROOT / "generated/_lib").iterdir())) == 1
    sizes = [path.stat().st_size for path in (ROOT / "generated").rglob("*") if path.is_file()]
    assert len(sizes) <= 680
    assert sum(sizes) <= 6_500_000


@pytest.mark.parametrize("name", TREES)
def test_manifest_checks_a_copy(name: str) -> None:
    subprocess.run([tool("sha256sum"), "--check", "--quiet", "SHA256SUMS"], cwd=ROOT / "generated" / name, check=True)


@pytest.mark.parametrize("name", TREES)
def test_scripts_are_clean_shell(name: str) -> None:
    scripts = [path for path in (ROOT / "generated" / name / "bin").iterdir() if path.name.startswith("launch-")]
    subprocess.run([tool("shellcheck"), *map(str, scripts)], check=True)


def test_compose_files_follow_the_schema() -> None:
    files = sorted((ROOT / "generated").glob("**/compose/compose.yaml"))
    result = checked("--builtin-schema", "vendor.compose-spec", *files)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", TREES)
def test_systemd_accepts_the_units(name: str, tmp_path: Path) -> None:
    """The units as they are, but for the folder that the tree lies in: that one has to exist here."""
    installed = plan_of(name)["paths"]["current"]
    shutil.copytree(ROOT / "generated" / name / "systemd", tmp_path / "tree" / "systemd")
    for path in (ROOT / "generated" / name).iterdir():
        if path.name != "systemd":
            (tmp_path / "tree" / path.name).symlink_to(path)
    units = sorted((tmp_path / "tree" / "systemd").iterdir())
    for unit in units:
        unit.write_text(unit.read_text().replace(f"{installed}/", f"{tmp_path}/tree/"))
    command = [tool("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", *map(str, units)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("name", [*STACKS, "_lib"])
def test_nothing_generated_speaks_of_the_machine_that_made_it(name: str) -> None:
    for path in (ROOT / "generated" / name).rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert str(ROOT) not in text
            assert str(Path.home()) + "/" not in text
