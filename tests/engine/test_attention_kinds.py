"""One small model of each kind of attention is served from the emitted script: vLLM plans the cache that we plan."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine.random_model import write_model
from tests.engine.test_serving import Stack, compile_stack

pytestmark = pytest.mark.engine

_COMMON = {
    "hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
    "max_position_embeddings": 512, "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "initializer_range": 0.02,
}  # fmt: skip

KINDS: dict[str, dict[str, Any]] = {
    "sliding": _COMMON
    | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "num_hidden_layers": 2, "sliding_window": 64},
}


def cache_config(stack: Stack) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=10)
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    connection.close()
    return next(line for line in metrics.splitlines() if line.startswith("vllm:cache_config_info{"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_engine_plans_what_we_plan(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "model", KINDS[kind], tiny_model)
    stack = compile_stack(tmp_path, tmp_path / "model", key=False)
    with stack.serve():
        line = cache_config(stack)
        smoke = stack.run("smoke-test", "--format", "json")
    planned = stack.service["kv_cache"]
    assert f'num_gpu_blocks="{planned["num_blocks"]}"' in line
    assert smoke.returncode == 0, smoke.stdout + smoke.stderr
    checks = {check["check"]: check["status"] for check in json.loads(smoke.stdout)["checks"]}
    assert checks["kv-cache"] == "ok"
