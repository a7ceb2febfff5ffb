"""Divisions of a model that a class of the engine refuses beside those that every class does."""

from __future__ import annotations

import pytest

from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from tests.unit.test_class_terms import STEP, Config, within
from tests.unit.test_headers_against_config import GLM_AIR
from tests.unit.test_hybrid import KIMI_LINEAR, NEMOTRON_NANO, QWEN3_NEXT
from tests.unit.test_memory_latent import GLM_FLASH, V2_LITE
from tests.unit.test_memory_moe import GPT_OSS, MIMO, QWEN3
from tests.unit.test_memory_vision import QWEN3_VL_8B


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


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (NEMOTRON_NANO | {"n_groups": 6}, "6 groups of a state do not divide by 8"),
        (NEMOTRON_NANO | {"mamba_num_heads": 60}, "in_proj has 60 outputs"),
        (KIMI_LINEAR | {"linear_attn_config": KIMI_LINEAR["linear_attn_config"] | {"num_heads": 20}}, "20 outputs"),
        (QWEN3_NEXT | {"linear_num_key_heads": 12, "linear_num_value_heads": 24}, "12 groups of a state"),
    ],
)
def test_heads_and_groups_of_recurrent_layers_are_divided(config: Config, words: str) -> None:
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
