"""config.json → Architecture, by the family's reader. Everything that stackc can account for is in this table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compiler.memory.architecture import Architecture
from compiler.memory.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.memory.families import dense, hybrid, kimi, olmo_hybrid, qwen_hybrid, states

Reader = Callable[[str, Config], Architecture]

FAMILIES: Mapping[str, Reader] = {
    "LlamaForCausalLM": dense.llama,
    "MistralForCausalLM": dense.mistral,
    "Qwen2ForCausalLM": dense.qwen2,
    "Qwen3ForCausalLM": dense.qwen3,
    "FalconH1ForCausalLM": hybrid.falcon_h1,
    "FalconMambaForCausalLM": states.mamba,
    "GraniteMoeHybridForCausalLM": hybrid.granite_hybrid,
    "JambaForCausalLM": hybrid.jamba,
    "KimiLinearForCausalLM": kimi.kimi_linear,
    "Lfm2ForCausalLM": states.lfm2,
    "Lfm2MoeForCausalLM": states.lfm2_moe,
    "Mamba2ForCausalLM": states.mamba2,
    "MambaForCausalLM": states.mamba,
    "NemotronHForCausalLM": hybrid.nemotron_h,
    "OlmoHybridForCausalLM": olmo_hybrid.olmo_hybrid,
    "Zamba2ForCausalLM": states.zamba2,
    "Qwen3NextForCausalLM": qwen_hybrid.qwen3_next,
    "Qwen3_5ForCausalLM": qwen_hybrid.qwen3_5,
    "Qwen3_5MoeForCausalLM": qwen_hybrid.qwen3_5,
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
