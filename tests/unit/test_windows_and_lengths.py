"""Windows and lengths as transformers reads raw config.json: a window too many halves the cache that is planned."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.windows import layer_windows, uniform_windows
from compiler.checkpoints.lengths import max_model_len

KINDS = ["sliding_attention", "full_attention"]


@pytest.mark.parametrize(
    ("config", "windows"),
    [
        ({"model_type": "llama"}, [None] * 4),
        ({"model_type": "llama", "sliding_window": 1024}, [1024] * 4),
        ({"model_type": "llama", "sliding_window": 0}, [None] * 4),
        ({"model_type": "mistral"}, [4096] * 4),
        ({"model_type": "mistral", "sliding_window": None}, [None] * 4),
        ({"model_type": "qwen2", "sliding_window": 1024}, [None] * 4),
        ({"model_type": "qwen2", "sliding_window": 1024, "use_sliding_window": True}, [None] * 4),
        ({"model_type": "qwen3", "use_sliding_window": True, "max_window_layers": 0}, [4096] * 4),
        ({"model_type": "gemma2"}, [4096, None, 4096, None]),
        ({"model_type": "gemma3_text", "sliding_window": 512}, [512] * 4),
        ({"model_type": "gemma3_text", "sliding_window": 512, "sliding_window_pattern": 3}, [512, 512, None, 512]),
        ({"model_type": "olmo3"}, [4096, 4096, 4096, None]),
        ({"model_type": "other", "sliding_window": 8, "layer_types": KINDS * 2}, [8, None, 8, None]),
        ({"model_type": "other", "layer_types": KINDS * 2}, [None] * 4),
    ],
)
def test_windows_of_layers(config: dict[str, Any], windows: list[int | None]) -> None:
    assert list(layer_windows(Config(config), 4)) == windows


def test_a_class_that_reads_no_layer_types_has_one_window_or_none() -> None:
    mixed = Config({"model_type": "other", "sliding_window": 8, "layer_types": KINDS * 2})
    assert uniform_windows(mixed, 4) == (None,) * 4
    assert uniform_windows(Config({"model_type": "other", "sliding_window": 8}), 4) == (8,) * 4


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"layer_types": ["sliding_attention"]}, "layer_types"),
        ({"layer_types": ["diagonal"] * 4}, "layer_types"),
        ({"model_type": "mistral", "sliding_window": "wide"}, "sliding_window"),
        ({"model_type": "gemma3_text", "sliding_window_pattern": 0}, "sliding_window_pattern"),
        ({"model_type": "exaone4", "sliding_window_pattern": "LLLG"}, "sliding_window_pattern"),
    ],
)
def test_windows_that_cannot_be_are_named(config: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        layer_windows(Config(config), 4)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({}, 2048),
        ({"model_type": "bloom"}, 2048),
        ({"model_type": "qwen2"}, 32768),
        ({"model_type": "llama", "max_position_embeddings": 8192, "seq_length": 4096}, 4096),
        ({"model_type": "cohere", "max_position_embeddings": 8192, "model_max_length": 131072}, 131072),
        ({"max_position_embeddings": 4096, "rope_scaling": {"factor": 2.0}}, 8192),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "dynamic", "factor": 2}}, 8192),
        (
            {
                "max_position_embeddings": 4096,
                "rope_scaling": {"type": "su", "factor": 32, "short_factor": [1.0], "long_factor": [2.0]},
            },
            4096,
        ),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 0.5}}, 2048),
        ({"model_type": "gemma3_text", "max_position_embeddings": 4096, "rope_scaling": {"factor": 8.0}}, 4096),
        (
            {
                "max_position_embeddings": 4096,
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 4.0},
                    "sliding_attention": {"rope_type": "default"},
                },
            },
            16384,
        ),
    ],
)
def test_lengths(config: dict[str, Any], length: int) -> None:
    assert max_model_len(Config(config)) == length


@pytest.mark.parametrize("factor", ["two", True, -1, 0, 1e9])
def test_factors_that_cannot_be_are_named(factor: Any) -> None:
    config = {"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": factor}}
    with pytest.raises(ConfigError, match="factor"):
        max_model_len(Config(config))
