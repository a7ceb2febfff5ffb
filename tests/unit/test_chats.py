"""Chats that vLLM renders without a Jinja template, and the files and formats that a server is held to."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.engines.vllm.answers.chats import formats, renders_chats, tokenizer_mode, why_not_read
from compiler.lock.models import HUB, ModelFacts, WeightFile
from compiler.spec.services import ServiceSpec
from tests.unit.test_solve_judgements import COMMIT, LLAMA_8B

TEKKEN = ("tekken.json",)
BOTH = ("tekken.json", "tokenizer.json")
JINJA = "chat_template.jinja"
SAFE = (WeightFile(path="model.safetensors"),)


def service(mode: str | None = None, **changes: Any) -> ServiceSpec:
    arguments = {} if mode is None else {"tokenizer-mode": mode}
    given = {"model": "a/b", "context": "8K", "port": 8000, "engine_args": arguments}
    return ServiceSpec.model_validate(given | changes)


def model(architecture: str = "LlamaForCausalLM", model_type: str = "llama", **changes: Any) -> ModelFacts:
    config = {**LLAMA_8B, "architectures": [architecture], "model_type": model_type}
    return ModelFacts(**({"source": HUB, "commit": COMMIT, "config": config, "weights": SAFE} | changes))


@pytest.mark.parametrize("version", ["0.32.0", "0.33.0"])
@pytest.mark.parametrize(
    ("architecture", "mode"),
    [
        ("DeepseekV32ForCausalLM", "deepseek_v32"),
        ("DeepseekV4ForCausalLM", "deepseek_v4"),
        ("DeepseekV4ForConditionalGeneration", "deepseek_v4"),
        ("DeepseekV41ForCausalLM", "deepseek_v41"),
        ("KimiK3ForConditionalGeneration", "kimi_k3"),
        ("InklingForConditionalGeneration", "inkling"),
    ],
)
def test_architectures_whose_chats_the_engine_renders(architecture: str, mode: str, version: str) -> None:
    facts = model(architecture)
    assert tokenizer_mode(service(), facts, version) == mode
    assert renders_chats(service(), facts, version)
    # The engine finds this by itself; and a user who turns it off has no template again.
    assert not list(formats(service(), facts, version))
    assert not renders_chats(service("hf"), facts, version)


@pytest.mark.parametrize(
    "mode", ["mistral", "deepseek_v32", "deepseek_v4", "deepseek_v41", "kimi_k3", "cohere", "inkling", "MISTRAL"]
)
def test_a_mode_of_the_user_s_that_renders_needs_no_template(mode: str) -> None:
    assert renders_chats(service(mode), model(), "0.33.0")


@pytest.mark.parametrize("mode", ["auto", "hf", "kimi_audio", "alpamayo2_super"])
def test_a_mode_that_wants_a_template_needs_one(mode: str) -> None:
    assert not renders_chats(service(mode), model(), "0.33.0")
    assert renders_chats(service(mode), model(chat_template=JINJA), "0.33.0")


def test_templates_that_vllm_brings_and_those_that_only_processors_read() -> None:
    assert renders_chats(service(), model("MiniCPMV", "minicpmv"), "0.33.0")
    assert renders_chats(service(), model("X", "qwen2_vl", chat_template="chat_template.json"), "0.33.0")
    assert not renders_chats(service(), model(chat_template="chat_template.json"), "0.33.0")
    given = service(engine_args={"chat-template": "/srv/own.jinja"})
    assert renders_chats(given, model(), "0.33.0")


@pytest.mark.parametrize(
    ("files", "template", "mode", "renders"),
    [
        (TEKKEN, None, "mistral", True),
        (TEKKEN, JINJA, "mistral", True),
        (("tokenizer.model.v3",), None, "mistral", True),
        (BOTH, JINJA, "hf", True),
        (BOTH, None, "mistral", True),
        (("tokenizer.json",), None, "hf", False),
        ((), None, "hf", False),
    ],
)
def test_mistral_s_tokenizer_serves_where_another_could_not(
    files: tuple[str, ...], template: str | None, mode: str, renders: bool
) -> None:
    facts = model(tokenizers=files, chat_template=template)
    assert tokenizer_mode(service(), facts, "0.33.0") == mode
    assert renders_chats(service(), facts, "0.33.0") == renders
    chosen = [value for flag, value in formats(service(), facts, "0.33.0") if flag == "--tokenizer-mode"]
    assert chosen == ([mode] if mode == "mistral" else [])


def test_completions_keep_the_tokenizer_that_transformers_reads() -> None:
    assert tokenizer_mode(service(task="completion"), model(tokenizers=BOTH), "0.33.0") == "hf"
    assert tokenizer_mode(service(task="completion"), model(tokenizers=TEKKEN), "0.33.0") == "mistral"


def test_a_second_format_is_never_left_to_the_engine() -> None:
    two = model(consolidated=("consolidated.safetensors",), tokenizers=BOTH, chat_template=JINJA)
    expected = {"--config-format": "hf", "--load-format": "safetensors", "--tokenizer-mode": "hf"}
    assert dict(formats(service(), two, "0.33.0")) == expected
    bins = two.model_copy(update={"weights": (WeightFile(path="pytorch_model.bin"),)})
    assert dict(formats(service("mistral"), bins, "0.33.0")) == {"--config-format": "hf", "--load-format": "hf"}
    assert not dict(formats(service(), model(tokenizers=("tokenizer.json",)), "0.33.0"))


def test_a_mode_without_its_files_is_told_before_the_weights_are_fetched() -> None:
    assert "tekken.json" in str(why_not_read(service("mistral"), model(tokenizers=("tokenizer.json",)), "0.33.0"))
    assert why_not_read(service("mistral"), model(tokenizers=("tokenizer.model",)), "0.33.0") is None
    assert why_not_read(service("mistral"), model(), "0.33.0") is None  # a lock that does not say
    assert why_not_read(service(), model(tokenizers=("tokenizer.json",)), "0.33.0") is None
