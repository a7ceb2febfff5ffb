"""When a model needs code of its repository. A wrong yes drives users to allow what nobody has read; a wrong no is a
server that dies at its start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compiler.diagnostics import SourceText
from compiler.engines.vllm.judge.remote_code import code_needed
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.lock.models import HUB, CodeFacts, ModelFacts, WeightFile
from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan
from compiler.plan.lowering.lower import lower_plan
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.source.document import load_document
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec
from tests.unit.code_samples import WITH_CODE
from tests.unit.test_solve_judgements import COMMIT, LLAMA_8B, RELEASE, stack

CODE = {"AutoConfig": ("configuration.OwnConfig",), "AutoModelForCausalLM": ("modeling.OwnForCausalLM",)}
OF_CONFIG = CodeFacts(file="config.json", auto_map=CODE)


def service(**engine_args: Any) -> ServiceSpec:
    return ServiceSpec.model_validate({"model": "a/b", "context": "8K", "port": 8000, "engine_args": engine_args})


def needed(*code: CodeFacts, release: str = "0.33.0", **changes: Any) -> str | None:
    spec = changes.pop("spec", service())
    given = {"source": HUB, "commit": COMMIT, "config": LLAMA_8B, "remote_code": OF_CONFIG in code} | changes
    return code_needed(spec, ModelFacts(code=code, **given), RELEASES[release])


def of_tokenizer(
    name: str = "OwnTokenizer", file: str = "tokenizer_config.json", key: str = "AutoTokenizer"
) -> CodeFacts:
    return CodeFacts(file=file, auto_map={key: (f"own.{name}",)}, class_name=name)


@pytest.mark.parametrize("release", ["0.32.0", "0.33.0"])
@pytest.mark.parametrize(("model_type", "architecture", "keys", "word"), WITH_CODE)
def test_a_published_model_needs_its_code_only_for_what_nobody_else_knows(
    model_type: str, architecture: str, keys: tuple[str, ...], word: str | None, release: str
) -> None:
    auto_map = {key: f"own.{key}" for key in keys}
    config = {"architectures": [architecture], "model_type": model_type, "auto_map": auto_map}
    code = CodeFacts(file="config.json", auto_map={key: (name,) for key, name in auto_map.items()})
    reason = needed(code, config=config, release=release)
    assert (reason is None) == (word is None), reason
    assert word is None or word in str(reason)


def test_an_auto_map_beside_a_known_type_and_class_is_no_need() -> None:
    assert needed(OF_CONFIG) is None


def test_a_class_that_vllm_lacks_is_a_need() -> None:
    config = {**LLAMA_8B, "architectures": ["OwnForCausalLM"], "auto_map": {"AutoModelForCausalLM": "m.Own"}}
    assert "has a class for OwnForCausalLM" in str(needed(OF_CONFIG, config=config))


def test_without_a_name_of_a_class_the_type_decides() -> None:
    config = {key: value for key, value in LLAMA_8B.items() if key != "architectures"}
    auto_map = {"auto_map": {"AutoConfig": "own.Config"}}
    assert needed(OF_CONFIG, config={**config, **auto_map}) is None
    assert "knows the model type `own`" in str(needed(OF_CONFIG, config={**config, "model_type": "own", **auto_map}))


@pytest.mark.parametrize(
    ("name", "files", "config", "word"),
    [
        ("OwnTokenizer", (), LLAMA_8B, "own.OwnTokenizer` (`auto_map` in tokenizer_config.json)"),
        # The general class reads this one, for a type that transformers makes tokenizers for.
        ("OwnTokenizer", ("tokenizer.json",), {**LLAMA_8B, "model_type": "qwen2"}, None),
        ("OwnTokenizer", ("tokenizer.model",), {**LLAMA_8B, "model_type": "qwen2"}, "own.OwnTokenizer"),
        ("OwnTokenizer", ("tokenizer.json",), LLAMA_8B, "own.OwnTokenizer"),
        ("OwnTokenizer", ("tokenizer.json",), {**LLAMA_8B, "model_type": "nemotron_h"}, "own.OwnTokenizer"),
        ("LlamaTokenizerFast", (), LLAMA_8B, None),
        ("Qwen2Tokenizer", (), {**LLAMA_8B, "model_type": "nemotron_h"}, None),
    ],
)
def test_a_tokenizer_that_brings_code_is_a_case_of_its_own(
    name: str, files: tuple[str, ...], config: dict[str, Any], word: str | None
) -> None:
    reason = needed(of_tokenizer(name), tokenizers=files, config=config)
    assert (reason is None) == (word is None), reason
    assert word is None or word in str(reason)


def test_vllm_s_own_tokenizer_reads_none_of_the_repository_s() -> None:
    assert needed(of_tokenizer(), tokenizers=("tekken.json",)) is None
    assert needed(of_tokenizer(), spec=service(**{"tokenizer-mode": "mistral"})) is None


def test_a_processor_counts_only_where_there_are_images() -> None:
    own = of_tokenizer("OwnProcessor", "preprocessor_config.json", "AutoProcessor")
    assert needed(own) is None
    images = {"architectures": ["KimiVLForConditionalGeneration"], "model_type": "kimi_vl"}
    assert "preprocessor_config.json" in str(needed(own, config=images))
    assert needed(of_tokenizer("KimiK25Processor", "processor_config.json", "AutoProcessor"), config=images) is None
    known = {"architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl"}
    assert needed(own, config=known) is None


@pytest.mark.parametrize("odd", [None, 5, [], {}, ["x"]])
def test_an_odd_model_type_is_one_that_nobody_knows(odd: Any) -> None:
    config = {**LLAMA_8B, "model_type": odd}
    assert needed(of_tokenizer(), tokenizers=("tokenizer.json",), config=config) is not None


def test_a_lock_that_only_says_that_there_is_code_counts_as_a_need() -> None:
    assert "not for what" in str(needed(remote_code=True))


def compiled(policy: str, engine_args: dict[str, Any] | None = None, **facts: Any) -> Plan | None:
    spec, lock = stack({"own/m": None}, facts={"own/m": facts}, engine_args=engine_args or {})
    spec = spec.model_copy(update={"policy": spec.policy.model_copy(update={"trust_remote_code": policy})})
    solution = attempt(spec, lock, pinned(RELEASE))
    document, _ = load_document(SourceText("x.yaml", "stack: x"))
    assert document is not None
    return lower_plan(SpecFile(spec, document), solution, pinned(RELEASE)) if isinstance(solution, Solution) else None


def trusts(plan: Plan) -> bool:
    return any(argument.flag == "--trust-remote-code" for argument in plan.services[0].arguments)


def test_allowing_code_does_not_run_it_where_nothing_needs_it() -> None:
    for policy in ("deny", "allow"):
        plan = compiled(policy, code=(OF_CONFIG,), remote_code=True)
        assert plan is not None
        assert not trusts(plan)


def test_what_needs_code_runs_it_only_where_the_policy_allows() -> None:
    assert compiled("deny", code=(of_tokenizer(),)) is None
    plan = compiled("allow", code=(of_tokenizer(),))
    assert plan is not None
    assert trusts(plan)


@pytest.mark.parametrize("given", [{}, {"load-format": "auto"}, {"load-format": "safetensors"}])
def test_the_plan_names_each_format_once(given: dict[str, Any]) -> None:
    weights = (WeightFile(path="model.safetensors"),)
    second: dict[str, Any] = {"consolidated": ("consolidated.safetensors",), "tokenizers": ("tekken.json",)}
    plan = compiled("deny", given, chat_template=None, weights=weights, **second)
    assert plan is not None
    found = [(argument.flag, argument.value) for argument in plan.services[0].arguments]
    for name, value in (("--config-format", "hf"), ("--load-format", "safetensors"), ("--tokenizer-mode", "mistral")):
        assert [each for flag, each in found if flag == name] == [value]


LOCK = """
schema: 1
services:
  chat: {{model: own/m, quantization: ["none"], candidates: ["own/m"]}}
models:
  own/m:
    source: https://huggingface.co
    commit: {commit}
    license: mit
    chat_template: tokenizer_config.json
    remote_code: true
{code}    config: {config}
    unconfirmed: ["files", "tensors"]
"""


@pytest.mark.parametrize(
    ("code", "warned"),
    [("", True), ('    code: [{"file": "config.json", "auto_map": {"AutoConfig": ["c.C"]}}]\n', False)],
)
def test_an_older_lock_still_works_and_says_what_it_lacks(tmp_path: Path, code: str, warned: bool) -> None:
    config = str({**LLAMA_8B, "auto_map": {"AutoConfig": "c.C"}}).replace("'", '"').replace("False", "false")
    spec = tmp_path / "x.yaml"
    spec.write_text(
        "stack: x\nengine: {vllm: 0.33.0}\nnodes: {n: {gpus: {model: h100-80gb}}}\n"
        "services: {chat: {model: own/m, quantization: none, context: 8K, port: 8000}}\n"
    )
    (tmp_path / "x.lock.yaml").write_text(LOCK.format(commit=f'"{COMMIT}"', code=code, config=config))
    stack, found = compile_stack(spec, "x.yaml")
    assert stack is not None, found
    assert not trusts(stack.plan)
    assert ("W0306" in {diagnostic.code for diagnostic in found}) == warned
