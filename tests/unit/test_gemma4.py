"""Gemma 4: figures are those of vLLM 0.33.0 for the same config."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.kernels.attention import attention_plan
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.encoder_budget import EncoderShape, encoder_memory

_VISION = {
    "head_dim": 72, "hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16,
    "num_hidden_layers": 27, "num_key_value_heads": 16,
}  # fmt: skip
GEMMA_4_26B = {
    "architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4", "dtype": "bfloat16",
    "text_config": {
        "attention_k_eq_v": True, "head_dim": 256, "global_head_dim": 512, "hidden_size": 2816,
        "hidden_size_per_layer_input": 0, "intermediate_size": 2112, "max_position_embeddings": 262144,
        "model_type": "gemma4_text", "moe_intermediate_size": 704, "num_attention_heads": 16, "num_experts": 128,
        "num_global_key_value_heads": 2, "num_hidden_layers": 30, "num_key_value_heads": 8, "sliding_window": 1024,
        "top_k_experts": 8, "vocab_size": 262144,
    },
    "vision_config": _VISION,
}  # fmt: skip
E2B_TEXT = {
    "architectures": ["Gemma4ForCausalLM"], "model_type": "gemma4_text", "dtype": "bfloat16", "head_dim": 256,
    "hidden_size": 1536, "hidden_size_per_layer_input": 256, "intermediate_size": 6144, "num_attention_heads": 8,
    "num_hidden_layers": 35, "num_key_value_heads": 1, "num_kv_shared_layers": 20, "sliding_window": 512,
    "use_double_wide_mlp": True, "layer_types": [*["sliding_attention"] * 4, "full_attention"] * 7,
}  # fmt: skip
E2B = {
    "architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4", "dtype": "bfloat16",
    "text_config": E2B_TEXT, "vision_config": {}, "audio_config": {},
}  # fmt: skip
BY_DEFAULT = {
    "architectures": ["Gemma4ForConditionalGeneration"], "dtype": "bfloat16", "text_config": {}, "vision_config": {},
}  # fmt: skip
FP8_BLOCKS = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}


@pytest.mark.parametrize(
    ("config", "ranks", "size", "blocks", "tokens"),
    [
        (GEMMA_4_26B, 1, 51_640_703_584, 26_214, 75_989),
        (GEMMA_4_26B, 2, 26_404_657_760, 52_428, 151_978),
        (GEMMA_4_26B, 8, 7_499_250_272, 104_857, 476_686),
        (E2B, 1, 10_208_595_008, 174_762, 927_234),
        (E2B, 8, 2_182_040_640, 174_762, 927_234),
        (E2B_TEXT, 1, 9_257_138_688, 174_762, 927_234),
        (E2B_TEXT, 2, 4_670_536_192, 174_762, 927_234),
        (BY_DEFAULT, 2, 5_451_201_536, 52_428, 238_340),
    ],
)
def test_weights_and_cache_equal_the_engine_s(
    config: dict[str, Any], ranks: int, size: int, blocks: int, tokens: int
) -> None:
    architecture = read_architecture(config)
    assert rank_weights(architecture, None, Parallelism(ranks), served_dtype="bfloat16") == size
    layout = rank_kv_layout(
        architecture, Parallelism(ranks), dtype="bfloat16", block_size=16, max_num_batched_tokens=8192
    )
    assert 16 * 2**30 // layout.bytes_per_block == blocks
    assert layout.capacity_tokens(blocks, 4096) == tokens


def test_layers_that_read_another_s_keys_and_values_have_scales_of_their_own() -> None:
    block = read_quantization("fp8", FP8_BLOCKS)
    assert rank_weights(read_architecture(E2B_TEXT), block, Parallelism(2), served_dtype="bfloat16") == 3_711_520_232


def test_an_fp8_cache_of_the_wide_heads_has_blocks_of_64_on_hopper() -> None:
    architecture = read_architecture(GEMMA_4_26B)
    plan = attention_plan(architecture, capability=(9, 0), served_dtype="bfloat16", kv_cache_dtype="fp8")
    layout = rank_kv_layout(
        architecture, Parallelism(), dtype="fp8", block_size=plan.block_size, max_num_batched_tokens=8192
    )
    assert (plan.block_size, 16 * 2**30 // layout.bytes_per_block) == (64, 13_107)


def test_towers_of_a_text_model_s_config_are_not_served() -> None:
    architecture = read_architecture(E2B | {"architectures": ["Gemma4ForCausalLM"]})
    assert rank_weights(architecture, None, Parallelism(), served_dtype="bfloat16") == 9_257_138_688


def test_inputs_of_all_layers_are_kept_for_a_whole_batch() -> None:
    architecture, shape = read_architecture(E2B), EncoderShape(8192, 256, 4096, "bfloat16")
    without = read_architecture(E2B | {"text_config": E2B_TEXT | {"hidden_size_per_layer_input": 0}})
    with_inputs, alone = (encoder_memory(model, Parallelism(), shape) for model in (architecture, without))
    assert with_inputs is not None
    assert alone is not None
    assert with_inputs.buffers - alone.buffers == 8192 * 35 * 256 * 2


def test_a_stage_cannot_read_keys_and_values_of_another() -> None:
    with pytest.raises(SplitError, match="layer 18 reads keys and values of a layer on another pipeline stage"):
        check_split(read_architecture(E2B), None, Parallelism(2, 2))
    check_split(read_architecture(GEMMA_4_26B), None, Parallelism(2, 2))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_kv_shared_layers": 35}, "num_kv_shared_layers"),
        ({"num_kv_shared_layers": 32}, "num_kv_shared_layers"),
        ({"layer_types": ["sliding_attention"]}, "layer_types"),
        ({"layer_types": ["chunked_attention"] * 35}, "layer_types"),
        ({"global_head_dim": 0}, "global_head_dim"),
        ({"attention_k_eq_v": True, "num_global_key_value_heads": 3}, "num_global_key_value_heads"),
        ({"num_experts": 8}, "moe_intermediate_size"),
        ({"num_experts": 8, "moe_intermediate_size": 512, "top_k_experts": 9}, "top_k_experts"),
        ({"use_bidirectional_attention": "all"}, "use_bidirectional_attention"),
        ({"per_layer_config": {"0": {"head_dim": 128}}}, "per_layer_config"),
        ({"hidden_size_per_layer_input": None}, "hidden_size_per_layer_input"),
        ({"hidden_size_per_layer_input": -1}, "hidden_size_per_layer_input"),
    ],
)
def test_absurd_values_are_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_architecture(E2B_TEXT | change)


def test_a_model_without_its_tower_is_refused() -> None:
    with pytest.raises(ConfigError, match="vision_config"):
        read_architecture(E2B | {"vision_config": None})
