"""Which architectures a release serves. A wrong yes is a server that dies at its start; a wrong no hides a model."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from compiler.checkpoints.families.table import FAMILIES
from compiler.engines.vllm.releases import RELEASES
from compiler.engines.vllm.releases.architectures import load_registry, why_not_served_architecture

GPU = RELEASES["0.33.0"]


def why_not(name: str, *, trusted: bool = False, **config: Any) -> str | None:
    return why_not_served_architecture(name, GPU, config=config, trusted=trusted)


@pytest.mark.parametrize("version", ["0.32.0", "0.33.0"])
def test_every_release_has_a_table_that_is_read_once(version: str) -> None:
    registry = load_registry(version)
    assert registry.version == version
    assert len(registry.native) > 300
    assert load_registry(version) is registry


def test_everything_with_formulas_is_served() -> None:
    assert not [name for name in FAMILIES if why_not(name) is not None]


def test_every_reader_that_is_named_is_there() -> None:
    assert [name for name, reader in FAMILIES.items() if not callable(reader)] == []


def test_a_reader_is_imported_when_it_is_asked_for() -> None:
    program = (
        "import sys, compiler.cli.run.compile; from compiler.checkpoints.families.table import FAMILIES; "
        "module = 'compiler.checkpoints.families.multimodal.models'; "
        "assert 'Gemma3ForConditionalGeneration' in FAMILIES; "
        "assert module not in sys.modules, 'fifty modules for a stack that needs two'; "
        "FAMILIES['Gemma3ForConditionalGeneration']; assert module in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("QWenLMHeadModel", "until 0.23.0"),
        ("BaichuanForCausalLM", "until 0.23.0"),
        ("BartForConditionalGeneration", "bart-plugin"),
        ("Step3p7FlashForCausalLM", "no class for the architecture Step3p7FlashForCausalLM"),
        ("Eagle3LlamaForCausalLM", "draft for speculative decoding"),
        ("x" * 10_000, "no class"),
    ],
)
def test_what_is_not_served_says_since_when_or_what_to_do(name: str, said: str) -> None:
    reason = why_not(name)
    assert reason is not None
    assert said in reason
    assert len(reason) < 300


@pytest.mark.parametrize(
    "name", ["Qwen3ForSequenceClassification", "Qwen3Model", "LlamaForCausalLM", "HeliumForCausalLM"]
)
def test_registered_and_converted_architectures_are_served(name: str) -> None:
    assert why_not(name) is None


def test_a_model_type_that_nobody_knows_needs_the_code_of_its_repository() -> None:
    code = {"AutoConfig": "configuration_internlm2.InternLM2Config"}
    reason = why_not("InternLM2ForCausalLM", model_type="internlm2", auto_map=code)
    assert reason is not None
    assert "policy.trust_remote_code" in reason
    assert why_not("InternLM2ForCausalLM", model_type="internlm2", auto_map=code, trusted=True) is None


def test_without_such_code_trust_does_not_help() -> None:
    reason = why_not("MiMoForCausalLM", model_type="mimo", trusted=True)
    assert reason is not None
    assert "does not know the model type `mimo`" in reason


def test_code_that_vllm_replaces_by_its_own_needs_no_trust() -> None:
    code = {"AutoConfig": "configuration_chatglm.ChatGLMConfig", "AutoModel": "modeling_chatglm.ChatGLM"}
    assert why_not("ChatGLMModel", model_type="chatglm", auto_map=code) is None


def test_a_class_of_the_repository_needs_trust() -> None:
    code = {"AutoModelForCausalLM": "modeling.NewForCausalLM"}
    assert "trust_remote_code" in str(why_not("NewForCausalLM", model_type="llama", auto_map=code))
    assert why_not("NewForCausalLM", model_type="llama", auto_map=code, trusted=True) is None


@pytest.mark.parametrize("odd", [None, 3, [], {}, "x"])
def test_odd_values_are_not_taken_for_code(odd: Any) -> None:
    assert why_not("LlamaForCausalLM", model_type="llama", auto_map=odd) is None
    assert why_not("LlamaForCausalLM", model_type=odd if odd != "x" else None) is None


def test_encoders_have_no_pipeline_stages() -> None:
    registry = load_registry("0.33.0")
    assert not registry.stages("BertModel")
    assert registry.stages("LlamaForSequenceClassification")


def test_encoder_decoders_are_not_run_through_transformers() -> None:
    assert "encoder-decoder" in str(why_not("T5ForConditionalGeneration", model_type="t5", is_encoder_decoder=True))
