"""Drafts of many shapes against vLLM 0.33.0: bytes as they are loaded, and blocks beside the model's own caches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compiler.checkpoints.config import Config
from compiler.checkpoints.families.dense.eagle3 import read_eagle3
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.drafter import with_caches
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.units import GIB
from tests.engine.test_planner import answers

pytestmark = pytest.mark.engine

TARGET = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1536, "intermediate_size": 4096,
    "num_hidden_layers": 6, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 128, "hidden_act": "silu",
    "vocab_size": 96_064, "max_position_embeddings": 8192, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "rms_norm_eps": 1e-6, "rope_theta": 1e6,
}  # fmt: skip
WINDOWED = TARGET | {
    "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 2048, "head_dim": 96,
}  # fmt: skip
HEAD = {
    "architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "hidden_size": 1536, "intermediate_size": 5120,
    "num_hidden_layers": 1, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 64, "hidden_act": "silu",
    "vocab_size": 96_064, "draft_vocab_size": 16_000, "max_position_embeddings": 2048, "torch_dtype": "bfloat16",
    "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
}  # fmt: skip
SMALLER = TARGET | {"hidden_size": 512, "num_hidden_layers": 3, "num_key_value_heads": 2, "intermediate_size": 1536}
PAIRS: dict[str, tuple[dict[str, Any], str, dict[str, Any], int]] = {
    "head": (TARGET, "eagle3", HEAD, 1),
    "head on two": (TARGET, "eagle3", HEAD, 2),
    "head of two layers": (TARGET, "eagle3", HEAD | {"num_hidden_layers": 2, "attention_bias": True}, 1),
    "head with norms": (TARGET, "eagle3", HEAD | {"fc_norm": True, "norm_before_fc": True}, 1),
    "head of the whole vocabulary": (TARGET, "eagle3", HEAD | {"draft_vocab_size": 96_064}, 1),
    "head of other states": (
        TARGET, "eagle3", HEAD | {"eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 2, 3, 4]}}, 1,
    ),
    "narrower head": (TARGET, "eagle3", HEAD | {"hidden_size": 1152, "target_hidden_size": 1536}, 1),
    "smaller": (TARGET, "draft", SMALLER, 1),
    "smaller on two": (TARGET, "draft", SMALLER, 2),
    "smaller, tied": (TARGET, "draft", SMALLER | {"tie_word_embeddings": True}, 1),
    "beside windows": (WINDOWED, "draft", SMALLER | {"head_dim": 96}, 1),
    "windows of its own": (TARGET, "draft", WINDOWED | {"num_hidden_layers": 2}, 1),
    "head beside windows": (WINDOWED, "eagle3", HEAD, 1),
}  # fmt: skip
METHODS = {"draft": "draft_model", "eagle3": "eagle3"}


def question(pair: tuple[dict[str, Any], str, dict[str, Any], int], folder: Path) -> dict[str, Any]:
    target, method, draft, ranks = pair
    for where, config in ((folder, target), (folder / "draft", draft)):
        where.mkdir()
        (where / "config.json").write_text(json.dumps(config))
    options = {
        "max-model-len": 4096, "max-num-seqs": 64, "max-num-batched-tokens": 8192, "dtype": "bfloat16",
        "kv-cache-memory-bytes": GIB, "tensor-parallel-size": ranks, "spec-method": METHODS[method],
        "spec-model": folder / "draft", "spec-tokens": 3,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return {"folder": str(folder), "capability": "9.0", "memory": 80 * GIB, "arguments": words}


def test_vllm_loads_the_same_bytes_and_plans_the_same_blocks(tmp_path: Path) -> None:
    questions = [question(pair, tmp_path / str(index)) for index, pair in enumerate(PAIRS.values())]
    for (name, pair), answer in zip(PAIRS.items(), answers(questions, tmp_path), strict=True):
        target, method, draft, ranks = pair
        split = Parallelism(ranks)
        second = read_eagle3(Config(draft)).architecture if method == "eagle3" else read_architecture(draft)
        both = with_caches(read_architecture(target), second)
        layout = rank_kv_layout(both, split, dtype="bfloat16", block_size=16, max_num_batched_tokens=8192)
        found = (rank_weights(second, None, split, served_dtype="bfloat16"), GIB // layout.bytes_per_block)
        assert (answer["draft_bytes"], answer["num_blocks"]) == found, name
