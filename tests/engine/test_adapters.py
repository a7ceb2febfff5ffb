"""Adapters as vLLM has them: the room that its own manager makes, and a server with two of them on this CPU."""

from __future__ import annotations

import http.client
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.memory.lora.adapters import AdapterSlots, slots_by_module
from compiler.engines.vllm.releases.adapters import adapter_class
from tests.adapter_files import write_adapter
from tests.engine.engine_process import GPU_RELEASE, engine_python, parser_environment
from tests.engine.stack import Stack, compile_services
from tests.engine.test_planner import QWEN3
from tests.unit.test_adapters import PHI3

pytestmark = pytest.mark.engine

TIED = {**QWEN3, "tie_word_embeddings": True}
GEMMA = {
    "architectures": ["GemmaForCausalLM"], "model_type": "gemma", "hidden_size": 1024, "intermediate_size": 4096,
    "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "vocab_size": 256000,
    "max_position_embeddings": 8192, "torch_dtype": "bfloat16", "rms_norm_eps": 1e-6,
}  # fmt: skip
ASKED = [
    (config, ranks, modules)
    for config in (QWEN3, TIED, PHI3, GEMMA)
    for ranks, modules in ((1, None), (2, None), (2, ("qkv_proj", "down_proj")))
]


def test_vllm_makes_the_room_that_the_ledger_counts(tmp_path: Path) -> None:
    """Each kind of layer, to the byte, on one rank and on one of two, with and without a choice of modules."""
    questions = [{"config": config, "arguments": arguments(ranks, modules)} for config, ranks, modules in ASKED]
    asked = subprocess.run(
        [engine_python(), Path(__file__).with_name("adapter_oracle.py")],
        input=json.dumps(questions), env=parser_environment(GPU_RELEASE) | {"VLLM_CACHE_ROOT": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr[-4000:]
    for (config, ranks, modules), answer in zip(ASKED, json.loads(asked.stdout.splitlines()[-1]), strict=True):
        assert answer.get("bytes") == ours(config, ranks, modules), (config["architectures"], ranks, modules, answer)


def arguments(ranks: int, modules: tuple[str, ...] | None) -> list[str]:
    chosen = [] if modules is None else ["--lora-target-modules", *modules]
    limits = ["--max-model-len", "128", "--max-num-seqs", "4", "--tensor-parallel-size", str(ranks)]
    return [*limits, "--max-lora-rank", "32", "--max-loras", "2", *chosen]


def ours(config: dict[str, Any], ranks: int, modules: tuple[str, ...] | None) -> dict[str, int]:
    architecture = read_architecture(config)
    found = adapter_class(GPU_RELEASE, architecture.name)
    assert found is not None
    slots, sizes = AdapterSlots(32, 2, modules=modules), dict[str, int]()
    for name, size in slots_by_module(architecture, Parallelism(ranks), slots, found, "bfloat16"):
        sizes[name] = sizes.get(name, 0) + size
    return sizes


QUERY = {"self_attn.q_proj": (128, 128), "self_attn.v_proj": (128, 64)}


def test_two_adapters_are_served_beside_their_model(tiny_model: Path, tmp_path: Path) -> None:
    """The smoke test asks each by name, and each answers otherwise; a name that is none is refused."""
    sql = write_adapter(tmp_path / "sql", str(tiny_model), 8, QUERY, 2)
    german = write_adapter(tmp_path / "german", str(tiny_model), 16, {**QUERY, "mlp.down_proj": (256, 128)}, 2)
    adapters = [{"model": str(sql), "name": "sql"}, {"model": str(german), "name": "org/german"}]
    stack = compile_services(tmp_path, {"tiny": {"model": str(tiny_model), "adapters": adapters}}, key=False)
    assert stack.run("prefetch").returncode == 0
    with stack.serve():
        result = stack.run("smoke-test", "--format", "json")
        assert result.returncode == 0, result.stdout + result.stderr
        (check,) = [each for each in json.loads(result.stdout)["checks"] if each["check"] == "adapters"]
        assert check["status"] == "ok", check
        assert status_of(stack, "org/german") == 200
        assert status_of(stack, "org/french") == 404
    # What its folder holds later is another adapter: nothing starts with it unseen.
    weights = german / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    changed = stack.run("prefetch", "--verify")
    assert changed.returncode == 15, changed.stdout + changed.stderr


def status_of(stack: Stack, model: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)
    body = json.dumps({"model": model, "prompt": "a", "max_tokens": 1})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status
