"""Configs of hybrids that are absurd, incomplete or beyond what vLLM serves: each is named by its key."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.read import read_architecture
from tests.unit.test_hybrid import (
    FAMILIES,
    GRANITE_SMALL,
    JAMBA,
    KIMI_LINEAR,
    LFM2,
    NEMOTRON_NANO,
    QWEN3_8_MOE,
    QWEN3_NEXT,
    ZAMBA2,
    Config,
    layout_of,
    weights,
)

ABSURD: tuple[Any, ...] = (0, -1, True, 2.5, "many", [], {}, [None], [[]], [{}], 10**12, "", {"factor": []})


@pytest.mark.parametrize("config", FAMILIES, ids=lambda config: str(config["architectures"][0]))
def test_an_absurd_value_is_named_or_harmless(config: Config) -> None:
    for key in config.keys() - {"architectures"}:
        for value in ABSURD:
            _read_or_refuse(config | {key: value})
        if isinstance(kinds := config[key], list):
            for value in ABSURD:
                _read_or_refuse(config | {key: [value, *kinds[1:]]})
    for key in config.get("linear_attn_config", {}):
        for value in ABSURD:
            _read_or_refuse(config | {"linear_attn_config": config["linear_attn_config"] | {key: value}})


@pytest.mark.parametrize("config", FAMILIES, ids=lambda config: str(config["architectures"][0]))
def test_a_missing_key_is_named_or_has_a_default(config: Config) -> None:
    for key in config.keys() - {"architectures"}:
        _read_or_refuse({name: value for name, value in config.items() if name != key})


def _read_or_refuse(config: Config) -> None:
    with contextlib.suppress(ConfigError, SplitError):
        weights(config, Parallelism(2))
        layout_of(config, Parallelism(2))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (NEMOTRON_NANO | {"hybrid_override_pattern": "MEX*"}, "hybrid_override_pattern"),
        (NEMOTRON_NANO | {"hybrid_override_pattern": "MEM"}, "no hybrid"),
        (NEMOTRON_NANO | {"mamba_ssm_cache_dtype": "int8"}, "mamba_ssm_cache_dtype"),
        (NEMOTRON_NANO | {"conv_kernel": 1}, "conv_kernel"),
        (QWEN3_NEXT | {"layer_types": ["full_attention"]}, "layer_types"),
        (QWEN3_NEXT | {"linear_num_value_heads": 33}, "linear_num_value_heads"),
        (QWEN3_8_MOE | {"model_type": "llama"}, "model_type"),
        (GRANITE_SMALL | {"mamba_d_head": 63}, "mamba_d_head"),
        (JAMBA | {"attn_layer_offset": 8}, "attn_layer_offset"),
        (LFM2 | {"conv_dim": 1024}, "conv_dim"),
        (ZAMBA2 | {"n_mamba_heads": 63}, "n_mamba_heads"),
        (KIMI_LINEAR | {"mla_use_nope": False}, "mla_use_nope"),
        (KIMI_LINEAR | {"linear_attn_config": {"num_heads": 32}}, "linear_attn_config"),
    ],
)
def test_what_vllm_cannot_serve_is_named(config: Config, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_architecture(config)
