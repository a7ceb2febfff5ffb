"""Words of other tools, and one error for one fault."""

from __future__ import annotations

import json

import pytest

from compiler.checks.stack import check_spec
from compiler.diagnostics import Diagnostic, SourceText
from compiler.engines.registry import ENGINES
from compiler.solve.solve import apply_edits
from compiler.spec.reading.foreign_keys import TABLE
from compiler.spec.reading.load import load_spec
from compiler.spec.reading.model_names import model_advice

CHAT = {"model": "Qwen/Qwen3-8B", "context": "4K", "port": 8000}


def data_of(service: dict[str, object] | None = None, **more: object) -> dict[str, object]:
    base = {"stack": "it", "engine": {"vllm": "0.33.0"}, "nodes": {"pc": {"gpus": {"model": "rtx-4090", "count": 2}}}}
    return base | {"services": {"chat": CHAT | (service or {})}} | more


def found(data: dict[str, object], text: str | None = None) -> tuple[Diagnostic, ...]:
    file, problems = load_spec(SourceText("it.yaml", text or json.dumps(data)), ENGINES)
    return problems if file is None else check_spec(file, ENGINES)


def words(diagnostic: Diagnostic) -> str:
    return " ".join((*diagnostic.notes, *(help_.text for help_ in diagnostic.helps)))


@pytest.mark.parametrize("record", TABLE)
def test_the_table_leads_to_keys_that_there_are_and_from_none(record: type) -> None:
    fields = [field.alias or name for name, field in record.model_fields.items()]  # type: ignore[attr-defined]
    own = {name.replace("_", "") for name in fields}
    assert not own & TABLE[record].keys()
    assert all(foreign.key is None or foreign.key in fields for foreign in TABLE[record].values())


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("tp", 2, "tensor_parallel_size"), ("tensor_parallel", 2, "tensor_parallel_size"),
        ("num-shard", 2, "tensor_parallel_size"), ("served_model_name", "x", "served_name"),
        ("alias", "x", "served_name"),
        ("--max-running-requests", 4, "concurrency"), ("quantize", "awq", "quantization"),
        ("maxBatchSize", 8, "max_num_seqs"), ("hostname", "127.0.0.1", "host"),
        ("num_replicas", 2, "replicas"), ("dp", 2, "replicas"),
    ],
)  # fmt: skip
def test_a_key_of_another_tool_becomes_the_specs_own(key: str, value: object, wanted: str) -> None:
    data = data_of({key: value})
    (one,) = found(data)
    assert (one.code, len(one.helps)) == ("E0201", 1)
    assert wanted in one.helps[0].text
    changed = apply_edits(data, one.helps[0].edits)
    assert changed["services"]["chat"][wanted] == value
    assert not found(changed)


@pytest.mark.parametrize("key", ["max_model_len", "num_ctx", "ctx_size", "n_ctx", "context-length", "max_total_tokens"])
def test_a_context_by_another_name_is_one_error_and_not_a_missing_one_too(key: str) -> None:
    data = data_of(services={"chat": {"model": "Qwen/Qwen3-8B", "port": 8000, key: 4096}})
    (one,) = found(data)
    assert one.code == "E0201"
    assert not found(apply_edits(data, one.helps[0].edits))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("gpu_memory_utilization", 0.9, "output of the ledger"), ("mem_fraction_static", 0.9, "output of the ledger"),
        ("n_gpu_layers", 99, "all layers"), ("gpu", 0, "gpus: [0]"),
        ("environment", {}, "patches"), ("api_key", "x", "secrets"), ("temperature", 0.1, "each request"),
        ("keep_alive", -1, "until it is stopped"), ("trust_remote_code", True, "policy"),
        ("dtype", "half", "checkpoint"),
        ("swap_space", 4, "known keys"),
    ],
)  # fmt: skip
def test_a_key_that_has_no_counterpart_is_told_what_holds_instead(key: str, value: object, said: str) -> None:
    (one,) = found(data_of({key: value}))
    assert one.code == "E0201"
    assert said in words(one)


def test_an_option_of_the_engine_moves_to_its_arguments() -> None:
    data = data_of({"enforce-eager": True})
    (one,) = found(data)
    changed = apply_edits(data, one.helps[0].edits)
    assert changed["services"]["chat"]["engine_args"] == {"enforce-eager": True}
    assert not found(changed)


def test_a_value_that_the_key_does_not_take_is_not_moved() -> None:
    (one,) = found(data_of({"tp": "two"}))
    assert one.helps
    assert not one.helps[0].edits


def test_services_by_another_name_are_one_error() -> None:
    data = data_of()
    data["service"] = data.pop("services")
    (one,) = found(data)
    assert one.message == "unknown key `service`"


def test_a_misspelled_key_is_not_missing_too() -> None:
    (one,) = found(data_of(services={"chat": {"model": "Qwen/Qwen3-8B", "port": 8000, "contxt": "4K"}}))
    assert one.message == "unknown key `contxt`"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("podman", "quadlet"), ("docker-compose", "compose"), ("Docker", "compose"), ("script", "scripts")]
)  # fmt: skip
def test_a_target_by_another_name_is_one_error(given: str, wanted: str) -> None:
    for targets in ([given], given):
        data = data_of(targets=targets)
        (one,) = found(data)
        assert one.code == "E0203"
        assert apply_edits(data, one.helps[0].edits)["targets"] == [wanted]


def test_no_targets_at_all_are_told_as_that() -> None:
    assert [one.message for one in found(data_of(targets=[]))] == ["`targets` must not be empty"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("int4", ["awq", "gptq"]), ("4bit", ["awq", "gptq"]), (4, ["awq", "gptq"]), ("W4A16", ["awq", "gptq"]),
        ("Q4_K_M", ["awq", "gptq"]), ("IQ2_XXS", ["awq", "gptq"]), ("Q8_0", ["int8", "fp8"]),
        ("8-bit", ["int8", "fp8"]),
        ("bf16", ["none"]), ("fp8_e4m3", ["fp8"]), ("nvfp4", ["auto"]), ("gptqs", ["gptq"]), ("int3", []), ("xyz", []),
    ],
)  # fmt: skip
def test_a_quantization_by_another_name(given: object, wanted: list[str]) -> None:
    for value in (given, [given]):
        data = data_of({"quantization": value})
        (one,) = found(data)
        assert [edit.value for help_ in one.helps for edit in help_.edits] == wanted
        assert not any(found(apply_edits(data, help_.edits)) for help_ in one.helps)


@pytest.mark.parametrize(
    ("line", "path", "wanted"),
    [
        ("engine: {vllm: 0.33}", ("engine", "vllm"), "0.33.0"),
        ("nodes: {pc: {gpus: {model: 4090}}}", ("nodes", "pc", "gpus", "model"), "rtx-4090"),
        ("nodes: {pc: {gpus: {memory: 23.5GiB, compute_capability: 8.9}}}",
         ("nodes", "pc", "gpus", "compute_capability"), "8.9"),
        ("nodes: {pc: {gpus: {memory: 23.5GiB, compute_capability: 10.0}}}",
         ("nodes", "pc", "gpus", "compute_capability"), "10.0"),
    ],
)  # fmt: skip
def test_a_number_that_is_meant_as_text_is_taken_from_the_file(line: str, path: tuple[str, ...], wanted: str) -> None:
    data = data_of()
    name = line.partition(":")[0]
    rest = {key: value for key, value in data.items() if key != name}
    text = "\n".join([*(f"{key}: {json.dumps(value)}" for key, value in rest.items()), line])
    (one,) = found({}, text)
    assert [(edit.path, edit.value) for edit in one.helps[0].edits] == [(path, wanted)]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("https://huggingface.co/Qwen/Qwen3-8B", "Qwen/Qwen3-8B"), ("hf.co/Qwen/Qwen3-8B/", "Qwen/Qwen3-8B"),
        ("https://www.huggingface.co/Qwen/Qwen3-8B/blob/main/config.json#L3", "Qwen/Qwen3-8B"),
        ("huggingface.co/models/Qwen/Qwen3-8B", "Qwen/Qwen3-8B"), ("hf://Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-8B:Q4_K_M", "Qwen/Qwen3-8B"), ("Qwen/Qwen3-8B@main", "Qwen/Qwen3-8B"), ("file:///srv/m", "/srv/m"),
    ],
)  # fmt: skip
def test_an_address_of_a_model_becomes_its_name(name: str, wanted: str) -> None:
    data = data_of({"model": name})
    (one,) = found(data)
    changed = apply_edits(data, one.helps[0].edits)
    assert changed["services"]["chat"]["model"] == wanted
    assert not found(changed)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("qwen3:8b", "Ollama"), ("~/m", "`~`"), ("$HOME/m", "variables"), ("C:\\models\\x", "drives"),
        ("s3://a/b", "Hub"),
        ("https://example.org/a/b", "Hub"), ("./m", "path"), ("gpt2", "organisation/name"),
    ],
)  # fmt: skip
def test_a_name_that_is_no_model_is_told_why_without_a_guess(name: str, said: str) -> None:
    (one,) = found(data_of({"model": name}))
    assert said in one.message + words(one)
    assert not any(help_.edits for help_ in one.helps)


def test_advice_for_a_name_holds_no_more_than_it_was_given() -> None:
    assert model_advice("hf.co/", ("services", "chat", "model"))[1][0].edits == ()
    assert model_advice("https://hf.co/a/b c", ("services", "chat", "model"))[1][0].edits == ()


@pytest.mark.parametrize(("key", "other"), [("memory", "compute_capability"), ("compute_capability", "memory")])
def test_one_figure_of_a_card_asks_for_the_other(key: str, other: str) -> None:
    value = {"memory": "15.57GiB", "compute_capability": "8.9"}[key]
    (one,) = found(data_of(nodes={"pc": {"gpus": {key: value}}}))
    assert one.code == "E0206"
    assert f"`{other}` is missing" in one.message


def test_no_card_is_offered_where_none_was_named() -> None:
    data = data_of()
    del data["nodes"]
    for each in (data, data_of(nodes={"pc": {}}), data_of(nodes={"pc": {"gpus": {}}})):
        (one,) = found(each)
        assert "CARD" in words(one)
        assert "rtx-" not in words(one)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "203.0.113.7", "2001:db8::1", "gpu01.example.org", "192.168.1.4"])
def test_an_address_that_others_reach_needs_a_key(host: str) -> None:
    (one,) = [each for each in found(data_of({"host": host})) if each.code == "E0216"]
    assert any(edit.path == ("secrets", "api_key") for help_ in one.helps for edit in help_.edits)
    gateway = found(data_of(gateway={"port": 8080, "host": host}))
    assert "E0216" in [each.code for each in gateway]
