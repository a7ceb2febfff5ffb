"""What classes of models that few tests else know refuse of a config.json, by vLLM 0.33.0's own answers."""

from __future__ import annotations

import pytest

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from tests.unit.test_class_terms import Config, within
from tests.unit.test_engine_counts import CASES


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("AfmoeForCausalLM", {"hidden_act": "gelu"}),
        ("AfmoeForCausalLM", {"score_func": "tanh"}),
        ("AfmoeForCausalLM", {"n_group": None}),
        ("ApertusForCausalLM", {"hidden_act": "silu"}),
        ("BailingMoeV2", {"score_function": "tanh"}),
        ("Cohere2MoeForCausalLM", {"shared_expert_combination_strategy": "product"}),
        ("Ernie4_5_VLMoeForConditionalGeneration", {"moe_num_experts": [64, 32]}),
        ("Ernie4_5_VLMoeForConditionalGeneration", {"moe_layer_start_index": [30, 1]}),
        ("Ernie4_5_VLMoeForConditionalGeneration", {"moe_layer_start_index": [1, 30]}),
        ("Ernie4_5_VLMoeForConditionalGeneration", {"hidden_act": "gelu"}),
        ("ExaoneMoeForCausalLM", {"hidden_act": "gelu"}),
        ("GteModel", {"position_embedding_type": "absolute"}),
        ("HYV3ForCausalLM", {"hidden_act": "gelu"}),
        ("HyperCLOVAXForCausalLM", {"hidden_act": "gelu"}),
        ("DeepseekOCR", {"tile_tag": "1D"}),
        ("Gemma4Unified", {"vision_config": None}),
        ("LongcatFlashForCausalLM", {"hidden_act": "gelu"}),
        ("LongcatFlashForCausalLM", {"zero_expert_type": None}),
        ("LongcatFlashForCausalLM", {"num_hidden_layers": 4}),
        ("MiniCPMV26", {"version": 2.0}),
        ("LlamaBidirectionalModel", {"pooling": "max"}),
        ("LlamaBidirectionalModel", {"pooling": None}),
    ],
)
def test_values_that_a_class_asserts(name: str, change: Config) -> None:
    config = CASES[name]["config"]
    read_architecture(config)
    with pytest.raises(ConfigError, match=next(iter(change))):
        read_architecture(config | change)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Exaone4_5_ForConditionalGeneration", "gelu"),
        ("Idefics3ForConditionalGeneration", "mish"),
        ("InternS1", "mish"),
        ("Lfm2Vl", "mish"),
        ("PaddleOCR", "mish"),
        ("StepVLForConditionalGeneration", "mish"),
    ],
)
def test_activations_that_a_tower_asserts(name: str, value: str) -> None:
    config = CASES[name]["config"]
    with pytest.raises(ConfigError, match=f"`vision_config.hidden_act` must be .*, not {value}"):
        read_architecture(within(config, "vision_config", hidden_act=value))


@pytest.mark.parametrize(
    ("name", "part", "key", "value"),
    [
        ("DeepseekOCR", "projector_config", "token_pooling", True),
        ("DeepseekOCR", "projector_config", "projector_type", "mlp"),
        ("Ernie4_5_VLMoeForConditionalGeneration", "vision_config", "hidden_size", 1024),
        ("Ovis2_5", "vit_config", "model_type", "siglip_vision_model"),
        ("StepVLForConditionalGeneration", "vision_config", "use_rope2d", False),
        ("StepVLForConditionalGeneration", "vision_config", "mlp_ratio", "wide"),
        ("Gemma3n", "text_config", "hidden_activation", "gelu"),
        ("Gemma3n", "text_config", "altup_correct_scale", False),
        ("KimiVL", "vision_config", "num_attention_heads", 64),
        ("Lfm2Vl", "vision_config", "model_type", "siglip_vision_model"),
    ],
)
def test_values_that_a_tower_asserts(name: str, part: str, key: str, value: object) -> None:
    config = CASES[name]["config"]
    read_architecture(config)
    with pytest.raises(ConfigError, match=f"{part}.{key}"):
        read_architecture(within(config, part, **{key: value}))


@pytest.mark.parametrize(
    ("name", "change"),
    [("AfmoeForCausalLM", {"num_dense_layers": 2}), ("HYV3ForCausalLM", {"first_k_dense_replace": 2})],
)
def test_stages_without_experts_are_refused(name: str, change: Config) -> None:
    config = CASES[name]["config"] | change
    check_split(read_architecture(config), None, Parallelism())
    with pytest.raises(SplitError, match="no layer from 0 to 1 has experts"):
        check_split(read_architecture(config), None, Parallelism(1, 2))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Ernie4_5_VLMoeForConditionalGeneration", "im_patch_id"),
        ("Ernie4_5_VLMoeForConditionalGeneration", "tie_word_embeddings"),
        ("LongcatFlashForCausalLM", "mla_scale_q_lora"),
        ("LongcatFlashForCausalLM", "zero_expert_type"),
        ("StepVLForConditionalGeneration", "projector_bias"),
    ],
)
def test_keys_that_a_class_asks_for(name: str, key: str) -> None:
    config = {each: value for each, value in CASES[name]["config"].items() if each != key}
    with pytest.raises(ConfigError, match=key):
        read_architecture(config)
