"""Latent attention against figures that vLLM 0.33.0 itself gives for these configs (built on torch's meta device)."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.read import Quantization, UnknownLayoutError, read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.kernels.attention import attention_plan
from compiler.engines.vllm.kernels.backend import Device
from compiler.engines.vllm.kv_cache.blocks import CacheKind, CacheSpec, KvLayout
from compiler.engines.vllm.kv_cache.groups import PagesError, kv_layout
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.attention.latent import (
    absorbed_bytes,
    context_rows,
    expanded_context_bytes,
    gathered_context_bytes,
    indexer_workspace_bytes,
    mask_bytes,
    picked_kernel_bytes,
    picked_tokens_bytes,
    triton_workspace_bytes,
    unpacked_context_bytes,
)

V2_LITE = {
    "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 2048,
    "intermediate_size": 10944, "num_hidden_layers": 27, "num_attention_heads": 16, "vocab_size": 102400,
    "q_lora_rank": None, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_intermediate_size": 1408,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "topk_method": "greedy", "max_position_embeddings": 163840,
    "n_group": 1, "topk_group": 1, "torch_dtype": "bfloat16",
}  # fmt: skip
V3 = V2_LITE | {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 7168,
    "intermediate_size": 18432, "num_hidden_layers": 61, "num_attention_heads": 128, "vocab_size": 129280,
    "q_lora_rank": 1536, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8,
    "moe_intermediate_size": 2048, "first_k_dense_replace": 3, "topk_method": "noaux_tc",
}  # fmt: skip
V32 = V3 | {
    "architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32", "index_head_dim": 128,
    "index_n_heads": 64, "index_topk": 2048,
}  # fmt: skip
GLM_52 = V32 | {
    "architectures": ["GlmMoeDsaForCausalLM"], "model_type": "glm_moe_dsa", "hidden_size": 6144,
    "intermediate_size": 12288, "num_hidden_layers": 78, "num_attention_heads": 64, "vocab_size": 154880,
    "q_lora_rank": 2048, "qk_nope_head_dim": 192, "v_head_dim": 256, "index_n_heads": 32, "index_topk_freq": 4,
    "index_skip_topk_offset": 3, "max_position_embeddings": 1048576,
}  # fmt: skip
GLM_FLASH = V2_LITE | {
    "architectures": ["Glm4MoeLiteForCausalLM"], "model_type": "glm4_moe_lite", "intermediate_size": 10240,
    "num_hidden_layers": 47, "num_attention_heads": 20, "vocab_size": 154880, "q_lora_rank": 768,
    "qk_nope_head_dim": 192, "v_head_dim": 256, "n_shared_experts": 1, "num_experts_per_tok": 4,
    "moe_intermediate_size": 1536, "topk_method": None,
}  # fmt: skip
MINICPM3 = {
    "architectures": ["MiniCPM3ForCausalLM"], "model_type": "minicpm3", "hidden_size": 2560, "intermediate_size": 6400,
    "num_hidden_layers": 62, "num_attention_heads": 40, "q_lora_rank": 768, "kv_lora_rank": 256,
    "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "vocab_size": 73448, "max_position_embeddings": 32768,
    "torch_dtype": "bfloat16",
}  # fmt: skip
V4_FLASH = {
    "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4", "hidden_size": 4096,
    "num_hidden_layers": 43, "num_attention_heads": 64, "head_dim": 512, "vocab_size": 129280, "q_lora_rank": 1024,
    "o_lora_rank": 1024, "o_groups": 8, "hc_mult": 4, "sliding_window": 128, "index_head_dim": 128,
    "index_n_heads": 64, "index_topk": 512, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 6,
    "moe_intermediate_size": 2048, "num_hash_layers": 3, "topk_method": "noaux_tc", "expert_dtype": "fp4",
    "compress_ratios": [0, 0, *[4, 128] * 20, 4, 0], "max_position_embeddings": 1048576, "torch_dtype": "bfloat16",
}  # fmt: skip
V4_PRO = V4_FLASH | {
    "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128, "o_groups": 16, "q_lora_rank": 1536,
    "index_topk": 1024, "n_routed_experts": 384, "moe_intermediate_size": 3072,
    "compress_ratios": [128, *[128, 4] * 30, 0],
}  # fmt: skip
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
POOL = 16 << 30
Shape = tuple[int, int]


def quantization_of(block: dict[str, Any] | None, config: dict[str, Any] | None = None) -> Quantization | None:
    return read_quantization(block["quant_method"], block, config) if block else None


def layout_of(architecture: Architecture, parallelism: Parallelism, flag: str = "auto") -> KvLayout:
    plan = attention_plan(
        architecture,
        capability=(9, 0),
        served_dtype="bfloat16",
        kv_cache_dtype=flag,
        tensor_parallel_size=parallelism.tensor_parallel_size,
    )
    return rank_kv_layout(
        architecture, parallelism, dtype=plan.kv_dtype, block_size=plan.block_size, max_num_batched_tokens=8192
    )


@pytest.mark.parametrize(
    ("config", "block", "split", "size"),
    [
        (V2_LITE, None, (1, 1), 31_412_968_448),
        (V2_LITE, None, (4, 1), 7_906_319_360),
        (V3, FP8, (1, 1), 673_150_611_808),
        (V3, FP8, (8, 1), 85_140_130_848),
        (V32, FP8, (8, 1), 86_075_841_568),
        (GLM_52, None, (8, 1), 188_597_864_448),
        (GLM_52, None, (2, 2), 358_286_257_152),
        (GLM_FLASH, None, (1, 1), 59_898_852_352),
        (MINICPM3, None, (1, 1), 8_147_874_816),
        (MINICPM3, None, (2, 2), 2_215_011_328),
        (V4_FLASH, FP8, (1, 1), 156_006_389_980),
        (V4_FLASH, FP8, (2, 2), 40_211_185_060),
        (V4_PRO, FP8, (1, 1), 850_738_896_844),
        (V4_PRO, FP8, (8, 1), 109_447_720_100),
    ],
)  # fmt: skip
def test_weights_of_a_rank_are_vllms(
    config: dict[str, Any], block: dict[str, Any] | None, split: Shape, size: int
) -> None:
    architecture, quantization, parallelism = (
        read_architecture(config),
        quantization_of(block, config),
        Parallelism(*split),
    )
    check_split(architecture, quantization, parallelism)
    assert rank_weights(architecture, quantization, parallelism, served_dtype="bfloat16") == size


@pytest.mark.parametrize(
    ("config", "flag", "split", "blocks", "tokens"),
    [
        (V3, "auto", (8, 1), 15279, 244_464),
        (V3, "fp8", (1, 1), 7639, 488_896),
        (V32, "auto", (8, 1), 3427, 219_328),
        (V32, "fp8", (8, 1), 5584, 357_376),
        (GLM_52, "fp8", (8, 1), 4976, 318_464),
        (GLM_52, "auto", (8, 1), 2897, 185_408),
        (GLM_52, "auto", (2, 2), 5771, 369_344),
        (GLM_FLASH, "auto", (1, 1), 19831, 317_296),
        (MINICPM3, "auto", (1, 1), 1127, 18_032),
        (MINICPM3, "fp8", (1, 1), 2255, 36_080),
        (V4_FLASH, "auto", (1, 1), 17141, 41_692),
        (V4_FLASH, "auto", (2, 2), 35935, 87_404),
        (V4_PRO, "fp8", (1, 1), 11963, 29_097),
    ],
)
def test_cache_blocks_are_vllms(config: dict[str, Any], flag: str, split: Shape, blocks: int, tokens: int) -> None:
    layout = layout_of(read_architecture(config), Parallelism(*split), flag)
    assert POOL // layout.bytes_per_block == blocks
    assert layout.capacity_tokens(blocks, 4096) == tokens


def test_sparse_attention_in_fp8_keeps_deepseeks_own_format() -> None:
    layout = layout_of(read_architecture(V32), Parallelism(8), "fp8")
    assert layout.bytes_per_block == 61 * 64 * (656 + 132)


def test_sparse_attention_of_modelopt_s_checkpoints_keeps_plain_fp8_on_hopper() -> None:
    """vLLM hears `fp8_e4m3` of them, which FlashMLA does not take: a token is 576 bytes, beside workspaces."""
    sparse = read_architecture(V32)
    layout = layout_of(sparse, Parallelism(8), "fp8_e4m3")
    assert layout.bytes_per_block == 61 * 64 * (576 + 132)
    hopper = Device((9, 0), "bfloat16", layout.dtype)
    kept = picked_kernel_bytes(sparse, hopper, max_num_batched_tokens=8192)
    assert kept == (136 << 20) + 8192 * 2048 * 4 + 4 * 8193 * 4
    assert unpacked_context_bytes(sparse, hopper, max_model_len=163_840) == 0
    for other in (Device((9, 0), "bfloat16", "fp8_ds_mla"), Device((10, 0), "bfloat16", "fp8")):
        assert picked_kernel_bytes(sparse, other, max_num_batched_tokens=8192) == 0
    assert picked_kernel_bytes(read_architecture(V3), hopper, max_num_batched_tokens=8192) == 0


def test_layers_that_are_alike_are_one_object() -> None:
    assert len({id(layer) for layer in read_architecture(GLM_52).layers}) == 3


def test_the_same_code_caches_whole_heads_for_a_type_that_vllm_does_not_list() -> None:
    architecture = read_architecture(V2_LITE | {"model_type": "deepseek_x"})
    assert (architecture.num_kv_heads, architecture.head_dim) == (16, 192)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (V3 | {"num_attention_heads": 0}, "num_attention_heads"),
        (V3 | {"kv_lora_rank": -1}, "kv_lora_rank"),
        (V3 | {"hidden_act": "gelu"}, "hidden_act"),
        (V3 | {"moe_layer_freq": 0}, "moe_layer_freq"),
        ({key: value for key, value in V3.items() if key != "q_lora_rank"}, "q_lora_rank"),
        (V32 | {"index_topk": None}, "index_topk"),
        (V32 | {"q_lora_rank": None}, "q_lora_rank"),
        (V32 | {"model_type": "llama"}, "model_type"),
        (GLM_52 | {"index_topk_pattern": 7}, "index_topk_pattern"),
        (MINICPM3 | {"num_experts": 8}, "num_experts"),
        (V4_FLASH | {"o_groups": 7}, "o_groups"),
        (V4_FLASH | {"num_attention_heads": 256}, "num_attention_heads"),
        (V4_FLASH | {"compress_ratios": [0, 4]}, "compress_ratios"),
        (V4_FLASH | {"compress_ratios": [5] * 43}, "compress_ratios"),
        (V4_FLASH | {"compress_ratios": [[4]] * 43}, "compress_ratios"),
        (V4_FLASH | {"compress_rates": {"compressed_sparse_attention": 8}}, "compress_rates"),
        (V4_FLASH | {"layer_types": ["linear_attention"] * 43}, "layer_types"),
        (V4_FLASH | {"mlp_layer_types": ["moe"]}, "mlp_layer_types"),
        (V4_FLASH | {"vision_n_layers": 2}, "vision_n_layers"),
    ],
)
def test_absurd_configs_are_named(config: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_architecture(config)


def test_experts_of_an_unknown_dtype_are_named() -> None:
    with pytest.raises(ConfigError, match="expert_dtype"):
        quantization_of(FP8, V4_FLASH | {"expert_dtype": "int4"})


def test_experts_that_another_method_packs_are_not_taken_for_fp8() -> None:
    with pytest.raises(UnknownLayoutError, match="moe_quant_algo"):
        read_quantization("fp8", FP8 | {"moe_quant_algo": "NVFP4"})


def test_a_quantized_kv_projection_is_unpacked_once_more() -> None:
    deepseek = read_architecture(V3)
    each = 128 * (128 + 128) * 512 * 2
    assert absorbed_bytes(deepseek, quantization_of(FP8), Parallelism(), served_dtype="bfloat16") == 61 * each
    assert absorbed_bytes(deepseek, quantization_of(FP8), Parallelism(8), served_dtype="bfloat16") == 61 * each // 8
    assert absorbed_bytes(deepseek, None, Parallelism(), served_dtype="bfloat16") == 0


def test_context_is_expanded_for_64_ki_tokens_at_most() -> None:
    deepseek = read_architecture(V3)
    limits = {"max_model_len": 163_840, "max_num_seqs": 1024, "block_size": 16}
    assert context_rows(deepseek, **limits) == 65_536
    assert expanded_context_bytes(deepseek, Parallelism(), **limits, served_dtype="bfloat16") == 4 << 30
    assert gathered_context_bytes(deepseek, **limits, served_dtype="bfloat16") == 65_536 * 576 * 2
    short = {"max_model_len": 1000, "max_num_seqs": 4, "block_size": 64}
    assert context_rows(deepseek, **short) == 8000
    assert context_rows(deepseek, **short | {"max_model_len": 1001}) == 8064


def test_sparse_attention_has_workspaces_of_its_own() -> None:
    sparse, dense = read_architecture(V32), read_architecture(V3)
    assert indexer_workspace_bytes(sparse, max_model_len=163_840) == 40 * 163_840 * 132 + (1 << 20)
    assert indexer_workspace_bytes(dense, max_model_len=163_840) == 0
    assert picked_tokens_bytes(sparse, max_num_batched_tokens=8192) == 8192 * 2048 * 4
    hopper = Device((9, 0), "bfloat16", "fp8_ds_mla")
    assert unpacked_context_bytes(sparse, hopper, max_model_len=163_840) == 5 * 163_840 * 576 * 2
    assert mask_bytes(sparse, Device((10, 0), "bfloat16", "auto")) == 128 << 20
    assert mask_bytes(sparse, Device((10, 0), "bfloat16", "fp8")) == 0


def test_triton_decodes_in_splits_that_the_gpu_bounds() -> None:
    lite = read_architecture(V2_LITE)
    long = triton_workspace_bytes(lite, Parallelism(), max_model_len=163_840, max_num_seqs=256, processors=108)
    assert long == 256 * 16 * 216 * 513 * 4
    short = triton_workspace_bytes(lite, Parallelism(2), max_model_len=4096, max_num_seqs=256, processors=108)
    assert short == 256 * 8 * 8 * 513 * 4


def test_windows_beside_latents_get_blocks_for_all_tokens_where_their_pages_do_not_match() -> None:
    latent = CacheSpec(CacheKind.LATENT, 16, 16 * 1152)
    window = CacheSpec(CacheKind.SLIDING, 16, 16 * 2000, window=128)
    layout = kv_layout((latent, window), dtype="bfloat16", in_flight_tokens=1024)
    assert (len(layout.groups), layout.bytes_per_block) == (1, 16 * 3152)
    assert layout.blocks_per_request(4096) == 256
    chunks = CacheSpec(CacheKind.CHUNKED, 16, 16 * 2000, chunk=128)
    with pytest.raises(PagesError):
        kv_layout((latent, chunks), dtype="bfloat16", in_flight_tokens=1024)
