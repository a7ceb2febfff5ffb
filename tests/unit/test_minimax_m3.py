"""MiniMax M3: figures are those of vLLM 0.33.0 for the same config."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.kernels.attention import attention_plan
from compiler.engines.vllm.kernels.backend import Device
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.attention.latent import block_scores_bytes, picked_tokens_bytes

_SPARSE = [0] * 3 + [1] * 57
M3: dict[str, Any] = {
    "architectures": ["MiniMaxM3SparseForConditionalGeneration"], "model_type": "minimax_m3_vl",
    "torch_dtype": "bfloat16", "projector_hidden_size": 6144,
    "text_config": {
        "hidden_size": 6144, "intermediate_size": 3072, "dense_intermediate_size": 12288, "num_hidden_layers": 60,
        "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 200064,
        "max_position_embeddings": 1048576, "num_local_experts": 128, "num_experts_per_tok": 4, "n_shared_experts": 1,
        "moe_layer_freq": _SPARSE,
        "sparse_attention_config": {
            "sparse_index_dim": 128, "sparse_num_index_heads": 4, "sparse_topk_blocks": 16, "sparse_block_size": 128,
            "sparse_attention_freq": _SPARSE,
        },
    },
    "vision_config": {
        "hidden_size": 1280, "num_attention_heads": 16, "num_hidden_layers": 32, "intermediate_size": 5120,
        "patch_size": 14,
    },
}  # fmt: skip


def _mixed() -> dict[str, Any]:
    dense = {f"mlp.{part}_proj": "MXFP8" for part in ("gate", "up", "down")}
    shared = {f"block_sparse_moe.shared_experts.{part}_proj": "MXFP8" for part in ("gate", "up", "down")}
    attention = {f"self_attn.{part}_proj": "MXFP8" for part in ("q", "k", "v", "o")}
    picks = {f"self_attn.index_{part}_proj": "MXFP8" for part in "qk"}
    experts = {
        f"block_sparse_moe.experts.{index}.w{part}": "NVFP4" for index in range(128) for part in (1, 2, 3)
    }  # fmt: skip
    layers = (attention | (picks | shared | experts if sparse else dense) for sparse in _SPARSE)
    named = {f"language_model.model.layers.{index}.{name}": {"quant_algo": algorithm, "group_size": 16}
             for index, layer in enumerate(layers) for name, algorithm in layer.items()}  # fmt: skip
    towers = ["lm_head", "vision_tower", "multi_modal_projector", "patch_merge_mlp"]
    return {
        "quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "exclude_modules": towers,
        "quantized_layers": named,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ranks", "size"), [(1, 250_088_233_984), (2, 125_159_525_376), (8, 31_534_768_128)]
)  # fmt: skip
def test_weights_equal_the_engine_s(ranks: int, size: int) -> None:
    architecture, quantization = read_architecture(M3), read_quantization("modelopt", _mixed(), M3)
    check_split(architecture, quantization, Parallelism(ranks))
    assert rank_weights(architecture, quantization, Parallelism(ranks), served_dtype="bfloat16") == size


@pytest.mark.parametrize(
    ("ranks", "dtype", "blocks", "tokens"),
    [(1, "auto", 976, 124_928), (2, "auto", 1765, 225_920), (8, "auto", 2962, 379_136), (1, "fp8", 1765, 225_920)],
)
def test_keys_of_the_indexer_stay_in_16_bits(ranks: int, dtype: str, blocks: int, tokens: int) -> None:
    architecture = read_architecture(M3)
    plan = attention_plan(
        architecture,
        capability=(9, 0),
        served_dtype="bfloat16",
        kv_cache_dtype=dtype,
        tensor_parallel_size=ranks,
    )
    assert plan.block_size == 128
    layout = rank_kv_layout(
        architecture, Parallelism(ranks), dtype=plan.kv_dtype, block_size=128, max_num_batched_tokens=8192
    )
    assert 16 * 2**30 // layout.bytes_per_block == blocks
    assert layout.capacity_tokens(blocks, 4096) == tokens


def test_scores_of_blocks_take_a_gibibyte_on_blackwell_only() -> None:
    architecture = read_architecture(M3)
    scores = [
        block_scores_bytes(architecture, Device(capability, "bfloat16", "auto", 1), max_num_batched_tokens=8192)
        for capability in ((9, 0), (10, 0))
    ]
    assert scores == [0, 2**30]
    assert picked_tokens_bytes(architecture, max_num_batched_tokens=8190, ranks=2) == 8192 * 2 * 16 * 4


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sparse_num_index_heads": 8}, "sparse_attention_config.sparse_num_index_heads"),
        ({"sparse_index_dim": 0}, "sparse_attention_config.sparse_index_dim"),
        ({"sparse_attention_freq": [1]}, "sparse_attention_config.sparse_attention_freq"),
        ({"sparse_topk_blocks": "many"}, "sparse_attention_config.sparse_topk_blocks"),
    ],
)
def test_absurd_values_are_named(change: dict[str, Any], named: str) -> None:
    text = M3["text_config"]
    sparse = text["sparse_attention_config"] | change
    with pytest.raises(ConfigError, match=named):
        read_architecture(M3 | {"text_config": text | {"sparse_attention_config": sparse}})
