"""What the compiler says of code in repositories is what vLLM and transformers do without `--trust-remote-code`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compiler.engines.vllm.answers.chats import formats
from compiler.engines.vllm.judge.remote_code import code_needed
from compiler.engines.vllm.releases import RELEASES
from compiler.engines.vllm.releases.architectures import why_code_is_needed
from compiler.lock.models import HUB, CodeFacts, ModelFacts, WeightFile
from compiler.spec.services import ServiceSpec
from tests.engine.engine_process import (
    CPU_RELEASE,
    PLAIN_RELEASES,
    ROOT,
    ParserOracle,
    engine_python,
    parser_environment,
)
from tests.unit.code_samples import WITH_CODE

pytestmark = pytest.mark.engine

TOOL = "tools/extract_tokenizers.py"
SERVICE = ServiceSpec.model_validate({"model": "a/b", "context": "8K", "port": 8000})
Json = dict[str, Any]


@pytest.mark.parametrize("version", [CPU_RELEASE, *PLAIN_RELEASES])
def test_extracting_again_changes_nothing(version: str) -> None:
    command = [str(engine_python()), str(ROOT / TOOL), "--check"]
    if version != CPU_RELEASE:
        command += ["--source", str(ROOT / ".engine" / f"vllm-{version}")]
    result = subprocess.run(command, env=parser_environment(version), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def answers(version: str, questions: list[Json]) -> list[Json]:
    command = [str(engine_python()), str(Path(__file__).with_name("code_oracle.py"))]
    lines = "".join(f"{json.dumps(question)}\n" for question in questions)
    environment = {**parser_environment(version), "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        command, env=environment, input=lines, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def config_of(model_type: str, architecture: str, keys: tuple[str, ...] = ()) -> Json:
    config: Json = {"model_type": model_type, "architectures": [architecture]}
    return {**config, "auto_map": {key: f"own.{key}" for key in keys}} if keys else config


@pytest.mark.parametrize("version", [CPU_RELEASE, *PLAIN_RELEASES])
def test_configurations_that_ask_for_code_are_those_that_are_refused(version: str) -> None:
    configs = [config_of(model_type, architecture, keys) for model_type, architecture, keys, _ in WITH_CODE]
    asked = [answer["config"] == "asked" for answer in answers(version, [{"config": config} for config in configs])]
    assert len(asked) == len(configs)
    for config, is_asked, (model_type, *_) in zip(configs, asked, WITH_CODE, strict=True):
        if model_type in ("baichuan", "qwen"):
            assert is_asked  # and no class is there to run it
            continue
        assert is_asked == (why_code_is_needed(RELEASES[version], config) is not None), config


TOKENIZERS = [
    (model_type, name, has_file)
    for model_type in ("qwen2", "llama", "deepseek_v3", "nemotron_h", "kimi_k2", "minimax_m2")
    for name in ("OwnTokenizer", "PreTrainedTokenizerFast")
    for has_file in (True, False)
]


@pytest.mark.parametrize("version", [CPU_RELEASE, *PLAIN_RELEASES])
def test_tokenizers_that_ask_for_code_are_those_that_are_refused(version: str) -> None:
    questions = [
        {
            "config": config_of(model_type, "LlamaForCausalLM"),
            "tokenizer": {"tokenizer_class": name, "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}},
            "tokenizer_json": has_file,
        }
        for model_type, name, has_file in TOKENIZERS
    ]
    found = answers(version, questions)
    for (model_type, name, has_file), answer in zip(TOKENIZERS, found, strict=True):
        entry = CodeFacts(
            file="tokenizer_config.json", auto_map={"AutoTokenizer": ("own.OwnTokenizer",)}, class_name=name
        )
        config = config_of(model_type, "LlamaForCausalLM")
        files = ("tokenizer.json",) if has_file else ()
        facts = ModelFacts(source=HUB, config=config, code=(entry,), tokenizers=files)
        reason = code_needed(SERVICE, facts, RELEASES[version])
        # One that asks must be refused; one that is not refused must be made, where its file is there.
        assert answer["tokenizer"] != "asked" or reason is not None, (model_type, name, has_file)
        assert reason is not None or not has_file or answer["tokenizer"] == "served", (model_type, name, answer)


@pytest.mark.parametrize("version", [CPU_RELEASE, *PLAIN_RELEASES])
@pytest.mark.parametrize("files", [("tekken.json",), ("tekken.json", "tokenizer.json")])
def test_the_parser_takes_the_options_that_name_a_format(
    version: str, files: tuple[str, ...], oracle: Callable[[str], ParserOracle]
) -> None:
    facts = ModelFacts(
        source=HUB,
        config=config_of("mistral", "MistralForCausalLM"),
        weights=(WeightFile(path="model.safetensors"),),
        chat_template="chat_template.jinja",
        tokenizers=files,
        consolidated=("consolidated.safetensors",),
    )
    words = [word for option in formats(SERVICE, facts, version) for word in option]
    answer = oracle(version).ask(["/models/a", *words])
    assert answer["error"] is None
    expected = {"config_format": "hf", "load_format": "safetensors", "tokenizer_mode": "mistral"}
    if "tokenizer.json" in files:
        expected["tokenizer_mode"] = "hf"
    assert {key: answer["values"][key] for key in expected} == expected
