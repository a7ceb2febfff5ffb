"""Another release of vLLM beside the pinned one: both are compiled for in one repository, each by its own rules."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compiler.checkpoints.read import read_architecture
from compiler.cli.main import cli
from compiler.engines.vllm.memory.rotary_bytes import rotary_tables
from compiler.engines.vllm.options.catalog import load_flags
from compiler.engines.vllm.releases import RELEASES, v0_33_0
from compiler.engines.vllm.releases.architectures import load_registry, why_not_served_architecture
from compiler.engines.vllm.releases.history import overheads_of
from compiler.units import GIB
from tests.conftest import ROOT
from tests.releases import v0_31_0
from tests.unit.test_rotary import QWEN3_VL_READS, SHAPE

STACK = "coder-5090"


@pytest.fixture(autouse=True)
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of releases with one line more, which is all that the compiler is told."""
    monkeypatch.setitem(RELEASES, "0.31.0", v0_31_0.RELEASE)  # type: ignore[arg-type]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shipped stack, and the same stack on the other release under a name of its own."""
    stacks = tmp_path / "stacks"
    stacks.mkdir()
    for name, version in ((STACK, "0.33.0"), ("older", "0.31.0")):
        text = (ROOT / f"stacks/{STACK}.yaml").read_text()
        text = text.replace(f"stack: {STACK}", f"stack: {name}").replace("{vllm: 0.33.0}", f"{{vllm: {version}}}")
        (stacks / f"{name}.yaml").write_text(text)
        shutil.copy(ROOT / f"stacks/{STACK}.lock.yaml", stacks / f"{name}.lock.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan_of(project: Path, name: str) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((project / f"generated/{name}/plan.json").read_text())
    return plan


def test_both_releases_have_a_tree_in_one_repository(project: Path) -> None:
    result = CliRunner().invoke(cli, ["compile"])
    assert result.exit_code == 0, result.output
    pinned, older = plan_of(project, STACK), plan_of(project, "older")
    assert (pinned["engine"]["vllm"], older["engine"]["vllm"]) == ("0.33.0", "0.31.0")
    assert older["engine"]["image"] == "vllm/vllm-openai:v0.31.0"
    rows = [plan["devices"][0]["servers"][0]["rows"] for plan in (pinned, older)]
    assert rows[0] == rows[1], "a model of text alone takes the same by the rules that differ"
    assert "warning[W0201]: 2 ×" in result.output, "neither was measured on its card"


def test_a_tree_has_options_of_its_own_release_only(project: Path) -> None:
    assert CliRunner().invoke(cli, ["compile"]).exit_code == 0
    launch = (project / "generated/older/bin/launch-coder").read_text()
    options = set(re.findall(r"^\s+(--[a-z][a-z-]+)", launch, re.MULTILINE))
    assert "--kv-cache-memory-bytes" in options
    known = load_flags("0.31.0")
    assert {option for option in options if known.find(option) is None} == set()


def test_options_architectures_and_parsers_are_those_of_each(project: Path) -> None:
    old, new = load_flags("0.31.0"), load_flags("0.33.0")
    added = {flag.name for flag in new.flags} - {flag.name for flag in old.flags}
    assert (len(old.flags), len(new.flags), len(added)) == (311, 320, 9)
    assert "--reasoning-effort-map" in added
    spec = project / "stacks/older.yaml"
    spec.write_text(spec.read_text().replace("    port: 8000", "    port: 8000\n    engine_args: {monokernel: true}"))
    result = CliRunner().invoke(cli, ["compile", str(spec)])
    assert result.exit_code == 1
    assert "vLLM 0.31.0 has no option `monokernel`" in result.output
    assert load_registry("0.31.0").removed == load_registry("0.33.0").removed
    assert not load_registry("0.31.0").serves("Step5ForCausalLM")
    assert load_registry("0.33.0").serves("Step5ForCausalLM")


def test_formulas_ask_for_rules_and_not_for_versions() -> None:
    """A GB10 gets large batches, and a model that reads videos four times the positions."""
    old, new = v0_31_0.RELEASE, v0_33_0.RELEASE
    assert [each.batch_limits(119 * GIB, "GB10", (12, 1)).max_num_batched_tokens for each in (old, new)] == [8192, 2048]
    assert [each.batch_limits(80 * GIB, "H100", (9, 0)).max_num_batched_tokens for each in (old, new)] == [8192, 8192]
    assert old.gpu is not None
    architecture = read_architecture(QWEN3_VL_READS)
    assert rotary_tables(old.gpu, architecture, SHAPE) == 4 * rotary_tables(v0_33_0.GPU, architecture, SHAPE)
    assert overheads_of("0.31.0") is old.gpu, "its logs are read by its own rules"


@pytest.mark.parametrize("name", sorted(v0_31_0.RELEASE.unproved))
def test_what_it_starts_otherwise_is_refused(name: str) -> None:
    reason = why_not_served_architecture(name, v0_31_0.RELEASE)
    assert reason == f"vLLM 0.31.0 is not proved with {name}: {v0_31_0.RELEASE.unproved[name]}"
    assert why_not_served_architecture(name, v0_33_0.RELEASE) is None
