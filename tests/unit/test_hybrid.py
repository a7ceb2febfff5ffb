"""Hybrids and models of states alone, against figures that vLLM 0.33.0 itself gives for these configs.

The figures are those of an H100 with 16 GiB for the cache and requests of 4096 tokens.
"""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.parameters.tensors import content, expected_tensors
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.kv_cache.blocks import KvLayout
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.kv_cache.states import hybrid_block_size
from compiler.lock.models import TensorKind

Config = dict[str, Any]

NEMOTRON_NANO: Config = {
    "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "hidden_size": 2688, "head_dim": 128,
    "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME", "num_attention_heads": 32,
    "num_key_value_heads": 2, "mamba_num_heads": 64, "mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 128,
    "conv_kernel": 4, "use_conv_bias": True, "intermediate_size": 1856, "moe_intermediate_size": 1856,
    "moe_shared_expert_intermediate_size": 3712, "n_routed_experts": 128, "n_shared_experts": 1,
    "num_experts_per_tok": 6, "vocab_size": 131072, "max_position_embeddings": 262144, "torch_dtype": "bfloat16",
}  # fmt: skip
NEMOTRON_ULTRA = NEMOTRON_NANO | {
    "hidden_size": 8192, "num_attention_heads": 64, "mamba_num_heads": 256, "moe_latent_size": 2048,
    "intermediate_size": 5120, "moe_intermediate_size": 5120, "moe_shared_expert_intermediate_size": 10240,
    "n_routed_experts": 512, "num_experts_per_tok": 22, "layers_block_type": [
        {"M": "mamba", "E": "moe", "*": "attention"}[kind] for kind in
        "MEMEMEM*EMEMEM*EMEMEMEM*EMEMEMEM*EMEMEM*EMEMEMEM*EMEMEMEM*EMEMEM*EMEMEMEM*EMEMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"
    ],
}  # fmt: skip
NEMOTRON_56B: Config = {
    "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "hidden_size": 8192,
    "attention_head_dim": 128, "hybrid_override_pattern": "M-M-M-M*-" + "M-M-M-M-M*-" * 9 + "M-M-M-M-M-",
    "intermediate_size": 32768, "mamba_num_heads": 256, "mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 256,
    "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 131072, "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}  # fmt: skip
QWEN3_NEXT: Config = {
    "architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "hidden_size": 2048, "head_dim": 256,
    "intermediate_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2,
    "full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128,
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_value_head_dim": 128, "num_experts": 512,
    "num_experts_per_tok": 10, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
    "decoder_sparse_step": 1, "mlp_only_layers": [], "vocab_size": 151936, "max_position_embeddings": 262144,
    "torch_dtype": "bfloat16",
}  # fmt: skip
QWEN3_8_MOE: Config = {
    "architectures": ["Qwen3_5MoeForCausalLM"], "model_type": "qwen3_5_moe_text", "hidden_size": 8192,
    "head_dim": 256, "num_hidden_layers": 92, "num_attention_heads": 64, "num_key_value_heads": 4,
    "attn_output_gate": True, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_num_key_heads": 16,
    "linear_num_value_heads": 128, "linear_value_head_dim": 128, "mamba_ssm_dtype": "float32", "num_experts": 512,
    "num_experts_per_tok": 10, "moe_intermediate_size": 2048, "shared_expert_intermediate_size": 2048,
    "vocab_size": 248320, "max_position_embeddings": 262144, "dtype": "bfloat16",
}  # fmt: skip
GRANITE_SMALL: Config = {
    "architectures": ["GraniteMoeHybridForCausalLM"], "model_type": "granitemoehybrid", "hidden_size": 4096,
    "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 768,
    "layer_types": ["attention" if index in (5, 15, 25, 35) else "mamba" for index in range(40)],
    "shared_intermediate_size": 1536, "num_local_experts": 72, "num_experts_per_tok": 10, "mamba_n_heads": 128,
    "mamba_d_head": 64, "mamba_n_groups": 1, "mamba_d_state": 128, "mamba_d_conv": 4, "mamba_expand": 2,
    "vocab_size": 100352, "tie_word_embeddings": True, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
}  # fmt: skip
FALCON_H1: Config = {
    "architectures": ["FalconH1ForCausalLM"], "model_type": "falcon_h1", "hidden_size": 5120,
    "intermediate_size": 21504, "num_hidden_layers": 72, "num_attention_heads": 20, "num_key_value_heads": 4,
    "head_dim": 128, "mamba_d_ssm": 4096, "mamba_n_heads": 32, "mamba_d_head": 128, "mamba_n_groups": 2,
    "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_rms_norm": False, "vocab_size": 261120,
    "max_position_embeddings": 262144, "torch_dtype": "bfloat16",
}  # fmt: skip
JAMBA: Config = {
    "architectures": ["JambaForCausalLM"], "model_type": "jamba", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "mamba_d_state": 16,
    "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": 256, "attn_layer_period": 8, "attn_layer_offset": 4,
    "expert_layer_period": 2, "expert_layer_offset": 1, "num_experts": 16, "num_experts_per_tok": 2,
    "vocab_size": 65536, "max_position_embeddings": 262144, "torch_dtype": "bfloat16",
}  # fmt: skip
LFM2: Config = {
    "architectures": ["Lfm2ForCausalLM"], "model_type": "lfm2", "hidden_size": 2048, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "block_dim": 2048, "block_ff_dim": 12288, "conv_dim": 2048,
    "block_auto_adjust_ff_dim": True, "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 256, "conv_L_cache": 3,
    "full_attn_idxs": [2, 5, 8, 10, 12, 14], "vocab_size": 65536, "max_position_embeddings": 128000,
    "torch_dtype": "bfloat16",
}  # fmt: skip
LFM2_MOE: Config = {
    "architectures": ["Lfm2MoeForCausalLM"], "model_type": "lfm2_moe", "hidden_size": 2048, "num_hidden_layers": 24,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 7168, "moe_intermediate_size": 1792,
    "num_dense_layers": 2, "num_experts": 32, "num_experts_per_tok": 4, "use_expert_bias": True, "conv_L_cache": 3,
    "layer_types": ["full_attention" if index in (2, 6, 10, 14, 18, 21) else "conv" for index in range(24)],
    "vocab_size": 65536, "max_position_embeddings": 128000, "torch_dtype": "bfloat16",
}  # fmt: skip
FALCON_MAMBA: Config = {
    "architectures": ["FalconMambaForCausalLM"], "model_type": "falcon_mamba", "hidden_size": 4096,
    "intermediate_size": 8192, "num_hidden_layers": 64, "state_size": 16, "conv_kernel": 4, "expand": 16,
    "time_step_rank": 256, "use_conv_bias": True, "vocab_size": 65024, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}  # fmt: skip
MAMBA2: Config = {
    "architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "hidden_size": 4096, "num_hidden_layers": 64,
    "state_size": 128, "conv_kernel": 4, "expand": 2, "num_heads": 128, "head_dim": 64, "n_groups": 8,
    "use_conv_bias": True, "vocab_size": 32768, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
ZAMBA2: Config = {
    "architectures": ["Zamba2ForCausalLM"], "model_type": "zamba2", "hidden_size": 2048, "intermediate_size": 8192,
    "num_hidden_layers": 38, "num_attention_heads": 32, "num_key_value_heads": 32, "num_mem_blocks": 1,
    "layers_block_type": ["hybrid" if index % 6 == 5 else "mamba" for index in range(38)], "mamba_d_state": 64,
    "mamba_d_conv": 4, "mamba_expand": 2, "mamba_ngroups": 1, "n_mamba_heads": 64, "adapter_rank": 128,
    "use_shared_attention_adapter": True, "use_conv_bias": True, "vocab_size": 32000,
    "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
}  # fmt: skip
KIMI_LINEAR: Config = {
    "architectures": ["KimiLinearForCausalLM"], "model_type": "kimi_linear", "hidden_size": 2304,
    "intermediate_size": 9216, "num_hidden_layers": 27, "num_attention_heads": 32, "num_key_value_heads": 32,
    "kv_lora_rank": 512, "q_lora_rank": None, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "mla_use_nope": True, "moe_intermediate_size": 1024, "num_experts": 256, "num_experts_per_token": 8,
    "num_shared_experts": 1, "first_k_dense_replace": 1, "vocab_size": 163840, "model_max_length": 1048576,
    "linear_attn_config": {
        "kda_layers": [index for index in range(1, 27) if index % 4], "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
        "head_dim": 128, "num_heads": 32, "short_conv_kernel_size": 4,
    },
    "dtype": "bfloat16",
}  # fmt: skip
KIMI_K3_TEXT = KIMI_LINEAR | {
    "hidden_size": 7168, "intermediate_size": 33792, "num_hidden_layers": 93, "num_attention_heads": 96,
    "q_lora_rank": 1536, "mla_use_output_gate": True, "moe_intermediate_size": 3072, "num_experts": 896,
    "num_experts_per_token": 16, "num_shared_experts": 2, "attn_res_block_size": 12, "latent_moe_use_norm": True,
    "routed_expert_hidden_size": 3584,
    "linear_attn_config": {
        "kda_layers": [index for index in range(1, 93) if index % 4], "full_attn_layers": [*range(4, 93, 4), 93],
        "head_dim": 128, "num_heads": 96, "short_conv_kernel_size": 4, "use_full_rank_gate": True,
        "gate_lower_bound": -5.0,
    },
}  # fmt: skip
OLMO_HYBRID: Config = {
    "architectures": ["OlmoHybridForCausalLM"], "model_type": "olmo_hybrid", "hidden_size": 3840,
    "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 30, "num_key_value_heads": 30,
    "linear_num_key_heads": 30, "linear_num_value_heads": 30, "linear_key_head_dim": 96,
    "linear_value_head_dim": 192, "linear_conv_kernel_dim": 4, "vocab_size": 100352,
    "max_position_embeddings": 65536, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip

FAMILIES = (
    NEMOTRON_NANO, NEMOTRON_ULTRA, NEMOTRON_56B, QWEN3_NEXT, QWEN3_8_MOE, GRANITE_SMALL, FALCON_H1, JAMBA, LFM2,
    LFM2_MOE, FALCON_MAMBA, MAMBA2, ZAMBA2, KIMI_LINEAR, KIMI_K3_TEXT, OLMO_HYBRID,
)  # fmt: skip


def layout_of(
    config: Config, parallelism: Parallelism, dtype: str = "bfloat16", capability: tuple[int, int] | None = (9, 0)
) -> KvLayout:
    return rank_kv_layout(
        read_architecture(config),
        parallelism,
        dtype=dtype,
        block_size=16,
        max_num_batched_tokens=8192,
        served_dtype="bfloat16",
        compute_capability=capability,
    )


def weights(config: Config, parallelism: Parallelism, block: Config | None = None) -> int:
    architecture = read_architecture(config)
    quantization = read_quantization(block["quant_method"] if block else None, block)
    check_split(architecture, quantization, parallelism)
    return rank_weights(architecture, quantization, parallelism, served_dtype="bfloat16")


@pytest.mark.parametrize(
    ("config", "parallelism", "size", "blocks", "capacity"),
    [
        (NEMOTRON_NANO, Parallelism(1), 63_155_889_408, 1_334, 390_290),
        (NEMOTRON_NANO, Parallelism(8), 7_914_787_520, 10_591, 2_169_036),
        (NEMOTRON_NANO, Parallelism(1, 2, 0), 31_023_867_136, 2_668, 780_580),
        (NEMOTRON_NANO, Parallelism(1, 2, 1), 33_541_313_792, 2_668, 780_580),
        (NEMOTRON_ULTRA, Parallelism(1), 1_098_618_060_800, 168, 52_932),
        (NEMOTRON_ULTRA, Parallelism(8), 140_537_548_800, 1_344, 393_216),
        (NEMOTRON_56B, Parallelism(1), 112_648_728_576, 101, 21_773),
        (NEMOTRON_56B, Parallelism(8), 14_082_797_056, 812, 175_050),
        (QWEN3_NEXT, Parallelism(1), 159_348_784_896, 1_213, 292_261),
        (QWEN3_NEXT, Parallelism(8), 20_026_091_360, 7_281, 962_031),
        (QWEN3_NEXT, Parallelism(1, 2, 0), 80_296_720_256, 2_427, 584_764),
        (QWEN3_NEXT, Parallelism(1, 2, 1), 80_296_724_352, 2_427, 584_764),
        (QWEN3_8_MOE, Parallelism(1), 4_839_609_413_632, 86, 32_023),
        (QWEN3_8_MOE, Parallelism(8), 605_726_935_776, 670, 211_101),
        (GRANITE_SMALL, Parallelism(1), 64_414_685_184, 1_985, 232_301),
        (GRANITE_SMALL, Parallelism(2), 32_257_265_664, 3_971, 464_720),
        (GRANITE_SMALL, Parallelism(1, 2, 1), 32_618_388_480, 3_971, 464_720),
        (FALCON_H1, Parallelism(1), 67_284_447_232, 112, 65_536),
        (FALCON_H1, Parallelism(2), 33_642_966_016, 224, 131_072),
        (FALCON_H1, Parallelism(1, 2, 1), 33_642_228_736, 224, 131_072),
        (JAMBA, Parallelism(1), 103_147_986_688, 13_107, 813_428),
        (JAMBA, Parallelism(2), 51_575_316_224, 26_214, 1_626_856),
        (JAMBA, Parallelism(1, 2, 0), 52_110_868_352, 26_214, 1_626_856),
        (LFM2, Parallelism(1), 2_340_681_216, 87_381, 1_376_586),
        (LFM2, Parallelism(2), 1_170_408_960, 174_762, 2_753_173),
        (LFM2, Parallelism(1, 2, 1), 1_291_965_440, 131_072, 2_064_888),
        (LFM2_MOE, Parallelism(1), 16_679_862_528, 87_381, 1_366_078),
        (LFM2_MOE, Parallelism(2), 8_341_475_584, 174_762, 2_732_157),
        (FALCON_MAMBA, Parallelism(1), 14_562_107_392, 862, 3_530_752),
        (FALCON_MAMBA, Parallelism(2), 7_281_319_936, 1_724, 7_061_504),
        (MAMBA2, Parallelism(1), 14_570_823_680, 124, 507_904),
        (MAMBA2, Parallelism(2), 7_285_678_080, 248, 1_015_808),
        (ZAMBA2, Parallelism(1), 2_410_162_688, 3_640, 139_340),
        (ZAMBA2, Parallelism(2), 1_240_318_976, 7_281, 278_719),
        (OLMO_HYBRID, Parallelism(1), 14_861_741_376, 1_747, 123_374),
        (OLMO_HYBRID, Parallelism(2), 7_431_186_336, 3_495, 246_819),
        (OLMO_HYBRID, Parallelism(1, 2, 1), 8_201_577_888, 3_495, 246_819),
        (KIMI_LINEAR, Parallelism(1), 98_247_507_968, 1_109, 504_718),
        (KIMI_LINEAR, Parallelism(8), 24_122_537_792, 8_322, 1_549_405),
        (KIMI_K3_TEXT, Parallelism(1), 5_558_991_174_784, 107, 43_827),
        (KIMI_K3_TEXT, Parallelism(8), 704_938_719_728, 809, 220_910),
    ],
)
def test_weights_and_cache_equal_the_engine_s_own(
    config: Config, parallelism: Parallelism, size: int, blocks: int, capacity: int
) -> None:
    assert weights(config, parallelism) == size
    layout = layout_of(config, parallelism)
    assert (16 << 30) // layout.bytes_per_block == blocks
    assert layout.capacity_tokens(blocks, 4096) == capacity


@pytest.mark.parametrize(("ranks", "size"), [(1, 1_560_860_298_368), (2, 786_230_212_800), (8, 205_955_238_384)])
def test_only_experts_of_kimi_k3_are_packed(ranks: int, size: int) -> None:
    # Its checkpoint says compressed-tensors, which would pack the projections around the experts too.
    config: Config = {
        "architectures": ["KimiK3ForConditionalGeneration"], "model_type": "kimi_k3", "dtype": "bfloat16",
        "text_config": KIMI_K3_TEXT, "vision_config": {},
    }  # fmt: skip
    group = {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "float", "group_size": 32}}
    block = {"format": "mxfp4-pack-quantized", "config_groups": {"group_0": group}, "ignore": ["re:.*self_attn.*"]}
    quantization = read_quantization("compressed-tensors", block, config)
    architecture, parallelism = read_architecture(config), Parallelism(ranks)
    check_split(architecture, quantization, parallelism)
    assert rank_weights(architecture, quantization, parallelism, served_dtype="bfloat16") == size


@pytest.mark.parametrize(("ranks", "size"), [(1, 2_469_366_280_376), (2, 1_235_071_306_040)])
def test_weights_in_fp8_blocks_equal_the_engine_s_own(ranks: int, size: int) -> None:
    linear = [f"linear_attn.{part}" for part in ("in_proj_qkv", "in_proj_z", "in_proj_a", "in_proj_b", "out_proj")]
    shared = [f"mlp.shared_expert.{part}_proj" for part in ("gate", "up", "down")]
    attention = [f"self_attn.{part}_proj" for part in "qkvo"]
    skipped = [f"model.layers.{index}.{name}" for index in range(92) for name in (*linear, *shared, *attention)]
    block = {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "modules_to_not_convert": skipped,
    }
    assert weights(QWEN3_8_MOE, Parallelism(ranks), block) == size


def test_fp8_halves_keys_but_not_states() -> None:
    layout = layout_of(NEMOTRON_NANO, Parallelism(), "fp8")
    assert (layout.block_size, (16 << 30) // layout.bytes_per_block) == (4176, 1339)
    assert layout.capacity_tokens(1339, 4096) == 421_888


def test_groups_are_those_of_the_whole_model_on_every_stage() -> None:
    """46 of 92 layers have 35 states and 11 attentions, yet the groups are those of 69 and 23."""
    first, second = (layout_of(QWEN3_8_MOE, Parallelism(2, 2, stage)) for stage in (0, 1))
    assert [group.layers for group in first.groups] == [12, 12, 11, 11]
    assert [group.layers for group in second.groups] == [11, 11, 12, 12]
    assert (16 << 30) // first.bytes_per_block == 330


@pytest.mark.parametrize(
    ("capability", "block", "states"),
    [((9, 0), 576, 3), ((10, 0), 576, 3), ((12, 0), 576, 3), ((8, 9), 544, 2), (None, 544, 2)],
)
def test_states_from_the_midst_of_a_prefill_are_kept_only_where_a_kernel_exports_them(
    capability: tuple[int, int] | None, block: int, states: int
) -> None:
    layout = layout_of(QWEN3_NEXT, Parallelism(), capability=capability)
    assert layout.block_size == block
    assert {group.spec.states for group in layout.groups} == {0, states}


@pytest.mark.parametrize(
    ("config", "block", "blocks", "capacity"),
    [
        (QWEN3_NEXT, 544, 1_285, 478_487),
        (NEMOTRON_NANO, 2_096, 1_334, 910_677),
        (LFM2_MOE, 16, 87_381, 1_381_901),
    ],
)
def test_without_prefix_caching_a_request_holds_one_state(
    config: Config, block: int, blocks: int, capacity: int
) -> None:
    layout = rank_kv_layout(
        read_architecture(config),
        Parallelism(),
        dtype="bfloat16",
        block_size=16,
        max_num_batched_tokens=8192,
        prefix_caching=False,
    )
    assert (layout.block_size, (16 << 30) // layout.bytes_per_block) == (block, blocks)
    assert layout.capacity_tokens(blocks, 4096) == capacity


def test_states_alone_are_kept_at_boundaries_only_where_prefix_caching_is_asked_for() -> None:
    layout = rank_kv_layout(
        read_architecture(MAMBA2),
        Parallelism(),
        dtype="bfloat16",
        block_size=16,
        max_num_batched_tokens=8192,
        prefix_caching=True,
    )
    assert layout.capacity_tokens((16 << 30) // layout.bytes_per_block, 4096) == 169_301


def test_a_group_of_a_state_is_copied_only_where_it_is_the_only_one() -> None:
    check_split(read_architecture(GRANITE_SMALL), None, Parallelism(8))
    with pytest.raises(SplitError, match="8 groups"):
        check_split(read_architecture(NEMOTRON_NANO), None, Parallelism(16))


@pytest.mark.parametrize("config", [MAMBA2, ZAMBA2])
def test_models_that_vllm_does_not_pipeline_are_refused_stages(config: Config) -> None:
    with pytest.raises(SplitError, match="pipeline"):
        check_split(read_architecture(config), None, Parallelism(1, 2))


def test_granite_without_states_is_plain_attention() -> None:
    config = GRANITE_SMALL | {"layer_types": ["attention"] * 40}
    layout = layout_of(config, Parallelism())
    assert (layout.block_size, len(layout.groups)) == (16, 1)


def test_blocks_of_attention_take_at_least_what_a_state_takes() -> None:
    assert hybrid_block_size(16, token_bytes=1024, state_bytes=16 * 1024, alignment=16) == 16
    assert hybrid_block_size(16, token_bytes=1024, state_bytes=16 * 1024 + 1, alignment=16) == 32
    assert hybrid_block_size(64, token_bytes=1024, state_bytes=1, alignment=64) == 64


def test_layers_that_predict_several_tokens_are_not_counted_as_unknown_weights() -> None:
    expected = expected_tensors(read_architecture(QWEN3_NEXT), None)
    extra = TensorKind(name="mtp.fc.weight", dtype="BF16", shape=(2048, 4096), count=1)
    assert content((*expected, extra), tied=False) == content(expected, tied=False)


def test_awq_leaves_the_narrow_projections_of_a_delta_net_whole() -> None:
    """64 rows are the least that its kernels take: vLLM keeps them on every rank."""
    plain = weights(QWEN3_8_MOE, Parallelism(8))
    whole = weights(QWEN3_8_MOE | {"quantization_config": {"quant_method": "awq"}}, Parallelism(8))
    assert whole - plain == 69 * 2 * (128 - 16) * 8192 * 2


@pytest.mark.parametrize("config", FAMILIES, ids=lambda config: str(config["architectures"][0]))
def test_equal_layers_are_one_object(config: Config) -> None:
    layers = read_architecture(config).layers
    assert len({id(layer) for layer in layers}) == len(set(layers))


ABSURD: tuple[Any, ...] = (0, -1, True, 2.5, "many", [], {}, [None], [[]], [{}], 10**12, "", {"factor": []})
