"""Which variant is served, and why not the others: the best quality that fits, among what the lock found."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.linear import dtype_bytes
from compiler.checkpoints.parameters.tensors import expected_tensors
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.cli.main import cli
from compiler.cli.run.lock import lock_spec
from compiler.pipeline import compile_stack
from compiler.plan.ir import Basis, Plan
from compiler.resolve.transport.hub import Hub
from tests.conftest import WIDE
from tests.hub.builders import AWQ, FP8, GPTQ, header, repository
from tests.hub.recordings import Recording
from tests.hub.server import LoopbackHub, serve


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with serve() as server:
        yield server


def plan(folder: Path, hub: LoopbackHub, gpus: dict[str, Any], **service: Any) -> Plan:
    asked = {"model": "Qwen/Qwen2.5-7B-Instruct", "context": "8K", "port": 8000} | service
    spec = {
        "stack": "choice", "engine": {"vllm": "0.33.0"}, "nodes": {"n": {"gpus": gpus}}, "services": {"chat": asked},
        "policy": {"publishers": ["Qwen"]},
    }  # fmt: skip
    path = folder / "choice.yaml"
    path.write_text(json.dumps(spec))
    found, _ = lock_spec(path, "choice.yaml", Hub(hub.url))
    assert not found
    compiled, found = compile_stack(path, "choice.yaml")
    assert compiled is not None, found
    return compiled.plan


def test_auto_serves_16_bits_where_they_fit(tmp_path: Path, hub: LoopbackHub) -> None:
    service = plan(tmp_path, hub, {"model": "a10"}, quantization="auto").services[0]
    assert service.model.repository == "Qwen/Qwen2.5-7B-Instruct"
    assert service.figures["dtype"] == "bfloat16"


def test_auto_serves_4_bits_where_16_do_not_fit(tmp_path: Path, hub: LoopbackHub) -> None:
    service = plan(tmp_path, hub, {"model": "t4"}, quantization="auto").services[0]
    assert service.model.repository == "Qwen/Qwen2.5-7B-Instruct-AWQ"
    assert service.figures["dtype"] == "float16", "Turing has no bfloat16"


def test_a_list_is_an_order_of_preference(tmp_path: Path, hub: LoopbackHub) -> None:
    service = plan(tmp_path, hub, {"model": "h100-80gb"}, quantization=["awq", "none"]).services[0]
    assert service.model.quantization == "awq"


def test_a_model_too_large_for_one_gpu_is_split_over_two(tmp_path: Path, hub: LoopbackHub) -> None:
    gpus = {"model": "a100-80gb", "count": 2}
    model = "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"
    made = plan(tmp_path, hub, gpus, model=model, quantization="none")
    assert made.services[0].devices == (0, 1)
    flags = {argument.flag: argument.value for argument in made.services[0].arguments}
    assert flags["--tensor-parallel-size"] == "2"
    weights = [row.bytes.high for device in made.devices for row in device.servers[0].rows if row.title == "weights"]
    assert weights == [70_555_025_408, 70_555_025_408]


def test_a_local_folder_is_served_as_it_lies_there(tmp_path: Path, hub: LoopbackHub) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 512, "intermediate_size": 1024,
        "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 1000,
        "max_position_embeddings": 8192, "torch_dtype": "bfloat16",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    derived = expected_tensors(read_architecture(config), None)
    each = {
        kind.name.replace("*", str(number)): (kind.dtype, list(kind.shape), 2 * math.prod(kind.shape))
        for kind in derived
        for number in range(kind.count)
    }
    data = header(each)
    (folder / "model.safetensors").write_bytes(data)
    os.truncate(folder / "model.safetensors", len(data) + sum(size for _, _, size in each.values()))
    made = plan(tmp_path, hub, {"model": "t4"}, model=str(folder), quantization="none")
    assert made.services[0].model.folder == str(folder)
    assert made.services[0].model.repository is None
    (weights,) = [row for row in made.devices[0].servers[0].rows if row.title == "weights"]
    assert weights.basis is Basis.EXACT, "headers were read"
    assert weights.bytes.high == sum(size for _, _, size in each.values()) + 2 * 2 * 24 * 512, "two tables are padded"


LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 131072, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
MODEL = "example/llama"


def checkpoint(name: str, block: dict[str, Any] | None = None, **changes: Any) -> Recording:
    """A repository whose headers hold what its quantization block implies; a few tensors where nobody knows."""
    config = LLAMA_8B | ({} if block is None else {"quantization_config": block})
    related = {} if block is None else {"base_model": MODEL, "base_relation": "quantized"}
    try:
        quantization = read_quantization(block["quant_method"] if block else None, block)
    except ConfigError:
        return repository(name, config, **related | changes)
    tensors = {
        kind.name.replace("*", str(number)): (
            kind.dtype, list(kind.shape), dtype_bytes(kind.dtype) * math.prod(kind.shape),
        )
        for kind in expected_tensors(read_architecture(config), quantization)
        for number in range(kind.count)
    }  # fmt: skip
    data = header(tensors)
    size = len(data) + sum(size for _, _, size in tensors.values())
    contents, sizes = {"model.safetensors": data}, {"model.safetensors": size}
    return repository(name, config, **related | {"contents": contents, "sizes": sizes} | changes)


MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}


@cache
def servable() -> tuple[Recording, ...]:
    """A model in 16 bits and quantized in three ways. Tests that need none of them do not wait for their headers."""
    return (
        checkpoint(MODEL),
        checkpoint("example/llama-FP8", FP8),
        checkpoint("example/llama-AWQ", AWQ),
        checkpoint("example/llama-GPTQ", GPTQ),
    )


# What no card serves, or no Turing card, with the reason in the table.
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "example/mx": (MXFP4, "E0308", "MXFP4 needs compute capability 8.0, this GPU has 7.5"),
    "example/asymmetric": (GPTQ | {"sym": False}, "E0308", "asymmetric GPTQ"),
    "example/act-order": (GPTQ | {"desc_act": True}, "E0308", "activation ordering over groups"),
    "example/awq-3": (AWQ | {"bits": 3}, "E0308", "AWQ is served with 4 bits only, this checkpoint has 3"),
    "example/hqq": ({"quant_method": "hqq"}, "E0308", "does not know the quantization method `hqq`"),
    "example/exl2": ({"quant_method": "exl2", "bits": 6.5}, "E0308", "does not know the quantization method `exl2`"),
    "example/bnb": ({"quant_method": "bitsandbytes"}, "E0308", "only with the plugin vllm-bnb-plugin"),
    "example/fbgemm": ({"quant_method": "fbgemm_fp8"}, "E0308", "without `--allow-deprecated-quantization`"),
    "example/quark": ({"quant_method": "quark"}, "E0307", "no layout that stackc knows"),
}


@cache
def refused() -> tuple[Recording, ...]:
    """Repositories of all these."""
    return tuple(checkpoint(name, block) for name, (block, _, _) in REFUSED.items())


def explained(folder: Path, recordings: Iterable[Recording], gpus: dict[str, Any], **service: Any) -> dict[str, Any]:
    """What `stackc explain` says of a service, as JSON."""
    asked = {"model": MODEL, "context": "8K", "port": 8000} | service
    spec = {
        "stack": "choice", "engine": {"vllm": "0.33.0"}, "nodes": {"n": {"gpus": gpus}}, "services": {"chat": asked},
        "policy": {"publishers": ["trusted"], "licenses": ["apache-2.0"]},
    }  # fmt: skip
    path = folder / "choice.yaml"
    path.write_text(json.dumps(spec))
    with serve(recordings) as server:
        found, _ = lock_spec(path, "choice.yaml", Hub(server.url))
    assert not found
    result = CliRunner().invoke(cli, ["explain", f"{path}:chat", "--format", "json"])
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def table(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["candidate"]: row for row in answer["candidates"]["chat"]}


def chosen(answer: dict[str, Any]) -> str:
    (name,) = [row["candidate"] for row in answer["candidates"]["chat"] if row["standing"] == "chosen"]
    assert answer["plan"]["services"][0]["model"]["repository"] == name
    return str(name)


@pytest.mark.parametrize(
    ("memory", "capability", "served"),
    [
        ("22.01GiB", "8.9", "example/llama"),
        ("22.01GiB", "7.5", "example/llama"),
        ("16.01GiB", "8.9", "example/llama-FP8"),
        ("16.01GiB", "12.0", "example/llama-FP8"),
        ("16.01GiB", "8.6", "example/llama-FP8"),  # weight-only
        ("16.01GiB", "7.5", "example/llama-FP8"),
        ("11.01GiB", "8.9", "example/llama-AWQ"),
        ("11.01GiB", "7.5", "example/llama-AWQ"),
    ],
)
def test_auto_serves_the_most_bits_that_fit(tmp_path: Path, memory: str, capability: str, served: str) -> None:
    answer = explained(tmp_path, servable(), {"memory": memory, "compute_capability": capability})
    assert chosen(answer) == served
    rows = answer["candidates"]["chat"]
    names = [recording.repo for recording in servable()]
    assert [row["candidate"] for row in rows] == [served, *(name for name in names if name != served)]
    for row in rows[1:]:
        assert row["standing"] == "not chosen"
        too_large = names.index(row["candidate"]) < names.index(served)
        assert (row["short_bytes"] is not None) == too_large, row
        assert ("not fit" in row["reason"]) == too_large, row


def test_what_does_not_fit_says_by_how_many_bytes(tmp_path: Path) -> None:
    gpus = {"memory": "16.01GiB", "compute_capability": "8.9"}
    row = table(explained(tmp_path, servable(), gpus))[MODEL]
    alone = explained(tmp_path, servable(), gpus, quantization="none")
    (error,) = alone["diagnostics"]
    assert error["code"] == "E0401"
    assert any(f"({row['short_bytes']} bytes) short" in note for note in error["notes"])


def test_fp8_is_weight_only_before_ada(tmp_path: Path) -> None:
    for capability, unpacked in (("8.9", False), ("8.6", True)):
        answer = explained(tmp_path, servable(), {"memory": "16.01GiB", "compute_capability": capability})
        assert ("unpacked here" in table(answer)["example/llama-FP8"]["reason"]) == unpacked


def test_every_refusal_has_its_reason_in_the_table(tmp_path: Path) -> None:
    answer = explained(tmp_path, (*servable(), *refused()), {"model": "t4"})
    assert chosen(answer) == "example/llama-FP8"
    rows = table(answer)
    for name, (_, code, reason) in REFUSED.items():
        assert rows[name]["standing"] == "refused"
        assert rows[name]["code"] == code
        assert reason in rows[name]["reason"]


def test_gptq_with_activation_ordering_and_no_groups_is_served(tmp_path: Path) -> None:
    ordered = checkpoint("example/ordered", GPTQ | {"desc_act": True, "group_size": -1})
    answer = explained(tmp_path, (checkpoint(MODEL), ordered), {"model": "t4"})
    assert chosen(answer) == "example/ordered"


def test_the_model_s_own_publisher_comes_before_a_trusted_one(tmp_path: Path) -> None:
    trusted = checkpoint("trusted/a-llama-AWQ", AWQ)
    answer = explained(tmp_path, (*servable(), trusted), {"model": "t4"}, quantization="awq")
    assert chosen(answer) == "example/llama-AWQ"
    assert table(answer)["trusted/a-llama-AWQ"]["reason"] == "example comes before trusted"


def test_the_order_of_the_spec_comes_before_quality(tmp_path: Path) -> None:
    answer = explained(tmp_path, servable(), {"model": "h100-80gb"}, quantization=["gptq", "fp8"])
    assert chosen(answer) == "example/llama-GPTQ"
    assert table(answer)["example/llama-FP8"]["reason"] == "the spec asks for gptq before fp8"


def test_a_stack_that_does_not_compile_has_a_table_too(tmp_path: Path) -> None:
    licensed = checkpoint("example/licensed", AWQ, license="cc-by-nc-4.0")
    answer = explained(tmp_path, (checkpoint(MODEL), licensed, *refused()), {"model": "t4"}, task="chat")
    assert not answer["ok"]
    assert "plan" not in answer
    rows = table(answer)
    assert "not fit" in rows[MODEL]["reason"]
    assert rows["example/licensed"]["code"] == "E0305"
    text = CliRunner().invoke(cli, ["explain", f"{tmp_path / 'choice.yaml'}:chat"], env=WIDE)
    assert text.exit_code == 1
    assert "chat: does not compile\n  candidates:\n    not chosen  example/llama (none): it does not fit" in text.stdout
    assert f"refused     example/licensed (awq): {rows['example/licensed']['reason']} [E0305]" in text.stdout


def test_where_nothing_may_be_served_each_cause_is_one_error_with_all_reasons(tmp_path: Path) -> None:
    licensed = checkpoint("example/licensed", AWQ, license="cc-by-nc-4.0")
    plain = checkpoint(MODEL)
    answer = explained(
        tmp_path, (plain, licensed, *refused()), {"model": "t4"},
        quantization=["awq", "gptq"],
    )  # fmt: skip
    by_code = {error["code"]: error for error in answer["diagnostics"]}
    assert by_code.keys() == {"E0305", "E0308"}
    assert by_code["E0305"]["message"].startswith("the policy does not allow `example/licensed`")
    assert by_code["E0308"]["message"] == "3 candidates of service `chat` cannot run here"
    for name in ("example/asymmetric", "example/act-order", "example/awq-3"):
        assert any(f"`{name}`" in note and REFUSED[name][2] in note for note in by_code["E0308"]["notes"])
