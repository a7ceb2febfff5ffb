"""Values of a config.json that a class of the engine refuses are refused here, by key and value.

What each class takes was asked of vLLM 0.33.0 by building it on torch's meta device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compiler.catalog.releases import RELEASES
from compiler.memory.architecture import Encoder
from compiler.memory.config import Config as Keys
from compiler.memory.config import ConfigError
from compiler.memory.families.vision_native import kimi_k25_tower
from compiler.memory.families.vision_others import phi3_vision_tower
from compiler.memory.parallelism import Parallelism, SplitError
from compiler.memory.read import read_architecture
from compiler.memory.weights import check_split
from compiler.solve.support import why_not_wrapped
from tests.unit.test_gemma4 import GEMMA_4_26B
from tests.unit.test_headers_against_config import GLM_AIR
from tests.unit.test_hybrid import GRANITE_SMALL, KIMI_LINEAR, NEMOTRON_NANO, QWEN3_NEXT
from tests.unit.test_memory import LLAMA_8B, QWEN3_8B
from tests.unit.test_memory_latent import GLM_FLASH, MINICPM3, V2_LITE, V3, V4_FLASH
from tests.unit.test_memory_moe import (
    ERNIE,
    GPT_OSS,
    GRANITE_SHARED,
    MIMO,
    MINIMAX,
    MIXTRAL,
    PHI,
    QWEN2,
    QWEN3,
)
from tests.unit.test_memory_vision import GEMMA_3_27B, LLAVA, MISTRAL_3, QWEN2_5_VL, QWEN3_VL_8B
from tests.unit.test_minimax_m3 import M3 as MINIMAX_M3

Config = dict[str, Any]
Tower = Callable[[Keys], Encoder]
DENSE: Config = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 4, "num_attention_heads": 16,
    "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}  # fmt: skip


def dense(name: str, **more: Any) -> Config:
    return DENSE | {"architectures": [name]} | more


GPT2 = dense("GPT2LMHeadModel", n_positions=1024)
GPTJ = dense("GPTJForCausalLM", rotary_dim=64, num_key_value_heads=16)
PHI3 = dense("Phi3ForCausalLM", model_type="phi3")
FACTORS = {"short_factor": [1.0] * 32, "long_factor": [2.0] * 32}
NOMIC: Config = {
    "architectures": ["NomicBertModel"], "model_type": "nomic_bert", "n_embd": 768, "n_inner": 3072, "n_layer": 12,
    "n_head": 12, "vocab_size": 30528, "activation_function": "swiglu", "qkv_proj_bias": False, "mlp_fc1_bias": False,
    "mlp_fc2_bias": False, "rotary_emb_scale_base": None, "rotary_emb_interleaved": False, "torch_dtype": "float32",
}  # fmt: skip
STEP: Config = dense(
    "Step3p5ForCausalLM", moe_num_experts=8, moe_intermediate_size=512, moe_top_k=2, share_expert_dim=512,
    num_attention_groups=8, layer_types=["full_attention"] * 4, moe_router_activation="sigmoid",
    use_moe_router_bias=True, need_fp32_gate=True,
)  # fmt: skip
BERT: Config = dense("BertModel", type_vocab_size=2, num_key_value_heads=16)


def within(config: Config, part: str, **more: Any) -> Config:
    return config | {part: config.get(part, {}) | more}


SILU_ONLY = (
    LLAMA_8B,
    QWEN3_8B,
    QWEN2,
    ERNIE,
    GRANITE_SHARED,
    GLM_AIR,
    MIMO,
    V2_LITE,
    V4_FLASH,
    QWEN3_NEXT,
    *(dense(name) for name in ("MistralForCausalLM", "SolarForCausalLM", "OrionForCausalLM", "InternLM2ForCausalLM")),
    *(dense(name) for name in ("GraniteForCausalLM", "Exaone4ForCausalLM", "Glm4ForCausalLM")),
)


@pytest.mark.parametrize("config", SILU_ONLY, ids=lambda config: config["architectures"][0])
@pytest.mark.parametrize("value", ["gelu", "swish", None])
def test_classes_for_silu_refuse_every_other_name(config: Config, value: str | None) -> None:
    read_architecture(config | {"hidden_act": "silu"})
    with pytest.raises(ConfigError, match=r"`hidden_act` must be silu.*, not"):
        read_architecture(config | {"hidden_act": value})


@pytest.mark.parametrize(
    ("config", "key", "taken", "refused"),
    [
        (dense("ExaoneForCausalLM"), "activation_function", "silu", "gelu"),
        (dense("MiniCPMForCausalLM"), "hidden_act", "fatrelu", "gelu"),
        (MINICPM3, "hidden_act", "fatrelu", "gelu"),
        (dense("NemotronForCausalLM", model_type="nemotron"), "hidden_act", "relu2", "leaky_relu"),
        (dense("GemmaForCausalLM"), "hidden_activation", "gelu", "silu"),
        (dense("Gemma2ForCausalLM"), "hidden_activation", "gelu_pytorch_tanh", "gelu"),
        (dense("Gemma3ForCausalLM", model_type="gemma3_text"), "hidden_activation", "silu", "relu"),
        (dense("MuseGlimmerForCausalLM"), "hidden_activation", "silu", "gelu"),
        (GPT2, "activation_function", "gelu_new", "mish"),
        (GPTJ, "activation_function", "gelu_new", "mish"),
        (BERT, "hidden_act", "gelu", "mish"),
        (NEMOTRON_NANO, "mlp_hidden_act", "relu2", "mish"),
        (NEMOTRON_NANO, "mamba_hidden_act", "silu", "gelu"),
        (GRANITE_SMALL, "hidden_act", "silu", "gelu"),
        (KIMI_LINEAR, "hidden_act", "situ", "gelu"),
        (MISTRAL_3, "projector_hidden_act", "gelu", "mish"),
        (LLAVA, "projector_hidden_act", "gelu", "mish"),
    ],
)
def test_the_activations_that_a_class_takes(config: Config, key: str, taken: str, refused: str) -> None:
    read_architecture(config | {key: taken})
    with pytest.raises(ConfigError, match=f"`{key}` must be .*{taken}.*, not {refused}"):
        read_architecture(config | {key: refused})


@pytest.mark.parametrize(
    ("config", "taken", "refused"),
    [
        (QWEN3_VL_8B, "gelu_pytorch_tanh", "mish"),
        (QWEN2_5_VL, "silu", "relu2"),
        (GEMMA_3_27B, "gelu_pytorch_tanh", "mish"),
        (MISTRAL_3, "silu", "relu2"),
    ],
)
def test_the_activations_that_a_tower_takes(config: Config, taken: str, refused: str) -> None:
    read_architecture(within(config, "vision_config", hidden_act=taken))
    with pytest.raises(ConfigError, match=f"`vision_config.hidden_act` must be .*, not {refused}"):
        read_architecture(within(config, "vision_config", hidden_act=refused))


def test_the_activation_of_a_language_model_behind_a_tower() -> None:
    with pytest.raises(ConfigError, match=r"`text_config.hidden_act` must be silu"):
        read_architecture(within(QWEN3_VL_8B, "text_config", hidden_act="gelu"))
    with pytest.raises(ConfigError, match=r"`text_config.hidden_activation` must be"):
        read_architecture(within(GEMMA_4_26B, "text_config", hidden_activation="relu"))


def test_minimax_m3_has_an_activation_of_its_own() -> None:
    with pytest.raises(ConfigError, match=r"`text_config\.hidden_act` must be swigluoai.*, not silu"):
        read_architecture(within(MINIMAX_M3, "text_config", hidden_act="silu"))


@pytest.mark.parametrize(("bound", "fits"), [(-5, True), (-0.5, True), (0, False), (-6, False), ("x", False)])
def test_gates_of_kimi_have_a_bound(bound: object, fits: bool) -> None:
    linear = KIMI_LINEAR["linear_attn_config"] | {"use_full_rank_gate": True, "gate_lower_bound": bound}
    if fits:
        read_architecture(KIMI_LINEAR | {"linear_attn_config": linear})
    else:
        with pytest.raises(ConfigError, match="gate_lower_bound` must be from -5"):
            read_architecture(KIMI_LINEAR | {"linear_attn_config": linear})


def test_experts_alone_take_no_activation_of_the_config() -> None:
    for config in (QWEN3, MIXTRAL, MINIMAX, GPT_OSS):
        read_architecture(config | {"hidden_act": "gelu"})


@pytest.mark.parametrize(
    ("config", "change"),
    [
        (GPT2, {"add_cross_attention": True}),
        (GPT2, {"scale_attn_by_inverse_layer_idx": True}),
        (GPT2, {"reorder_and_upcast_attn": True}),
        (GPTJ, {"tie_word_embeddings": True}),
        (GPTJ, {"rotary": False}),
        (GPTJ, {"rotary_dim": 63}),
        (dense("NemotronForCausalLM", model_type="nemotron"), {"model_type": "llama"}),
        (dense("ChatGLMModel"), {"vision_config": {}}),
        (NOMIC, {"mlp_fc1_bias": True}),
        (NOMIC, {"rotary_emb_scale_base": 512}),
        (NOMIC, {"rotary_emb_interleaved": True}),
        (PHI, {"num_experts_per_tok": 1}),
        (MINIMAX, {"scoring_func": "tanh"}),
        (V3, {"scoring_func": "tanh"}),
        (V4_FLASH, {"scoring_func": "tanh"}),
        (KIMI_LINEAR, {"moe_router_activation_func": "tanh"}),
        (STEP, {"moe_router_activation": "tanh"}),
        (STEP, {"use_moe_router_bias": False}),
        (STEP, {"need_fp32_gate": False}),
        (STEP, {"swiglu_limits": [0, 5.0, 7.0, None]}),
        (STEP, {"att_impl_type": "MLA"}),
        (STEP, {"partial_rotary_factors": [0.5, 1.0, 0.25, 1.0]}),
        (BERT, {"position_embedding_type": "relative_key"}),
        (MIMO, {"attention_projection_layout": "fused_qkv"}),
        (QWEN3_8B, {"max_window_layers": 28, "use_sliding_window": True, "sliding_window": 4096}),
        (LLAVA, {"vision_feature_select_strategy": "first"}),
        (GPT_OSS, {"layer_types": ["full_attention"]}),
    ],
    ids=lambda value: next(iter(value)) if "architectures" not in value else value["architectures"][0],
)
def test_values_that_a_class_asserts(config: Config, change: Config) -> None:
    read_architecture(config)
    with pytest.raises(ConfigError, match=next(iter(change))):
        read_architecture(config | change)


KIMI: Config = {"text_config": {"hidden_size": 7168}}
CROPS = {"use_hd_transform": True, "with_learnable_separator": True, "hd_transform_order": "sub_glb"}
PHI3_VISION: Config = {
    "hidden_size": 3072, "vocab_size": 32064, "img_processor": {"image_dim_out": 1024}, "embd_layer": CROPS,
}  # fmt: skip


@pytest.mark.parametrize(
    ("tower", "config", "part", "key", "value"),
    [
        (kimi_k25_tower, KIMI, "vision_config", "pos_emb_type", "learned"),
        (kimi_k25_tower, KIMI, "vision_config", "mlp_type", "mlp3"),
        (kimi_k25_tower, KIMI, "vision_config", "video_attn_type", "spatial"),
        (kimi_k25_tower, KIMI, "vision_config", "merge_type", "none"),
        (kimi_k25_tower, KIMI, "vision_config", "norm_type", "batch"),
        (kimi_k25_tower, KIMI, "vision_config", "num_attention_heads", 64),
        (kimi_k25_tower, KIMI, "vision_config", "hidden_act", "mish"),
        (phi3_vision_tower, PHI3_VISION, "embd_layer", "use_hd_transform", False),
        (phi3_vision_tower, PHI3_VISION, "embd_layer", "hd_transform_order", "glb_sub"),
    ],
)
def test_values_that_a_tower_asserts(tower: Tower, config: Config, part: str, key: str, value: object) -> None:
    tower(Keys(config))
    with pytest.raises(ConfigError, match=f"{part}.{key}|qkv_hidden_size"):
        tower(Keys(within(config, part, **{key: value})))


def test_the_tower_of_mistral_3_is_pixtral() -> None:
    with pytest.raises(ConfigError, match=r"`vision_config\.model_type` must be pixtral.*, not siglip_vision_model"):
        read_architecture(within(MISTRAL_3, "vision_config", model_type="siglip_vision_model"))


def test_a_config_without_an_architecture() -> None:
    with pytest.raises(ConfigError, match="`architectures` is missing"):
        read_architecture(DENSE)


def test_mxfp4_is_not_run_through_transformers() -> None:
    release = RELEASES["0.33.0"]
    assert why_not_wrapped("SeedOssForCausalLM", "mxfp4", release)
    assert why_not_wrapped("SeedOssForCausalLM", "fp8", release) is None
    assert why_not_wrapped("GptOssForCausalLM", "mxfp4", release) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "by_hand", "classifier_from_token": ["yes", "no"]}, "`method` must be"),
        ({"method": "no_post_processing"}, "the tokens of its scores"),
        ({"method": "from_2_way_softmax", "classifier_from_token": ["yes"]}, "two tokens"),
        ({"is_original_qwen3_reranker": True, "classifier_from_token": ["yes"]}, "two tokens, not 1"),
    ],
)
def test_scores_that_are_made_of_the_output_head(change: Config, words: str) -> None:
    scoring = QWEN3_8B | {"architectures": ["Qwen3ForSequenceClassification"]}
    read_architecture(scoring | {"method": "from_2_way_softmax", "classifier_from_token": ["no", "yes"]})
    with pytest.raises(ConfigError, match=words):
        read_architecture(scoring | change)


def test_towers_whose_patches_fill_an_image() -> None:
    with pytest.raises(ConfigError, match=r"`vision_config\.image_size` 340 is not a multiple of patch_size 14"):
        read_architecture(within(LLAVA, "vision_config", image_size=340, patch_size=14))


@pytest.mark.parametrize("key", ["scoring_func", "rotary_dim"])
def test_keys_that_a_class_looks_up(key: str) -> None:
    with pytest.raises(ConfigError, match=f"`{key}` is missing"):
        read_architecture({name: value for name, value in MINIMAX.items() if name != key})


@pytest.mark.parametrize(
    ("rope", "words"),
    [
        ({"rope_type": "spiral"}, "rope_type` is spiral"),
        ({"type": "linear"}, "factor` is missing"),
        ({"rope_type": "llama3", "factor": 8.0}, "low_freq_factor` is missing"),
        ({"rope_type": "longrope", "short_factor": [1.0]}, "long_factor` is missing"),
        ({"type": "mrope"}, "mrope_section` is missing"),
        ({"rope_type": "yarn", "type": "linear", "factor": 2.0}, "rope_type` is yarn and `type` linear"),
        ({"rope_type": "default", "partial_rotary_factor": 1.5}, "partial_rotary_factor` must be"),
        ({"rope_type": "default", "partial_rotary_factor": 0}, "partial_rotary_factor` must be"),
    ],
)
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_positions_that_the_engine_does_not_know(key: str, rope: Config, words: str) -> None:
    config = dense("LlamaForCausalLM")
    with pytest.raises(ConfigError, match=words):
        read_architecture(config | {key: rope})
    with pytest.raises(ConfigError, match=words):
        read_architecture(config | {key: {"full_attention": {"rope_type": "default"}, "sliding_attention": rope}})


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "default"},
        {"rope_type": "default", "type": "mrope", "mrope_section": [16, 24, 24]},
        {"type": "linear", "factor": 2.0},
        {"rope_type": "dynamic", "factor": 2.0},
        {"rope_type": "yarn", "factor": 4.0},
        {"type": "su", "rope_type": "longrope", **FACTORS},
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        {"rope_type": "proportional", "partial_rotary_factor": 0.25},
    ],
)
def test_positions_that_the_engine_knows(rope: Config) -> None:
    read_architecture(dense("LlamaForCausalLM", rope_scaling=rope))


def test_the_older_of_two_kinds_of_positions_is_taken() -> None:
    newer = {"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}
    assert read_architecture(dense("LlamaForCausalLM", **newer)).max_model_len == 8192


@pytest.mark.parametrize(
    ("config", "rope", "words"),
    [
        (PHI3, {"type": "linear", "factor": 2.0}, "must be default or longrope"),
        (PHI3, {"type": "yarn", "factor": 2.0}, "short_factor` is missing"),
        (PHI, {"type": "longrope", **FACTORS}, "short_mscale` is missing"),
        (V3, {"type": "linear", "factor": 2.0}, "original_max_position_embeddings` is missing"),
        (GPT_OSS, {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0}, "beta_slow` is missing"),
    ],
)
def test_positions_that_a_model_does_not_take(config: Config, rope: Config, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_architecture(config | {"rope_scaling": rope})


def split(config: Config, stages: int, ranks: int = 1) -> None:
    check_split(read_architecture(config), None, Parallelism(ranks, stages))


@pytest.mark.parametrize(
    ("config", "stages", "held"),
    [
        (GLM_AIR | {"first_k_dense_replace": 23}, 2, "from 0 to 22"),
        (GLM_FLASH | {"first_k_dense_replace": 24}, 2, "from 0 to"),
        (QWEN3 | {"mlp_only_layers": list(range(24)), "intermediate_size": 6144}, 2, "from 0 to 23"),
        (QWEN3 | {"mlp_only_layers": list(range(48)), "intermediate_size": 6144}, 1, "from 0 to 47"),
        (STEP | {"moe_layers_enum": "2,3"}, 2, "from 0 to 1"),
    ],
)
def test_stages_without_experts_are_refused(config: Config, stages: int, held: str) -> None:
    with pytest.raises(SplitError, match=f"no layer {held}.* has experts"):
        split(config, stages)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (MIMO | {"swa_num_key_value_heads": 16, "swa_num_attention_heads": 96, "num_attention_heads": 60}, "60 att"),
        (MIMO | {"swa_num_attention_heads": 60, "swa_num_key_value_heads": 4}, "60 attention heads"),
        (MIMO | {"swa_num_attention_heads": 96, "swa_num_key_value_heads": 12}, "12 KV heads and 8 ranks"),
        (STEP | {"num_sliding_attention_heads": 12, "layer_types": ["full_attention", "sliding_attention"] * 2}, "12"),
    ],
)
def test_heads_of_each_kind_of_attention_are_divided(config: Config, words: str) -> None:
    with pytest.raises(SplitError, match=words):
        split(config, 1, ranks=8)


def test_stages_with_experts_and_classes_that_only_warn() -> None:
    split(GLM_AIR, 2)
    split(V2_LITE | {"first_k_dense_replace": V2_LITE["num_hidden_layers"] // 2 + 1}, 2)


def test_the_layers_that_get_features_of_the_tower_are_on_the_first_stage() -> None:
    shallow = within(QWEN3_VL_8B, "text_config", num_hidden_layers=4)
    with pytest.raises(SplitError, match=r"first stage has 2 layers, .* first 3"):
        split(shallow, 2)
    split(within(shallow, "vision_config", deepstack_visual_indexes=[8, 16]), 2)
    split(QWEN3_VL_8B, 4)


def test_experts_of_gpt_oss_divide_by_all_ranks() -> None:
    split(GPT_OSS, 3)
    with pytest.raises(SplitError, match="2880 do not divide by 7, all ranks of all stages"):
        split(GPT_OSS, 7)
