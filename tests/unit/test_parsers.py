"""Parsers of tool calls and reasoning: only names that the release has, and only warnings that are true."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from compiler.cli.main import cli
from compiler.engines.vllm.answers.parser_table import FAMILIES, Family, Role, families_of, suitable
from compiler.engines.vllm.options.catalog import load_flags
from compiler.engines.vllm.releases.architectures import load_registry
from tests.conftest import WIDE

RELEASE = "0.33.0"


def registered(role: Role, version: str = RELEASE) -> tuple[str, ...]:
    flag = load_flags(version).find(role)
    assert flag is not None
    return flag.registered


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.title)
def test_every_row_names_what_the_release_has(family: Family) -> None:
    """A server that is told a name which vLLM does not have ends at its start."""
    assert set(family.architectures) <= load_registry(RELEASE).native
    for role in Role:
        assert set(family.parsers(role)) <= set(registered(role))
    assert family.tools or family.reasoning


def test_a_name_that_an_older_release_lacks_is_not_offered() -> None:
    (family,) = families_of("MuseSparkForConditionalGeneration")
    assert suitable((family,), Role.TOOLS, registered(Role.TOOLS)) == ("muse", "musespark1x")
    assert suitable((family,), Role.TOOLS, registered(Role.TOOLS, "0.32.0")) == ()


def test_a_model_type_tells_families_of_one_architecture_apart() -> None:
    """Kimi K2 is DeepSeek V3 by its tensors, and writes its tool calls otherwise."""
    kimi = families_of("DeepseekV3ForCausalLM", "kimi_k2")
    assert [family.tools for family in kimi] == [("kimi_k2",)]
    assert [family.tools[0] for family in families_of("DeepseekV3ForCausalLM", "deepseek_v3")] == ["deepseek_v3"]
    assert families_of("UnheardOfForCausalLM") == ()


def test_a_distilled_model_may_reason_like_its_teacher(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSeek-R1-Distill-Llama is a Llama by its tensors: `deepseek_r1` is right for it, and nobody is warned."""
    monkeypatch.chdir(root)
    result = CliRunner().invoke(cli, ["explain", "stacks/reasoning-a100.yaml:reasoning", "--format", "json"])
    found = json.loads(result.output)
    assert "W0501" not in {diagnostic["code"] for diagnostic in found["diagnostics"]}
    parsers = {"--tool-call-parser": ["llama3_json", "pythonic"]}
    assert found["parsers"]["reasoning"] == [{"family": "Llama 3", "shared": True, "parsers": parsers}]


def test_explain_names_the_parsers_that_suit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    result = CliRunner().invoke(cli, ["explain", "stacks/reasoning-a100.yaml:reasoning"], env=WIDE)
    named = "  parsers for Llama 3 (others share its architecture): --tool-call-parser llama3_json or pythonic\n"
    assert named in result.output
