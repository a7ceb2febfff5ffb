"""Mixtures of experts against figures that vLLM 0.33.0 itself gives for these configs (built on the meta device)."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.architecture import Experts, HeadCache
from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.kernels.expert_kernels import check_experts
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout

GIB = 1 << 30
COMMON = {"tie_word_embeddings": False, "torch_dtype": "bfloat16"}
SMALL = COMMON | {
    "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 16,
    "num_key_value_heads": 4, "vocab_size": 32000, "max_position_embeddings": 8192, "num_experts_per_tok": 2,
}  # fmt: skip

QWEN3 = COMMON | {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 2048, "head_dim": 128,
    "intermediate_size": 6144, "moe_intermediate_size": 768, "num_hidden_layers": 48, "num_attention_heads": 32,
    "num_key_value_heads": 4, "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1,
    "mlp_only_layers": [], "vocab_size": 151936, "max_position_embeddings": 40960,
}  # fmt: skip
MIXTRAL = COMMON | {
    "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8,
    "num_experts_per_tok": 2, "vocab_size": 32000, "max_position_embeddings": 32768, "sliding_window": None,
}  # fmt: skip
GLM = COMMON | {
    "architectures": ["Glm4MoeForCausalLM"], "model_type": "glm4_moe", "hidden_size": 5120, "intermediate_size": 12288,
    "moe_intermediate_size": 1536, "num_hidden_layers": 92, "num_attention_heads": 96, "num_key_value_heads": 8,
    "head_dim": 128, "attention_bias": True, "use_qk_norm": True, "n_routed_experts": 160, "n_shared_experts": 1,
    "num_experts_per_tok": 8, "first_k_dense_replace": 3, "num_nextn_predict_layers": 1, "vocab_size": 151552,
    "max_position_embeddings": 202752,
}  # fmt: skip
MINIMAX = COMMON | {
    "architectures": ["MiniMaxM2ForCausalLM"], "model_type": "minimax_m2", "hidden_size": 3072, "head_dim": 128,
    "intermediate_size": 1536, "num_hidden_layers": 62, "num_attention_heads": 48, "num_key_value_heads": 8,
    "num_local_experts": 256, "num_experts_per_tok": 8, "use_routing_bias": True, "vocab_size": 200064,
    "max_position_embeddings": 196608, "scoring_func": "sigmoid", "rotary_dim": 64,
}  # fmt: skip
PHI = COMMON | {
    "architectures": ["PhiMoEForCausalLM"], "model_type": "phimoe", "hidden_size": 4096, "intermediate_size": 960,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "num_local_experts": 16, "num_experts_per_tok": 2, "sliding_window": 2047, "vocab_size": 32064,
    "max_position_embeddings": 4096,
}  # fmt: skip
GPT_OSS = {
    "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880,
    "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
    "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128, "vocab_size": 201088,
    "max_position_embeddings": 131072, "tie_word_embeddings": False,
}  # fmt: skip
MIMO = COMMON | {
    "architectures": ["MiMoV2FlashForCausalLM"], "model_type": "mimo_v2_flash", "hidden_size": 4096,
    "intermediate_size": 16384, "moe_intermediate_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 64,
    "num_key_value_heads": 4, "head_dim": 192, "v_head_dim": 128, "swa_num_attention_heads": 64,
    "swa_num_key_value_heads": 8, "swa_head_dim": 192, "swa_v_head_dim": 128, "sliding_window_size": 128,
    "hybrid_layer_pattern": [0, 1, 1, 1, 1, *([0, 1, 1, 1, 1, 1] * 7), 0], "moe_layer_freq": [0] + [1] * 47,
    "n_routed_experts": 256, "num_experts_per_tok": 8, "add_swa_attention_sink_bias": True, "vocab_size": 152576,
    "max_position_embeddings": 262144,
}  # fmt: skip

FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
QWEN_FP8 = FP8 | {"modules_to_not_convert": [f"model.layers.{index}.mlp.gate" for index in range(48)]}
QWEN_NVFP4 = {
    "quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16,
    "ignore": ["lm_head", *(f"model.layers.{index}.mlp.gate" for index in range(48))],
}  # fmt: skip
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}

OLMOE = SMALL | {"architectures": ["OlmoeForCausalLM"], "num_experts": 8, "num_key_value_heads": 16}
GRANITE = SMALL | {
    "architectures": ["GraniteMoeForCausalLM"], "num_local_experts": 8, "tie_word_embeddings": True,
}  # fmt: skip
GRANITE_SHARED = SMALL | {
    "architectures": ["GraniteMoeSharedForCausalLM"], "num_local_experts": 8, "shared_intermediate_size": 512,
}  # fmt: skip
ERNIE = SMALL | {
    "architectures": ["Ernie4_5_MoeForCausalLM"], "moe_num_experts": 8, "moe_k": 2, "moe_intermediate_size": 512,
    "moe_num_shared_experts": 2, "moe_layer_start_index": 1, "tie_word_embeddings": True,
}  # fmt: skip
QWEN2 = SMALL | {
    "architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "num_experts": 8,
    "moe_intermediate_size": 512, "shared_expert_intermediate_size": 1024, "decoder_sparse_step": 2,
}  # fmt: skip
LLAMA4 = SMALL | {
    "architectures": ["Llama4ForCausalLM"], "num_local_experts": 4, "num_experts_per_tok": 1,
    "intermediate_size_mlp": 4096, "interleave_moe_layer_step": 2, "attention_chunk_size": 2048,
}  # fmt: skip


def weights(config: dict[str, Any], block: dict[str, Any] | None = None, parallelism: Parallelism | None = None) -> int:
    architecture = read_architecture(config)
    quantization = read_quantization(block["quant_method"] if block else None, block, config)
    parallelism = parallelism or Parallelism()
    check_split(architecture, quantization, parallelism)
    return rank_weights(architecture, quantization, parallelism, served_dtype="bfloat16")


@pytest.mark.parametrize(
    ("config", "block", "one", "eight"),
    [
        (QWEN3, None, 61064245248, 7680585728),
        (QWEN3, QWEN_FP8, 31174545792, 3945064832),
        (QWEN3, QWEN_NVFP4, 18087458688, 2290530176),
        (MIXTRAL, None, 93405585408, 11677999104),
        (GLM, None, 705741504128, 88474617472),
        (MINIMAX, FP8, 230121631216, None),
        (PHI, None, 15295265408, 1916739408),
        (GPT_OSS, MXFP4, 13761264768, 1812945408),
        (MIMO, FP8, 310252037120, 38960635888),
        (OLMOE, None, 567379968, 71010304),
        (GRANITE, None, 489244672, 61753344),
        (GRANITE_SHARED, None, 567363584, 71518208),
        (ERNIE, None, 193579104, 24823904),
        (QWEN2, None, 240191488, 30597120),
        (LLAMA4, None, 328239104, 41584640),
    ],
)
def test_weights_equal_the_engine_s_own_count(
    config: dict[str, Any], block: dict[str, Any] | None, one: int, eight: int | None
) -> None:
    assert weights(config, block) == one
    if eight is not None:
        assert weights(config, block, Parallelism(8)) == eight


@pytest.mark.parametrize(
    ("config", "block", "size"),
    [(QWEN3, None, 15583625216), (MIXTRAL, None, 23483129856), (GLM, None, 171089278848), (GPT_OSS, MXFP4, 4078220928)],
)
def test_the_first_of_two_stages_may_hold_the_output_head_too(
    config: dict[str, Any], block: dict[str, Any] | None, size: int
) -> None:
    """Some of vLLM's classes make embeddings, last norm and head on every stage."""
    assert weights(config, block, Parallelism(2, 2)) == size


@pytest.mark.parametrize(
    ("config", "ranks", "blocks", "tokens"),
    [
        (QWEN3, 1, 10922, 174752),
        (PHI, 1, 8192, 130561),
        (GPT_OSS, 1, 43690, 348838),
        (GPT_OSS, 8, 349525, 2790749),
        (MIMO, 1, 23301, 67544),
        (MIMO, 8, 186413, 495488),
        (LLAMA4, 1, 1048576, 4194304),
    ],
)
def test_blocks_and_tokens_of_16_gib_are_the_engine_s(
    config: dict[str, Any], ranks: int, blocks: int, tokens: int
) -> None:
    layout = rank_kv_layout(
        read_architecture(config), Parallelism(ranks), dtype="bfloat16", block_size=16, max_num_batched_tokens=8192
    )
    found = 16 * GIB // layout.bytes_per_block
    assert (found, layout.capacity_tokens(found, 4096)) == (blocks, tokens)


def test_layers_that_are_alike_are_one_object() -> None:
    for config, kinds in ((QWEN3, 1), (GLM, 2), (GPT_OSS, 2), (MIMO, 3), (LLAMA4, 3)):
        assert len({id(layer) for layer in read_architecture(config).layers}) == kinds


def test_expert_parallelism_spreads_whole_experts() -> None:
    """Ranks before the remainder hold one expert more; attention is split as ever."""
    experts = [m for m in read_architecture(MIXTRAL).layers[0].modules if isinstance(m, Experts)]
    assert [Parallelism(3, expert_parallel=True).local_experts(each.count) for each in experts] == [3]
    spread, sliced = (
        weights(MIXTRAL, None, Parallelism(4, expert_parallel=True)),
        weights(MIXTRAL, None, Parallelism(4)),
    )
    assert spread == sliced


def test_data_parallel_ranks_share_the_experts() -> None:
    together = weights(QWEN3, None, Parallelism(2, data_parallel_size=2, expert_parallel=True))
    experts = 48 * 128 * 3 * 768 * 2048 * 2
    assert weights(QWEN3, None, Parallelism(2)) - together == experts // 2 - experts // 4


def test_qwen2_s_alternating_windows_are_not_followed() -> None:
    read = read_architecture(QWEN2 | {"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 2})
    assert {cache.window for layer in read.layers for cache in layer.caches if isinstance(cache, HeadCache)} == {None}


@pytest.mark.parametrize(
    ("config", "ranks", "stages", "reason"),
    [
        (GPT_OSS, 16, 1, "8 KV heads are fewer than 16 ranks"),
        (ERNIE, 1, 2, "over pipeline stages"),
        (MINIMAX | {"num_local_experts": 8}, 16, 1, "8 experts are fewer than 16 ranks"),
        (MIXTRAL | {"intermediate_size": 14340}, 8, 1, "experts of width 14340"),
    ],
)
def test_splits_that_vllm_refuses_are_refused(config: dict[str, Any], ranks: int, stages: int, reason: str) -> None:
    with pytest.raises(SplitError, match=reason):
        weights(config, None, Parallelism(ranks, stages))


@pytest.mark.parametrize(
    ("block", "ranks", "capability", "refused"),
    [
        (QWEN_FP8, 2, (8, 0), False),
        (QWEN_FP8, 4, (8, 0), True),
        (QWEN_FP8, 8, (8, 6), True),
        (QWEN_FP8, 4, (8, 9), False),
        (QWEN_FP8, 4, None, False),
        (QWEN_FP8 | {"weight_block_size": [64, 64]}, 1, (8, 0), True),
        (QWEN_FP8 | {"weight_block_size": None}, 4, (8, 0), False),
        (QWEN_NVFP4, 4, (8, 0), False),
        (None, 4, (8, 0), False),
    ],
)
def test_blocks_that_ranks_cut_smaller_need_a_gpu_with_fp8(
    block: dict[str, Any] | None, ranks: int, capability: tuple[int, int] | None, refused: bool
) -> None:
    """`NotImplementedError: No FP8 MoE backend supports the deployment configuration` of 0.33.0 else."""
    read = read_architecture(QWEN3), read_quantization(block["quant_method"] if block else None, block, QWEN3)
    if not refused:
        check_experts(*read, Parallelism(ranks), capability)
        return
    with pytest.raises(SplitError, match=r"experts of width 768 in FP8 blocks of \d+ by \d+ on a rank"):
        check_experts(*read, Parallelism(ranks), capability)
    if ranks > 1:
        check_experts(*read, Parallelism(ranks, expert_parallel=True), capability)


@pytest.mark.parametrize(
    ("config", "change", "named"),
    [
        (QWEN3, {"num_experts": -1}, "num_experts"),
        (QWEN3, {"num_experts_per_tok": 200}, "num_experts_per_tok"),
        (QWEN3, {"mlp_only_layers": "none"}, "mlp_only_layers"),
        (QWEN3, {"moe_intermediate_size": 0}, "moe_intermediate_size"),
        (MIXTRAL, {"num_local_experts": None}, "num_local_experts"),
        (GLM, {"first_k_dense_replace": -1}, "first_k_dense_replace"),
        (MIMO, {"hybrid_layer_pattern": [0, 1]}, "hybrid_layer_pattern"),
        (MIMO, {"moe_layer_freq": ["x"] * 48}, "moe_layer_freq"),
        (MIMO, {"swa_num_key_value_heads": 7}, "swa_num_attention_heads"),
        (MIMO, {"moe_router_dtype": "int4"}, "moe_router_dtype"),
        (LLAMA4, {"no_rope_layers": [1]}, "no_rope_layers"),
        (ERNIE, {"moe_layer_end_index": "x"}, "moe_layer_end_index"),
        (GRANITE, {"sliding_window": 512}, "sliding_window"),
        (GPT_OSS, {"sliding_window": -1}, "sliding_window"),
    ],
)
def test_absurd_values_are_named(config: dict[str, Any], change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_architecture(config | change)
