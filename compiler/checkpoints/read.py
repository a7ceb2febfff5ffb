"""config.json → Architecture, by the family's reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from compiler.checkpoints.architecture import Architecture, HeadCache
from compiler.checkpoints.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.families.dense.pooling import NO_CLASSES, converted
from compiler.checkpoints.families.table import FAMILIES
from compiler.checkpoints.state_cache import StateCache
from compiler.checkpoints.whole_items import keeps_items_whole


def read_architecture(config: Mapping[str, Any], classes: Mapping[str, str] = NO_CLASSES) -> Architecture:
    """The architecture that a config.json describes.

    Args:
        config: config.json.
        classes: of the release that serves it, by the names of architectures: one of its own is never converted.

    Raises:
        UnsupportedArchitectureError: none of FAMILIES.
        ConfigError: a key is missing, absurd or contradicts another.
    """
    name = architecture_name(config)
    reader = FAMILIES.get(name) or converted(name, FAMILIES, classes)
    if reader is None:
        raise UnsupportedArchitectureError(name)
    file = Config(config)
    _check_head_dtype(file)
    architecture = reader(name, file)
    _check_chunks(file, architecture)
    return replace(architecture, whole_items=bool(architecture.encoders) and keeps_items_whole(file))


def _check_head_dtype(config: Config) -> None:
    """vllm/config/model.py:_get_head_dtype of 0.33.0 knows no other names."""
    head = config.text("head_dtype", default="model").lower()
    if head not in ("model", "half", "float16", "float", "float32", "bfloat16"):
        raise ConfigError(f"`head_dtype` must be a dtype that vLLM knows, not {head[:40]}")


def _check_chunks(config: Config, architecture: Architecture) -> None:
    """For chunks that its class does not have, vLLM would keep windows whole, and not start beside recurrent states.

    vllm/config/vllm.py and v1/core/kv_cache_planning.py:unify_hybrid_kv_cache_specs of 0.33.0; MiMo V2 drops the key.
    """
    text = config.at("text_config") if "text_config" in config else config
    caches = [cache for layer in architecture.kinds for cache in layer.caches]
    heads = [cache for cache in caches if isinstance(cache, HeadCache)]
    apart = any(isinstance(cache, StateCache) for cache in caches) or any(cache.window for cache in heads)
    chunked = any(cache.chunk for cache in heads) or text.text("model_type").startswith("mimo_v2")
    if apart and not chunked and text.data.get("attention_chunk_size") is not None:
        raise ConfigError(f"`{text.path}attention_chunk_size` is given to {architecture.name}, which has no chunks")


def architecture_name(config: Mapping[str, Any]) -> str:
    """The first of `architectures`.

    Raises:
        ConfigError: there is none.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise ConfigError("`architectures` is missing")
    return names[0]
