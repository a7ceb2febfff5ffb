"""The longest request that vLLM accepts for a config (vllm/config/model.py:_get_and_verify_max_len, 0.33.0)."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.memory.config import Config, ConfigError

# RoPE types whose factor is already in max_position_embeddings.
_ALREADY_SCALED = {"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"}

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

_FALLBACK = 2048  # vLLM's own
_LARGEST_FACTOR = 1024


def max_model_len(config: Config) -> int:
    """Tokens. Where a config names several lengths, the smallest; `model_max_length` overrides them."""
    lengths = [config.positive(key) for key in _LENGTH_KEYS if key in config]
    if not lengths:
        return _FALLBACK
    length = config.positive("model_max_length", default=min(lengths))
    if config.text("model_type").startswith("gemma3"):
        return length
    return int(length * max((_rope_factor(rope) for rope in rope_parameters(config)), default=1.0))


def rope_parameters(config: Config) -> tuple[Config, ...]:
    """`rope_parameters`, or `rope_scaling` as older configs call it; one for each kind of layer where they differ."""
    rope = config.at("rope_parameters") if "rope_parameters" in config else config.at("rope_scaling")
    kinds = [key for key, value in rope.data.items() if isinstance(value, Mapping)]
    return tuple(rope.at(key) for key in kinds) if kinds else (rope,)


def _rope_factor(rope: Config) -> float:
    if str(next(rope.first("rope_type", "type"), "default")) in _ALREADY_SCALED:
        return 1.0
    factor = rope.data.get("factor") or 1.0
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not 1 <= factor <= _LARGEST_FACTOR:
        raise ConfigError(f"`{rope.path}factor` must be a number from 1 to {_LARGEST_FACTOR}, not {str(factor)[:40]}")
    return float(factor)
