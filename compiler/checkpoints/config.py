"""Reading a config.json key by key. A value that is missing, absurd or contradicts another is named, never guessed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_LIMIT = 2**31
# The deepest model served has 126 layers, and depth has not doubled in the six years since one had 96.
_MAX_LAYERS = 1024


class ConfigError(ValueError):
    """config.json does not say what the arithmetic needs."""


class UnsupportedArchitectureError(ValueError):
    """The checkpoint's architecture is none that stackc can account for."""


@dataclass(frozen=True, slots=True)
class Config:
    """A map of config.json, and where in the file it stands.

    Attributes:
        path: of the map, such as `text_config.`; empty for the file itself.
    """

    data: Mapping[str, Any]
    path: str = ""

    def __contains__(self, key: str) -> bool:
        return self.data.get(key) is not None

    def positive(self, *keys: str, default: int | None = None) -> int:
        """The first of these keys that is set, as a positive whole number."""
        return self._number(keys, default, at_least=1)

    def count(self, *keys: str, default: int | None = None) -> int:
        """The same, where zero is allowed."""
        return self._number(keys, default, at_least=0)

    def _number(self, keys: tuple[str, ...], default: int | None, at_least: int) -> int:
        key = next((key for key in keys if key in self), None)
        if key is None:
            if default is None:
                raise ConfigError(f"`{self.path}{keys[0]}` is missing")
            return default
        value = self.data[key]
        if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value < _LIMIT:
            wanted = "a positive whole number" if at_least else "a whole number, zero or more"
            raise ConfigError(f"`{self.path}{key}` must be {wanted}, not {str(value)[:40]}")
        return value

    def layers(self, *keys: str) -> int:
        """A number of layers, bounded so that an absurd one costs nothing."""
        count = self.positive(*(keys or ("num_hidden_layers",)))
        if count > _MAX_LAYERS:
            raise ConfigError(f"`{self.path}{(keys or ('num_hidden_layers',))[0]}` is {count}: no model has so many")
        return count

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false."""
        value = self.data.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ConfigError(f"`{self.path}{key}` must be true or false, not {str(value)[:40]}")
        return value

    def text(self, key: str, *, default: str = "") -> str:
        """A string."""
        value = self.data.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise ConfigError(f"`{self.path}{key}` must be a string, not {str(value)[:40]}")
        return value

    def items(self, key: str) -> tuple[Any, ...]:
        """A list; empty where the key is absent."""
        value = self.data.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise ConfigError(f"`{self.path}{key}` must be a list, not {str(value)[:40]}")
        return tuple(value)

    def at(self, key: str) -> Config:
        """The map under a key; an empty one where the key is absent."""
        value = self.data.get(key)
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            raise ConfigError(f"`{self.path}{key}` must be a map, not {str(value)[:40]}")
        return Config(value, f"{self.path}{key}.")

    def per_layer(self, key: str, count: int) -> tuple[Any, ...]:
        """A list with a value for each layer."""
        values = self.items(key)
        if len(values) != count:
            raise ConfigError(f"`{self.path}{key}` has {len(values)} entries for {count} layers")
        return values

    def first(self, *keys: str) -> Iterator[Any]:
        """Values of those keys that are set, in this order."""
        return (self.data[key] for key in keys if key in self)


def head_dim_of(config: Config, hidden: int, heads: int) -> int:
    """`head_dim`, or hidden_size / num_attention_heads where it is absent."""
    if "head_dim" in config:
        return config.positive("head_dim")
    if hidden % heads:
        raise ConfigError(
            f"`{config.path}hidden_size` {hidden} is not a multiple of num_attention_heads {heads}, and no head_dim"
        )
    return hidden // heads


# What transformers takes num_key_value_heads for where a config does not have the key (configuration_*.py of 5.19);
# elsewhere, and where it is null, there are as many as query heads.
_KV_HEADS = {
    **dict.fromkeys(("glm", "glm4", "starcoder2", "ernie4_5"), 2),
    **dict.fromkeys(("gemma2", "qwen3_moe", "smollm3", "ernie4_5_moe"), 4),
    **dict.fromkeys(("mistral", "ministral3", "mixtral", "phimoe", "seed_oss", "minimax_m2", "glm4_moe"), 8),
    **dict.fromkeys(("gpt_oss", "cwm", "falcon_h1"), 8),
    "qwen2_moe": 16,
    **dict.fromkeys(("qwen2", "qwen3", "exaone4", "stablelm"), 32),
}


def kv_heads_of(config: Config, heads: int) -> int:
    """`num_key_value_heads`, of which num_attention_heads must be a multiple."""
    usual = heads if "num_key_value_heads" in config.data else _KV_HEADS.get(config.text("model_type"), heads)
    kv_heads = config.positive("num_key_value_heads", default=usual)
    if heads % kv_heads:
        raise ConfigError(
            f"`{config.path}num_attention_heads` {heads} is not a multiple of num_key_value_heads {kv_heads}"
        )
    return kv_heads
