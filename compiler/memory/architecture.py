"""config.json → the numbers that decide memory, for dense decoder-only models.

Field names and rules follow vLLM 0.33.0 (vllm/config/model.py, vllm/transformers_utils/model_arch_config_convertor.py).
A value that is missing or contradicts another is named, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ConfigError(ValueError):
    """config.json does not say what the arithmetic needs."""


class UnsupportedArchitectureError(ValueError):
    """The checkpoint's architecture is none that stackc can account for."""


@dataclass(frozen=True, slots=True)
class Family:
    """What config.json does not say about a family, because its model code fixes it.

    Attributes:
        qkv_bias: whether q, k and v have a bias; None where `attention_bias` of the config decides.
        qk_norm: whether each head's q and k are normalised by a learned vector.
    """

    qkv_bias: bool | None
    qk_norm: bool = False


# vllm/model_executor/models/{llama,mistral,qwen2,qwen3}.py of 0.33.0
FAMILIES = {
    "LlamaForCausalLM": Family(qkv_bias=None),
    "MistralForCausalLM": Family(qkv_bias=False),
    "Qwen2ForCausalLM": Family(qkv_bias=True),
    "Qwen3ForCausalLM": Family(qkv_bias=None, qk_norm=True),
}

# RoPE types whose factor is already in max_position_embeddings (vllm/config/model.py:_get_and_verify_max_len).
_LENGTH_ALREADY_SCALED = {"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"}

_LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)

_LIMIT = 2**31


@dataclass(frozen=True, slots=True)
class Architecture:
    """A dense decoder.

    Attributes:
        name: as in `architectures`.
        max_model_len: longest request in tokens that vLLM accepts for this config.
        sliding_window: tokens that each layer attends to; None for full attention.
        checkpoint_dtype: `bfloat16`, `float16` or `float32`, as the config declares it.
    """

    name: str
    family: Family
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool
    attention_bias: bool
    mlp_bias: bool
    max_model_len: int
    sliding_window: int | None
    checkpoint_dtype: str

    @property
    def qkv_bias(self) -> bool:
        """Whether the q, k and v projections have a bias."""
        return self.attention_bias if self.family.qkv_bias is None else self.family.qkv_bias


def read_architecture(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a config.json describes.

    Raises:
        UnsupportedArchitectureError: not one of FAMILIES, or it mixes kinds of attention.
        ConfigError: a key is missing, absurd or contradicts another.
    """
    name = _architecture_name(config)
    heads, hidden = _positive(config, "num_attention_heads"), _positive(config, "hidden_size")
    kv_heads = _positive(config, "num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise ConfigError(f"num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")
    return Architecture(
        name=name,
        family=FAMILIES[name],
        num_layers=_positive(config, "num_hidden_layers"),
        hidden_size=hidden,
        intermediate_size=_positive(config, "intermediate_size"),
        num_attention_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=_head_dim(config, hidden, heads),
        vocab_size=_positive(config, "vocab_size"),
        tie_word_embeddings=_flag(config, "tie_word_embeddings"),
        attention_bias=_flag(config, "attention_bias"),
        mlp_bias=_flag(config, "mlp_bias"),
        max_model_len=_max_model_len(config),
        sliding_window=_sliding_window(config),
        checkpoint_dtype=_dtype(config),
    )


def _architecture_name(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise ConfigError("`architectures` is missing")
    if names[0] not in FAMILIES:
        raise UnsupportedArchitectureError(names[0])
    return names[0]


def _positive(config: Mapping[str, Any], key: str, *, default: int | None = None) -> int:
    value = config.get(key)
    if value is None and default is not None:
        return default
    if value is None:
        raise ConfigError(f"`{key}` is missing")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < _LIMIT:
        raise ConfigError(f"`{key}` must be a positive whole number, not {str(value)[:40]}")
    return value


def _flag(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ConfigError(f"`{key}` must be true or false, not {str(value)[:40]}")
    return value


def _head_dim(config: Mapping[str, Any], hidden: int, heads: int) -> int:
    if config.get("head_dim") is not None:
        return _positive(config, "head_dim")
    if hidden % heads:
        raise ConfigError(f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}, and no head_dim")
    return hidden // heads


def _max_model_len(config: Mapping[str, Any]) -> int:
    lengths = [_positive(config, key) for key in _LENGTH_KEYS if config.get(key) is not None]
    if not lengths:
        return 2048  # vLLM's own fallback
    length = config["model_max_length"] if config.get("model_max_length") is not None else min(lengths)
    return int(length * _rope_factor(config))


def _rope_factor(config: Mapping[str, Any]) -> float:
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    if rope is None:
        return 1.0
    if not isinstance(rope, Mapping):
        raise ConfigError("`rope_scaling` must be a map")
    if str(rope.get("rope_type", rope.get("type", "default"))) in _LENGTH_ALREADY_SCALED:
        return 1.0
    factor = rope.get("factor") or 1.0
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not 1 <= factor <= 1024:  # noqa: PLR2004
        raise ConfigError(f"`rope_scaling.factor` must be a number from 1 to 1024, not {str(factor)[:40]}")
    return float(factor)


def _sliding_window(config: Mapping[str, Any]) -> int | None:
    """The window where all layers share one; transformers' Qwen2 config turns it off by `use_sliding_window`."""
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and len(set(map(str, kinds))) > 1:
        raise UnsupportedArchitectureError(
            f"layers with different attention: {', '.join(sorted(set(map(str, kinds))))}"
        )
    window = config.get("sliding_window")
    if not window:
        return None
    if str(config.get("model_type", "")).startswith("qwen"):
        if config.get("use_sliding_window") is not True:
            return None
        if config.get("max_window_layers", 0) not in (0, None):
            raise UnsupportedArchitectureError("sliding windows on some layers only (use_sliding_window)")
    return _positive(config, "sliding_window")


_DTYPES = {"bfloat16", "float16", "float32"}


def _dtype(config: Mapping[str, Any]) -> str:
    value = str(config.get("torch_dtype") or config.get("dtype") or "float16").removeprefix("torch.")
    if value not in _DTYPES:
        raise ConfigError(f"`torch_dtype` must be one of {', '.join(sorted(_DTYPES))}, not {value[:40]}")
    return value


def served_dtype(checkpoint_dtype: str, *, bfloat16_runs: bool) -> str:
    """The dtype that vLLM's `auto` picks, so that it can be emitted (vllm/config/model.py:_resolve_auto_dtype)."""
    preferred = "bfloat16" if bfloat16_runs else "float16"
    if checkpoint_dtype == "float32":
        return preferred
    return checkpoint_dtype if checkpoint_dtype == "float16" else preferred
