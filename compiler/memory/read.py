"""config.json → Architecture, by the family's reader. Everything that stackc can account for is in this table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compiler.memory.architecture import Architecture
from compiler.memory.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.memory.families import dense, vision

Reader = Callable[[str, Config], Architecture]

FAMILIES: Mapping[str, Reader] = {
    "InternVLChatModel": vision.internvl,
    "LlamaForCausalLM": dense.llama,
    "LlavaForConditionalGeneration": vision.llava,
    "Mistral3ForConditionalGeneration": vision.mistral3,
    "MistralForCausalLM": dense.mistral,
    "Phi3VForCausalLM": vision.phi3_vision,
    "Qwen2_5_VLForConditionalGeneration": vision.qwen2_5_vl,
    "Qwen2ForCausalLM": dense.qwen2,
    "Qwen2VLForConditionalGeneration": vision.qwen2_vl,
    "Qwen3ForCausalLM": dense.qwen3,
    "Qwen3VLForConditionalGeneration": vision.qwen3_vl,
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
