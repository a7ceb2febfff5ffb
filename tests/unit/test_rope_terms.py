"""Rotary positions in a config.json that the engine refuses, by vLLM 0.33.0 and the transformers that it pins."""

from __future__ import annotations

import pytest

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.read import read_architecture
from tests.unit.test_class_terms import Config, dense, within
from tests.unit.test_memory_latent import V3
from tests.unit.test_memory_moe import GPT_OSS, PHI
from tests.unit.test_memory_vision import QWEN3_VL_8B

PHI3 = dense("Phi3ForCausalLM", model_type="phi3")
FACTORS = {"short_factor": [1.0] * 32, "long_factor": [2.0] * 32}


def test_sections_of_positions_are_half_a_head() -> None:
    rope = {"rope_type": "default", "mrope_section": [24, 20, 20]}
    read_architecture(within(QWEN3_VL_8B, "text_config", rope_scaling=rope))
    with pytest.raises(ConfigError, match="mrope_section` must be numbers that give half of the 128"):
        read_architecture(within(QWEN3_VL_8B, "text_config", rope_scaling=rope | {"mrope_section": [24, 20]}))


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
        (PHI3, {"type": "longrope", "factor": 2.0}, "short_factor` is missing"),
        (PHI3, {"type": "su", **FACTORS}, "original_max_position_embeddings` is missing"),
        (PHI, {"type": "longrope", **FACTORS}, "short_mscale` is missing"),
        (V3, {"type": "linear", "factor": 2.0}, "original_max_position_embeddings` is missing"),
        (GPT_OSS, {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0}, "beta_slow` is missing"),
    ],
)
def test_positions_that_a_model_does_not_take(config: Config, rope: Config, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_architecture(config | {"rope_scaling": rope})
