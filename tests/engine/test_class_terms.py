"""What stackc refuses of a config.json is what vLLM's own classes refuse, and what it reads they build."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.read import read_architecture
from tests.engine.engine_process import GPU_RELEASE, engine_python, parser_environment
from tests.unit.test_class_terms import dense

pytestmark = pytest.mark.engine

Config = dict[str, Any]
LLAMA = dense("LlamaForCausalLM", model_type="llama")
FACTORS = {"short_factor": [1.0] * 32, "long_factor": [2.0] * 32}
MOE: Config = {"num_experts_per_tok": 2, "num_local_experts": 4, "num_hidden_layers": 2}
BASES: dict[str, Config] = {
    "llama": LLAMA,
    "mistral": dense("MistralForCausalLM", model_type="mistral"),
    "qwen2": dense("Qwen2ForCausalLM", model_type="qwen2"),
    "granite": dense("GraniteForCausalLM", model_type="granite"),
    "exaone4": dense("Exaone4ForCausalLM", model_type="exaone4"),
    "glm4": dense("Glm4ForCausalLM", model_type="glm4"),
    "nemotron": dense("NemotronForCausalLM", model_type="nemotron"),
    "phi3": dense("Phi3ForCausalLM", model_type="phi3", pad_token_id=0),
    "gemma": dense("GemmaForCausalLM", model_type="gemma", head_dim=64),
    "gemma2": dense("Gemma2ForCausalLM", model_type="gemma2", head_dim=64),
    "gpt2": dense("GPT2LMHeadModel", model_type="gpt2", n_embd=1024, n_head=16, n_layer=2, n_positions=4096),
    "gptj": dense("GPTJForCausalLM", model_type="gptj", n_embd=1024, n_head=16, n_layer=2, rotary_dim=64),
    "bert": dense("BertModel", model_type="bert", num_key_value_heads=16),
    "minimax": dense(
        "MiniMaxM2ForCausalLM", model_type="minimax_m2", head_dim=64, rotary_dim=32, scoring_func="sigmoid", **MOE
    ),
    "gpt-oss": dense("GptOssForCausalLM", model_type="gpt_oss", head_dim=64, sliding_window=128, **MOE),
}
CHANGES: list[tuple[str, Config]] = [
    *((name, {"hidden_act": "gelu"}) for name in ("llama", "mistral", "qwen2", "granite", "exaone4", "glm4", "phi3")),
    ("nemotron", {"hidden_act": "mish"}),
    ("bert", {"hidden_act": "mish"}),
    ("gemma", {"hidden_activation": "silu"}),
    ("gemma2", {"hidden_activation": "gelu"}),
    ("gpt2", {"activation_function": "mish"}),
    ("gpt2", {"add_cross_attention": True}),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    ("gpt2", {"reorder_and_upcast_attn": True}),
    ("gptj", {"tie_word_embeddings": True}),
    ("gptj", {"rotary_dim": 63}),
    ("minimax", {"scoring_func": "tanh"}),
    ("llama", {"rope_scaling": {"rope_type": "spiral"}}),
    ("llama", {"rope_scaling": {"rope_type": "linear"}}),
    ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}),
    ("llama", {"rope_scaling": {"rope_type": "yarn", "type": "linear", "factor": 2.0}}),
    ("llama", {"rope_scaling": {"type": "mrope"}}),
    ("phi3", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
    ("phi3", {"rope_scaling": {"type": "su", **FACTORS}, "original_max_position_embeddings": 2048}),
    ("gpt-oss", {"rope_scaling": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0}}),
]
KEPT: list[tuple[str, Config]] = [
    ("nemotron", {"hidden_act": "relu2"}),
    ("gemma", {"hidden_activation": "gelu"}),
    ("gemma", {"hidden_activation": None, "hidden_act": "gelu"}),
    ("bert", {"hidden_act": "gelu_new"}),
    ("minimax", {"scoring_func": "softmax"}),
    ("gpt-oss", {"hidden_act": "gelu"}),
    ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
    ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}),
    ("phi3", {"rope_scaling": {"type": "su", "original_max_position_embeddings": 2048, **FACTORS}}),
]


def is_read(config: Config) -> bool:
    try:
        read_architecture(config)
    except ConfigError:
        return False
    return True


def test_vllm_refuses_and_builds_the_same(engine: Path, tmp_path: Path) -> None:
    asked = [*BASES.values(), *(BASES[name] | change for name, change in (*CHANGES, *KEPT))]
    assert [is_read(config) for config in asked] == [True] * len(BASES) + [False] * len(CHANGES) + [True] * len(KEPT)
    assert engine
    found = subprocess.run(
        [engine_python(), Path(__file__).with_name("class_oracle.py")],
        input=json.dumps(asked), env=parser_environment(GPU_RELEASE) | {"VLLM_CACHE_ROOT": str(tmp_path / "cache")},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-4000:]
    refusals = json.loads(found.stdout.splitlines()[-1])
    wrong = [
        f"{config['architectures'][0]}: {refusal}"
        for config, refusal in zip(asked, refusals, strict=True)
        if is_read(config) != (refusal is None)
    ]
    assert wrong == []
