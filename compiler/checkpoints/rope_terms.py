"""What the engine asks of a model's rotary positions before it builds any.

vllm/transformers_utils/config.py:patch_legacy_rope_type, transformers' modeling_rope_utils.py:validate_rope, and
vllm/model_executor/layers/rotary_embedding/__init__.py:get_rope of 0.33.0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from compiler.checkpoints.config import Config, ConfigError

_FACTOR = ("factor",)
_ORIGINAL = "original_max_position_embeddings"
# Types of positions → keys that must stand beside the type. Where the original length is missing, transformers takes
# max_position_embeddings for it in llama3, yarn and longrope only.
_TYPES: Mapping[str, Collection[str]] = {
    "default": (),
    "mllama4": (),
    "proportional": (),
    "linear": _FACTOR,
    "dynamic": _FACTOR,
    "ntk": _FACTOR,
    "yarn": _FACTOR,
    "telechat3-yarn": _FACTOR,
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "longrope": ("short_factor", "long_factor"),
    "su": ("short_factor", "long_factor"),
    "deepseek_yarn": ("factor", _ORIGINAL),
    "deepseek_llama_scaling": ("factor", _ORIGINAL),
    "mrope": ("mrope_section",),
    "bailing_mrope": ("mrope_section",),
    "openpangu": ("mrope_section",),
}
_GIVEN_AN_ORIGINAL = ("default", "llama3", "yarn", "longrope", "su", "telechat3-yarn")
# `type` beside another `rope_type`, which the engine takes for the same.
_SAME = {("su", "longrope"), ("mrope", "default")}
_SHOWN = 40


def check_rope(rope: Config) -> None:
    """Refuse one map of `rope_parameters` (or `rope_scaling`) that the engine refuses.

    Raises:
        ConfigError: with the key and its value.
    """
    kind, legacy = rope.data.get("rope_type"), rope.data.get("type")
    if kind is not None and legacy is not None and kind != legacy and (legacy, kind) not in _SAME:
        raise ConfigError(
            f"`{rope.path}rope_type` is {str(kind)[:_SHOWN]} and `type` {str(legacy)[:_SHOWN]}: vLLM takes one of them"
        )
    named = type_of(rope)
    if named not in _TYPES:
        raise ConfigError(f"`{rope.path}rope_type` is {named[:_SHOWN]}: vLLM has no rotary positions of this type")
    check_keys(rope, _TYPES[named])
    _check_share(rope, "partial_rotary_factor")


def check_type(rope: Config, taken: Collection[str]) -> None:
    """Refuse positions of a type that the model's own configuration class does not take.

    Raises:
        ConfigError: with the type and those that are taken.
    """
    if (named := type_of(rope)) not in taken:
        told = f"`{rope.path}rope_type` must be {' or '.join(taken)} in this model"
        raise ConfigError(f"{told}, not {named[:_SHOWN]}")


def check_sections(rope: Config, head_dim: int) -> None:
    """Refuse positions of several dimensions that are not those of a head (rotary_embedding/mrope.py:MRotaryEmbedding).

    Raises:
        ConfigError: the sections are no numbers, or have another sum.
    """
    _check_share(rope, "partial_rotary_factor")
    sections = rope.items("mrope_section")
    if not sections:
        return
    turned = int(head_dim * rope.data.get("partial_rotary_factor", 1)) // 2
    if not all(isinstance(each, int) for each in sections) or sum(sections) != turned:
        told = f"`{rope.path}mrope_section` must be numbers that give half of the {2 * turned} rotated dimensions"
        raise ConfigError(f"{told}, not {str(list(sections))[:_SHOWN]}")


def check_latent_rope(rope: Config) -> None:
    """The same in latent attention, where every type but the default is DeepSeek's YaRN (deepseek_v2.py).

    Raises:
        ConfigError: what that needs is missing.
    """
    if type_of(rope) not in _GIVEN_AN_ORIGINAL:
        check_keys(rope, ("factor", _ORIGINAL))


def check_keys(rope: Config, keys: Collection[str]) -> None:
    """Refuse a map without these keys.

    Raises:
        ConfigError: with the first that is missing.
    """
    for key in keys:
        if key not in rope:
            raise ConfigError(f"`{rope.path}{key}` is missing, positions of type {type_of(rope)[:_SHOWN]} need it")


def is_default(rope: Config) -> bool:
    """Whether these positions are the plain ones."""
    return type_of(rope) == "default"


def type_of(rope: Config) -> str:
    """The type, by either of its keys; `default` where neither is there."""
    return str(next(rope.first("rope_type", "type"), "default"))


def _check_share(config: Config, key: str) -> None:
    share = config.data.get(key)
    if share is None:
        return
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share <= 1:
        raise ConfigError(f"`{config.path}{key}` must be above 0 and at most 1, not {str(share)[:_SHOWN]}")
