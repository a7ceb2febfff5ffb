"""Values of a config.json that a class of the engine refuses are refused here, by key and value.

What each class takes was asked of vLLM 0.33.0 by building it on torch's meta device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compiler.checkpoints.architecture import Encoder
from compiler.checkpoints.config import Config as Keys
from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.families.towers.native import kimi_k25_tower
from compiler.checkpoints.families.towers.others import phi3_vision_tower
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_head
from compiler.engines.vllm.judge.support import why_not_wrapped
from compiler.engines.vllm.releases import RELEASES
from tests.unit.test_gemma4 import GEMMA_4_26B
from tests.unit.test_headers_against_config import GLM_AIR
from tests.unit.test_hybrid import FALCON_H1, GRANITE_SMALL, KIMI_LINEAR, NEMOTRON_NANO, OLMO_HYBRID, QWEN3_NEXT
from tests.unit.test_memory import LLAMA_8B, QWEN3_8B, QWEN_32B
from tests.unit.test_memory_latent import MINICPM3, V2_LITE, V3, V4_FLASH
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
    linear = KIMI_LINEAR["linear_attn_config"] | {"gate_lower_bound": bound}
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
        (V3, {"n_group": None}),
        (V3, {"n_group": 7}),
        (GLM_AIR, {"topk_group": None}),
        (OLMO_HYBRID, {"linear_use_gate": False}),
        (NEMOTRON_NANO, {"mlp_hidden_act": "quick_gelu"}),
        (QWEN2, {"layer_types": ["full_attention"]}),
        (QWEN3_NEXT, {"output_gate_type": "tanh"}),
        (FALCON_H1, {"mlp_multipliers": [1.0]}),
        (FALCON_H1, {"ssm_multipliers": [1.0] * 4}),
        (dense("MuseGlimmerForCausalLM"), {"layer_rope_theta": [1e4]}),
        (dense("SmolLM3ForCausalLM", model_type="smollm3"), {"no_rope_layers": [1, 0]}),
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


@pytest.mark.parametrize(
    "change",
    [
        {"sbert_ce_default_activation_function": "os.system"},
        {"sentence_transformers": {"activation_fn": "sklearn.softmax"}},
    ],
)
def test_scores_are_made_by_modules_of_torch_alone(change: Config) -> None:
    scoring = BERT | {"architectures": ["BertForSequenceClassification"]}
    read_architecture(scoring | {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"})
    read_architecture(scoring | {"problem_type": "regression"} | change)
    with pytest.raises(ConfigError, match=r"must be one of torch\.nn\.modules"):
        read_architecture(scoring | change)


def test_a_quantized_output_head_computes_in_the_model_s_dtype() -> None:
    block = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True, "lm_head": True}
    packed, bare = (read_quantization("gptq", block | {"lm_head": on}, QWEN_32B) for on in (True, False))
    architecture = read_architecture(QWEN_32B)
    wide = Keys(QWEN_32B | {"head_dtype": "float32"})
    check_head(architecture, bare, wide)
    check_head(architecture, packed, Keys(QWEN_32B | {"head_dtype": "model"}))
    with pytest.raises(ConfigError, match="`head_dtype` is float32, and vLLM computes a quantized output head"):
        check_head(architecture, packed, wide)


def test_towers_whose_patches_fill_an_image() -> None:
    with pytest.raises(ConfigError, match=r"`vision_config\.image_size` 340 is not a multiple of patch_size 14"):
        read_architecture(within(LLAVA, "vision_config", image_size=340, patch_size=14))


def test_keys_that_a_configuration_class_has_no_default_for() -> None:
    nemotron = dense("NemotronForCausalLM", model_type="nemotron")
    with pytest.raises(ConfigError, match="`num_key_value_heads` is missing"):
        read_architecture({key: value for key, value in nemotron.items() if key != "num_key_value_heads"})
    vision = within(QWEN3_VL_8B, "text_config", num_experts=8, moe_intermediate_size=512, num_experts_per_tok=2)
    vision |= {"architectures": ["Qwen3VLMoeForConditionalGeneration"]}
    read_architecture(within(vision, "text_config", norm_topk_prob=True))
    with pytest.raises(ConfigError, match=r"`text_config\.norm_topk_prob` is missing"):
        read_architecture(vision)


@pytest.mark.parametrize(
    ("name", "kind", "heads"),
    [
        ("MistralForCausalLM", "mistral", 8),
        ("Starcoder2ForCausalLM", "starcoder2", 2),
        ("LlamaForCausalLM", "llama", 16),
    ],
)
def test_kv_heads_that_a_config_does_not_name_are_the_class_s_own(name: str, kind: str, heads: int) -> None:
    config = dense(name, model_type=kind, num_key_value_heads=None)
    assert read_architecture(config).num_kv_heads == 16
    del config["num_key_value_heads"]
    assert read_architecture(config).num_kv_heads == heads


def test_kv_heads_of_the_class_that_do_not_divide_its_heads() -> None:
    config = dense("Qwen2ForCausalLM", model_type="qwen2")
    del config["num_key_value_heads"]
    with pytest.raises(ConfigError, match="16 is not a multiple of num_key_value_heads 32"):
        read_architecture(config)


@pytest.mark.parametrize("key", ["scoring_func", "rotary_dim"])
def test_keys_that_a_class_looks_up(key: str) -> None:
    with pytest.raises(ConfigError, match=f"`{key}` is missing"):
        read_architecture({name: value for name, value in MINIMAX.items() if name != key})
