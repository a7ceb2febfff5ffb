"""Which variant is served: the best quality that fits, among what the lock found."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compiler.cli.lock import lock_spec
from compiler.memory.architecture import read_architecture
from compiler.memory.tensors import expected_tensors
from compiler.pipeline import compile_stack
from compiler.plan.ir import Basis, Plan
from compiler.resolve.hub import Hub
from tests.hub.builders import header
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
    assert service.dtype == "bfloat16"


def test_auto_serves_4_bits_where_16_do_not_fit(tmp_path: Path, hub: LoopbackHub) -> None:
    service = plan(tmp_path, hub, {"model": "t4"}, quantization="auto").services[0]
    assert service.model.repository == "Qwen/Qwen2.5-7B-Instruct-AWQ"
    assert service.dtype == "float16", "Turing has no bfloat16"


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
