"""config.json → Architecture, by the family's reader. Everything that stackc can account for is in this table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compiler.memory.architecture import Architecture
from compiler.memory.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.memory.families import deepseek_v4, dense, mla

Reader = Callable[[str, Config], Architecture]

FAMILIES: Mapping[str, Reader] = {
    "DeepseekForCausalLM": mla.deepseek,
    "DeepseekV2ForCausalLM": mla.deepseek,
    "DeepseekV3ForCausalLM": mla.deepseek,
    "DeepseekV32ForCausalLM": mla.sparse,
    "DeepseekV4ForCausalLM": deepseek_v4.deepseek_v4,
    "Glm4MoeLiteForCausalLM": mla.glm4_lite,
    "GlmMoeDsaForCausalLM": mla.sparse,
    "LlamaForCausalLM": dense.llama,
    "MiniCPM3ForCausalLM": mla.minicpm3,
    "MistralForCausalLM": dense.mistral,
    "Qwen2ForCausalLM": dense.qwen2,
    "Qwen3ForCausalLM": dense.qwen3,
}


def read_architecture(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a config.json describes.

    Raises:
        UnsupportedArchitectureError: none of FAMILIES.
        ConfigError: a key is missing, absurd or contradicts another.
    """
    name = architecture_name(config)
    if name not in FAMILIES:
        raise UnsupportedArchitectureError(name)
    return FAMILIES[name](name, Config(config))


def architecture_name(config: Mapping[str, Any]) -> str:
    """The first of `architectures`.

    Raises:
        ConfigError: there is none.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise ConfigError("`architectures` is missing")
    return names[0]
