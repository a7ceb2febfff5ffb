"""Several engines in a spec: which of them runs a service, and that each service is judged by its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any, get_args

import pytest

from compiler.checks.stack import check_spec
from compiler.diagnostics import Diagnostic, SourceText
from compiler.engines.registry import ENGINES
from compiler.schemas.documents import schema_of
from compiler.solve.solve import apply_edits
from compiler.spec.engines import EngineName
from compiler.spec.models import Spec
from compiler.spec.reading.load import load_spec
from compiler.spec.services import ServiceSpec

BOTH = {"vllm": "0.33.0", "llama.cpp": "b10434"}
LLAMA = {"engine": "llama.cpp", "model": "org/name-GGUF"}


def data_of(service: dict[str, Any], engine: dict[str, Any] | None = None, **node: Any) -> dict[str, Any]:
    chat = {"model": "Qwen/Qwen3-8B", "context": "4K", "port": 8000} | service
    nodes = {"pc": {"gpus": {"model": "rtx-4090"}} | node}
    return {"stack": "it", "engine": engine or BOTH, "nodes": nodes, "services": {"chat": chat}}


def found(data: dict[str, Any], *, without: str = "") -> list[Diagnostic]:
    file, problems = load_spec(SourceText("it.yaml", json.dumps(data)), ENGINES)
    return [each for each in (problems if file is None else check_spec(file, ENGINES)) if each.code != without]


def mended(data: dict[str, Any], finding: Diagnostic) -> list[dict[str, Any]]:
    return [apply_edits(data, help_.edits) for help_ in finding.helps if help_.edits]


@pytest.mark.parametrize("named", [BOTH, dict(reversed(BOTH.items())), {"llama.cpp": {"release": "b10434"}}])
def test_a_service_runs_on_the_engine_that_the_spec_names_first(named: dict[str, Any]) -> None:
    first, *_ = named
    assert Spec.model_validate(data_of({}, named)).services["chat"].engine == first
    for engine in ENGINES:
        assert Spec.model_validate(data_of({"engine": engine}, named)).services["chat"].engine == engine


@pytest.mark.parametrize("model", ["org/name-GGUF", "org/name-gguf", "/srv/models/name.gguf"])
def test_a_model_whose_name_says_gguf_runs_on_llama_cpp_where_it_is_pinned(model: str) -> None:
    engines = ({"vllm": "0.32.0", "llama.cpp": "b10434"}, {"vllm": "0.32.0"})
    chosen = [Spec.model_validate(data_of({"model": model}, engine)).services["chat"].engine for engine in engines]
    assert chosen == ["llama.cpp", "vllm"]
    said = data_of({"model": model, "engine": "vllm"}, engines[0])
    assert Spec.model_validate(said).services["chat"].engine == "vllm"


def test_a_candidate_runs_on_the_engine_of_the_service_that_it_may_replace() -> None:
    rollout = {"strategy": "canary", "candidate": {"port": 8001}}
    services = Spec.model_validate(data_of(LLAMA | {"rollout": rollout})).services
    assert {service.engine for service in services.values()} == {"llama.cpp"}


def test_every_engine_that_a_spec_may_name_is_registered_by_its_name() -> None:
    assert tuple(ENGINES) == get_args(EngineName)
    assert all(engine.name == name for name, engine in ENGINES.items())


def test_an_engine_that_is_not_asked_for_is_not_imported() -> None:
    """Completion and help would wait for tables of an engine that no spec names."""
    code = "import sys; from compiler.engines.registry import ENGINES; list(ENGINES); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "compiler.engines.registry" in modules
    assert not [name for name in modules if name.startswith(("compiler.engines.vllm", "compiler.engines.llama_cpp"))]


def test_a_pinned_engine_that_runs_nothing_is_no_fault() -> None:
    assert not found(data_of({}))


@pytest.mark.parametrize("model", ["org/name-GGUF", "/srv/models/name.gguf", "/srv/models/name"])
def test_a_service_on_llama_cpp_has_its_own_keys_and_words(model: str) -> None:
    service = LLAMA | {"model": model, "quantization": ["Q4_K_M", "IQ4_XS"], "kv_cache_dtype": "q8_0"}
    assert not found(data_of(service | {"gpu_layers": "all", "cpu_moe": 8}, memory="64GiB"))


def test_an_engine_that_is_not_pinned_leads_to_one_that_is() -> None:
    data = data_of({"engine": "llama.cpp"}, {"vllm": "0.33.0"})
    (one,) = found(data)
    assert one.code == "E0208"
    assert [found(each) for each in mended(data, one)] == [[]]
    (one,) = found(data_of({"engine": "vllm"}, {"llama.cpp": "b10434"}))
    assert not any(help_.edits for help_ in one.helps), "llama.cpp does not read such a model by its name"


@pytest.mark.parametrize("named", [{}, {"vllm": None}, {"llama.cpp": None}, {"llama.cpp": {}}, {"llama.cpp": 10434}])
def test_an_engine_without_a_release_is_told(named: dict[str, Any]) -> None:
    data = data_of({}) | {"engine": named}
    assert [each.code in ("E0202", "E0203") for each in found(data)] == [True]


@pytest.mark.parametrize(("key", "value"), [("gpu_layers", 20), ("gpu_layers", "all"), ("cpu_moe", 4)])
def test_a_key_of_llama_cpp_says_nothing_to_vllm(key: str, value: object) -> None:
    data = data_of({key: value})
    (one,) = found(data)
    assert (one.code, key in one.message) == ("E0201", True)
    assert [found(each) for each in mended(data, one)] == [[]]


@pytest.mark.parametrize("key", ["tensor_parallel_size", "pipeline_parallel_size", "expert_parallel", "score_tokens"])
def test_a_key_of_vllm_says_nothing_to_llama_cpp(key: str) -> None:
    value = {"expert_parallel": True, "score_tokens": ["no", "yes"]}.get(key, 1)
    one, *_ = found(data_of(LLAMA | {key: value}), without="E0208")
    assert one.message == f"llama.cpp has no `{key}`"


@pytest.mark.parametrize("value", [-1, 4097, True, "some", 1.5, None, [1]])
def test_layers_are_counted_or_left_to_the_solver(value: object) -> None:
    (one,) = found(data_of({"gpu_layers": value}))
    assert one.code == "E0203"


@pytest.mark.parametrize(
    ("service", "key", "wanted"),
    [
        ({}, "quantization", {"Q4_K_M": ["awq", "gptq"], "fp8": []}),
        ({}, "kv_cache_dtype", {"q8_0": ["fp8"], "f16": ["auto"], "auto": []}),
        (LLAMA, "quantization", {"q4_k_m": ["Q4_K_M"], "UD-Q4_K_XL": ["Q4_K_M"], "8bit": ["Q8_0"], "Q4_K_M": []}),
        (LLAMA, "kv_cache_dtype", {"fp8": ["q8_0"], "int8": ["q8_0"], "fp16": ["f16"], "q8_0": []}),
    ],
)
def test_a_word_is_one_of_the_engine_that_runs_the_service(
    service: dict[str, Any], key: str, wanted: dict[str, list[str]]
) -> None:
    """What one engine reads, the other would refuse when it starts."""
    for word, instead in wanted.items():
        told = found(data_of(service | {key: word}), without="E0208")
        assert [each.code for each in told] == ["E0203"] * bool(instead), word
        assert [edit.value for each in told for help_ in each.helps for edit in help_.edits] == instead


@pytest.mark.parametrize(
    ("service", "key", "said"),
    [
        ({}, "ngl", "all layers are on the GPUs"), ({}, "enforce-eager", "vllm serve"),
        (LLAMA, "ngl", "gpu_layers"), (LLAMA, "n-cpu-moe", "cpu_moe"), (LLAMA, "cache_type_k", "q8_0"),
    ],
)  # fmt: skip
def test_a_key_of_another_tool_is_answered_by_the_engine_of_its_service(
    service: dict[str, Any], key: str, said: str
) -> None:
    (one,) = found(data_of(service | {key: 1}))
    assert one.code == "E0201"
    assert said in " ".join((*one.notes, *(help_.text for help_ in one.helps)))


def test_main_memory_beside_gpus_is_for_an_engine_that_keeps_layers_there() -> None:
    assert not found(data_of({}, memory="64GiB"))
    for data in (data_of({}, {"vllm": "0.33.0"}, memory="64GiB"), data_of({}, {"vllm": "0.32.0"}, memory="64GiB")):
        if data["engine"]["vllm"] == "0.32.0":
            data["nodes"]["pc"] = {"cpu": {"memory": "32GiB"}, "memory": "64GiB"}
        (one,) = found(data)
        assert one.code == "E0207"
        assert [found(each) for each in mended(data, one)] == [[]]


def test_an_image_of_llama_cpp_is_of_a_container() -> None:
    data = data_of({}, {"vllm": "0.33.0", "llama.cpp": {"release": "b10434", "image": "a/b:c"}})
    assert not found(data)
    (one,) = found(data | {"targets": ["scripts"]})
    assert (one.code, one.message.split("`")[1]) == ("E0214", "engine.llama.cpp.image")


@pytest.mark.parametrize("name", ["ollama:qwen3:8b", "ollama:qwen3", "ollama://library/qwen3:8b", "qwen3:8b"])
def test_a_model_of_ollama_is_looked_for_on_the_hub(name: str) -> None:
    (one,) = found(data_of(LLAMA | {"model": name}))
    assert one.code == "E0203"
    assert "search=qwen3" in one.helps[0].text.lower()


def test_a_file_of_llama_cpp_is_no_model_for_vllm() -> None:
    data = data_of({"model": "/srv/models/name.GGUF", "quantization": "awq", "max_num_seqs": 8}, {"vllm": "0.33.0"})
    (one,) = found(data)
    assert (one.code, "GGUF" in one.message) == ("E0203", True)
    (other,) = mended(data, one)
    assert not found(other)
    assert other["engine"] == BOTH
    assert other["services"]["chat"].keys() == {"model", "context", "port", "engine"}


def test_builds_in_which_a_file_runs_code_are_told_by_their_number() -> None:
    for build, is_unsafe in (("b8145", True), ("8000", True), ("b8146", False), ("b9999", False), ("master", False)):
        (one,) = found(data_of(LLAMA, {"llama.cpp": build}))
        assert (one.code, any("CVE-2025-53630" in note for note in one.notes)) == ("E0208", is_unsafe)


def test_another_makers_card_is_told_what_is_proved() -> None:
    for model, is_known in (("apple-m4-max", True), ("rx-7900-xtx", True), ("arc-b580", True), ("rtx-9090", False)):
        (one,) = found(data_of({}, gpus={"model": model}))
        assert (one.code, "another maker" in one.notes[0]) == ("E0206", is_known)


@pytest.mark.parametrize("engine", ENGINES)
def test_editors_know_every_word_and_every_key_of_an_engine(engine: str) -> None:
    schema = schema_of("spec")["$defs"]["ServiceSpec"]["properties"]
    for key, words in ENGINES[engine].words.items():
        suggested = next(each["enum"] for each in schema[key]["anyOf"] if "enum" in each)
        pattern = next(each["pattern"] for each in schema[key]["anyOf"] if "pattern" in each)
        assert all(re.fullmatch(pattern.strip("^$"), word) for word in words.known)
        assert (engine == "llama.cpp" and key == "quantization") or set(words.known) <= set(suggested)
        assert all(word in words.known for _, instead, _ in words.others for word in instead)
    assert ENGINES[engine].keys <= ServiceSpec.model_fields.keys()
