"""The longest request that vLLM accepts for a config (vllm/config/model.py:_get_and_verify_max_len, 0.33.0)."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.rope_terms import check_rope

# RoPE types whose factor is already in max_position_embeddings; vLLM reads `telechat3-yarn` as YaRN.
_ALREADY_SCALED = {"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "telechat3-yarn"}

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

# What transformers takes max_position_embeddings (n_positions for GPT-2's relatives) for where it is absent.
_DEFAULTS = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta"), 512),
    **dict.fromkeys(("gpt2", "gpt_bigcode"), 1024),
    **dict.fromkeys(
        ("llama", "olmo", "olmo2", "olmo3", "granite", "opt", "falcon", "phi", "exaone4", "gpt_neox", "gptj"), 2048
    ),
    **dict.fromkeys(("phi3", "starcoder2", "stablelm", "nemotron", "arcee"), 4096),
    **dict.fromkeys(("gemma", "gemma2", "cohere", "cohere2", "modernbert"), 8192),
    **dict.fromkeys(("qwen2", "qwen3", "gemma3n_text", "smollm3"), 32768),
    **dict.fromkeys(("mistral", "ministral", "gemma3_text", "gemma4_text", "glm", "glm4"), 131072),
    "ministral3": 262144,
    "seed_oss": 524288,
}
_FALLBACK = 2048  # vLLM's own
_NO_POSITIONS = 8192  # what its classes take where a config object has none (llama.py:LlamaDecoderLayer)
_LARGEST_FACTOR = 1024


def max_model_len(config: Config) -> int:
    """Tokens. Where a config names several lengths, the smallest; `model_max_length` overrides them.

    Args:
        config: of the language model, where others stand beside it.

    Raises:
        ConfigError: a length, or what lengthens it, is none that the engine takes.
    """
    for rope in rope_parameters(config):
        check_rope(rope)
    lengths = [config.positive(key) for key in _LENGTH_KEYS if key in config]
    default = _DEFAULTS.get(config.text("model_type"))
    if default is not None and not any(key in config for key in ("max_position_embeddings", "n_positions")):
        lengths.append(default)
    length = config.positive("model_max_length", default=min(lengths, default=_FALLBACK))
    if "gemma3" in config.text("model_type"):
        return length
    # The last kind of layer decides where they differ; vLLM takes them for equal.
    factors = [factor for rope in rope_parameters(config) if (factor := _rope_factor(rope)) is not None]
    return int(length * factors[-1]) if factors else length


def positions(config: Config) -> int:
    """`max_position_embeddings`, by which vLLM's classes make their tables, as transformers fills it in."""
    stated = _DEFAULTS.get(config.text("model_type"), _NO_POSITIONS)
    return config.positive("max_position_embeddings", "n_positions", default=stated)


def rope_parameters(config: Config) -> tuple[Config, ...]:
    """`rope_parameters`, or `rope_scaling` as older configs call it; one for each kind of layer where they differ.

    Where both hold something, transformers takes the older (modeling_rope_utils.py:convert_rope_params_to_dict).
    """
    rope = config.at("rope_scaling") if config.data.get("rope_scaling") else config.at("rope_parameters")
    kinds = [key for key, value in rope.data.items() if isinstance(value, Mapping)]
    return tuple(rope.at(key) for key in kinds) if kinds else (rope,)


def _rope_factor(rope: Config) -> float | None:
    """None where the type has no factor that lengthens."""
    if str(next(rope.first("rope_type", "type"), "default")) in _ALREADY_SCALED or "factor" not in rope:
        return None
    return scaling_factor(rope)


def scaling_factor(rope: Config) -> float:
    """`factor` of `rope_parameters`.

    Raises:
        ConfigError: none, or an absurd one.
    """
    factor = rope.data.get("factor")
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not 0 < factor <= _LARGEST_FACTOR:
        raise ConfigError(
            f"`{rope.path}factor` must be a positive number up to {_LARGEST_FACTOR}, not {str(factor)[:40]}"
        )
    return float(factor)
