"""What a repository holds, by its listing: a model, a LoRA adapter, or files that only another engine reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.lock.models import AdapterFacts, Kind
from compiler.resolve.answers import Repository, plain

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"

_WEIGHTS = (".safetensors", ".bin", ".pt")
_MAX_MODULES = 64


def kind_of(repository: Repository) -> Kind:
    """Without a listing, a repository counts as a model until its configuration says otherwise."""
    names = {file.path for file in repository.files or ()}
    root = {name for name in names if "/" not in name and not name.startswith("adapter_")}
    has_weights = any(name.endswith(_WEIGHTS) for name in root)
    if ADAPTER_CONFIG in names and not (CONFIG in names and has_weights):
        return "adapter"
    if any(name.lower().endswith(".gguf") for name in names) and not has_weights:
        return "gguf"
    return "model"


def parse_adapter(config: Mapping[str, Any]) -> AdapterFacts:
    """Facts of an adapter_config.json, as PEFT writes it."""
    rank, modules, base = config.get("r"), config.get("target_modules"), config.get("base_model_name_or_path")
    listed = [modules] if isinstance(modules, str) else modules if isinstance(modules, list) else []
    return AdapterFacts(
        rank=rank if type(rank) is int and rank > 0 else None,
        target_modules=tuple(sorted({plain(name) for name in listed if isinstance(name, str)})[:_MAX_MODULES]),
        base_model=plain(base) if isinstance(base, str) and base else None,
    )
