"""config.json → Architecture, by the family's reader. Everything that stackc can account for is in this table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compiler.memory.architecture import Architecture
from compiler.memory.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.memory.families.pooling import converted
from compiler.memory.families.text_models import TEXT_MODELS

Reader = Callable[[str, Config], Architecture]

FAMILIES: Mapping[str, Reader] = {
    **TEXT_MODELS,
}


def read_architecture(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a config.json describes.

    Raises:
        UnsupportedArchitectureError: none of FAMILIES.
        ConfigError: a key is missing, absurd or contradicts another.
    """
    name = architecture_name(config)
    reader = FAMILIES.get(name) or converted(name, FAMILIES)
    if reader is None:
        raise UnsupportedArchitectureError(name)
    return reader(name, Config(config))


def architecture_name(config: Mapping[str, Any]) -> str:
    """The first of `architectures`.

    Raises:
        ConfigError: there is none.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise ConfigError("`architectures` is missing")
    return names[0]
