"""Bytes against figures that vLLM 0.33.0 itself gives for these configs (built on torch's meta device)."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.architecture import served_dtype
from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.parameters.tensors import check_tensors, expected_tensors, second_head_elements
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.kv_cache.blocks import KvLayout
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.graphs import capture_sizes
from compiler.lock.models import TensorKind

QWEN_32B = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 5120, "intermediate_size": 27648,
    "num_hidden_layers": 64, "num_attention_heads": 40, "num_key_value_heads": 8, "vocab_size": 152064,
    "max_position_embeddings": 32768, "sliding_window": 131072, "use_sliding_window": False,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 131072, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
}  # fmt: skip
LLAMA_70B = LLAMA_8B | {
    "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
}  # fmt: skip
QWEN3_8B = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288,
    "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}


def weights(config: dict[str, Any], quantization: dict[str, Any] | None = None, ranks: int = 1) -> int:
    architecture = read_architecture(config)
    block = read_quantization(quantization["quant_method"] if quantization else None, quantization)
    check_split(architecture, block, Parallelism(ranks))
    return rank_weights(architecture, block, Parallelism(ranks), served_dtype="bfloat16")


def layout_of(config: dict[str, Any], dtype: str = "bfloat16", ranks: int = 1, tokens: int = 8192) -> KvLayout:
    return rank_kv_layout(
        read_architecture(config), Parallelism(ranks), dtype=dtype, block_size=16, max_num_batched_tokens=tokens
    )


@pytest.mark.parametrize(
    ("config", "quantization", "ranks", "size"),
    [
        (QWEN_32B, None, 1, 65_527_752_704),
        (QWEN_32B, None, 2, 32_764_536_832),
        (QWEN_32B, AWQ, 1, 19_328_804_864),
        (QWEN_32B, GPTQ, 1, 19_328_804_864),
        (QWEN_32B, AWQ, 2, 9_665_062_912),
        (LLAMA_8B, None, 1, 16_060_522_496),
        (LLAMA_8B, None, 2, 8_030_527_488),
        (LLAMA_70B, None, 8, 17_640_734_720),
        (LLAMA_70B, AWQ, 1, 39_767_785_472),
        (QWEN3_8B, FP8, 1, 9_437_399_328),
        (QWEN3_8B, FP8, 2, 4_719_008_032),
    ],
)
def test_weights_equal_the_engine_s_own_count(
    config: dict[str, Any], quantization: dict[str, Any] | None, ranks: int, size: int
) -> None:
    assert weights(config, quantization, ranks) == size


@pytest.mark.parametrize(
    ("config", "ranks", "dtype", "per_token"),
    [
        (QWEN_32B, 1, "bfloat16", 262_144),
        (QWEN_32B, 2, "bfloat16", 131_072),
        (LLAMA_8B, 1, "bfloat16", 131_072),
        (LLAMA_8B, 1, "fp8", 65_536),
        (LLAMA_70B, 8, "bfloat16", 40_960),
        (LLAMA_70B, 16, "bfloat16", 40_960),
    ],
)
def test_kv_bytes_per_token_and_rank(config: dict[str, Any], ranks: int, dtype: str, per_token: int) -> None:
    layout = layout_of(config, dtype, ranks)
    assert layout.bytes_per_block == 16 * per_token


def test_the_null_block_is_counted() -> None:
    layout = layout_of(LLAMA_8B)
    assert layout.blocks_for(concurrency=2, length=4096) == 1 + 2 * 256


def test_a_window_bounds_a_request_by_window_and_tokens_in_flight() -> None:
    config = LLAMA_8B | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 4096}
    layout = layout_of(config, tokens=2048)
    assert layout.blocks_per_request(131072) == -(-(4095 + 2 * 2048) // 16) + 1
    assert layout.blocks_per_request(1024) == 64 + 1


def test_qwen_has_no_window_unless_it_says_so() -> None:
    assert read_architecture(QWEN_32B).sliding_window is None
    everywhere = read_architecture(QWEN_32B | {"use_sliding_window": True, "max_window_layers": 0})
    assert everywhere.sliding_window == 131072
    with pytest.raises(ConfigError, match="max_window_layers"):
        read_architecture(QWEN_32B | {"use_sliding_window": True, "max_window_layers": 28})


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        (None, 131072),
        ({"type": "linear", "factor": 4.0}, 524288),
        ({"rope_type": "yarn", "factor": 4.0}, 131072),
        ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}, 131072),
    ],
)
def test_rope_factors_that_lengthen_the_context(rope: dict[str, Any] | None, length: int) -> None:
    assert read_architecture(LLAMA_8B | {"rope_scaling": rope}).max_model_len == length


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_hidden_layers": -3}, "num_hidden_layers"),
        ({"vocab_size": 2**63}, "vocab_size"),
        ({"num_key_value_heads": 7}, "num_key_value_heads"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": 4097}, "head_dim"),
        ({"torch_dtype": "int4"}, "torch_dtype"),
        ({"rope_scaling": {"type": "linear", "factor": "x"}}, "factor"),
        ({"architectures": []}, "architectures"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
    ],
)
def test_absurd_values_are_named_and_never_guessed(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_architecture(LLAMA_8B | change)


@pytest.mark.parametrize(
    ("config", "quantization", "ranks", "reason"),
    [
        (QWEN_32B, None, 3, "40 attention heads"),
        (QWEN_32B | {"num_key_value_heads": 5}, None, 4, "5 KV heads"),
        (QWEN_32B | {"intermediate_size": 27776}, AWQ, 2, "group 128"),
        (QWEN_32B | {"intermediate_size": 27650}, None, 4, "no multiple"),
    ],
)
def test_a_split_that_vllm_refuses_is_refused(
    config: dict[str, Any], quantization: dict[str, Any] | None, ranks: int, reason: str
) -> None:
    with pytest.raises(SplitError, match=reason):
        weights(config, quantization, ranks)


def test_tied_embeddings_are_held_once() -> None:
    table = 128256 * 4096 * 2
    assert weights(LLAMA_8B) - weights(LLAMA_8B | {"tie_word_embeddings": True}) == table


def test_a_second_head_that_the_config_calls_tied_may_stay() -> None:
    kinds = expected_tensors(read_architecture(LLAMA_8B), None)
    tied = read_architecture(LLAMA_8B | {"tie_word_embeddings": True})
    assert second_head_elements(kinds, tied) == 128256 * 4096
    assert second_head_elements(kinds, read_architecture(LLAMA_8B)) == 0


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (TensorKind(name="model.norm.weight", dtype="ZZ", shape=(4,), count=1), "ZZ"),
        (TensorKind(name="model.embed_tokens.weight", dtype="F16", shape=(), count=1), "table"),
        (TensorKind(name="lm_head.weight", dtype="F16", shape=(0, 4), count=1), "table"),
    ],
)
def test_tensors_that_no_arithmetic_can_follow_are_refused(kind: TensorKind, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        check_tensors([kind])


@pytest.mark.parametrize(
    ("checkpoint", "bfloat16_runs", "dtype"),
    [
        ("bfloat16", True, "bfloat16"),
        ("bfloat16", False, "float16"),
        ("float32", True, "bfloat16"),
        ("float32", False, "float16"),
        ("float16", True, "float16"),
    ],
)
def test_served_dtype_is_what_auto_would_pick(checkpoint: str, *, bfloat16_runs: bool, dtype: str) -> None:
    assert served_dtype(checkpoint, bfloat16_runs=bfloat16_runs) == dtype


def test_capture_sizes_are_those_of_the_engine() -> None:
    assert len(capture_sizes(1024, 8192)) == 51
    assert capture_sizes(8, 8192) == (1, 2, 4, 8, 16)
    assert max(capture_sizes(1024, 64)) == 64
