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
    # Layers with and without a window in turn: two groups of layers share one pool of blocks.
    "alternating": _COMMON
    | {
        "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "num_hidden_layers": 4, "sliding_window": 64,
        "query_pre_attn_scalar": 32, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
    },
    # One latent vector for each token instead of keys and values, and experts after the first layer.
    "latent": _COMMON
    | {
        "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "num_hidden_layers": 2,
        "num_key_value_heads": 4, "q_lora_rank": None, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 4, "num_experts_per_tok": 2,
        "n_shared_experts": 1, "moe_intermediate_size": 64, "first_k_dense_replace": 1, "moe_layer_freq": 1,
        "topk_method": "greedy", "n_group": 1, "topk_group": 1, "routed_scaling_factor": 1.0, "norm_topk_prob": False,
        "scoring_func": "softmax", "head_dim": None,
    },
    "experts": _COMMON
    | {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_hidden_layers": 2, "num_experts": 4,
        "num_experts_per_tok": 2, "moe_intermediate_size": 64, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "norm_topk_prob": True,
    },
}  # fmt: skip


def cache_config(stack: Stack) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)
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
    # What random weights say may be nothing but invisible tokens, so the answers are not judged here.
    checks = {check["check"]: check["status"] for check in json.loads(smoke.stdout)["checks"]}
    assert (checks["kv-cache"], checks["metrics"]) == ("ok", "ok"), smoke.stdout + smoke.stderr
