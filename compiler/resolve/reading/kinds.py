"""What a repository holds, by its listing: a model, a LoRA adapter, or files that only another engine reads. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from compiler.lock.models import AdapterFacts, Kind
from compiler.resolve.answers import Repository, plain

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

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
        largest_rank=_largest_rank(rank, config.get("rank_pattern")),
        alpha=_number(config.get("lora_alpha")),
        features=tuple(sorted(_features(config))),
        target_modules=tuple(sorted({plain(name) for name in listed if isinstance(name, str)})[:_MAX_MODULES]),
        base_model=plain(base) if isinstance(base, str) and base else None,
    )


# Fields that change what an adapter is, each with the value that changes nothing
# (vllm/lora/peft_helper.py:_validate_features, 0.33.0).
_PLAIN = {
    "alora_invocation_tokens": None, "bias": "none", "layer_replication": None, "lora_bias": False,
    "modules_to_save": None, "use_bdlora": None, "use_dora": False, "use_qalora": False,
}  # fmt: skip
# That only give the first weights of a training run.
_PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")


def _features(config: Mapping[str, Any]) -> Iterator[str]:
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        yield f"peft_type: {plain(kind)}"
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower() not in _PLAIN_INITS:
        yield f"init_lora_weights: {plain(init)}"
    for key, usual in _PLAIN.items():
        value = config.get(key, usual)
        if value and value != usual:
            listed = value if isinstance(value, list) else [value]
            yield key if value is True else f"{key}: {plain(', '.join(map(str, listed)))}"


def _largest_rank(rank: Any, pattern: Any) -> int | None:
    """Of all modules; None where one of them is no rank."""
    given = [rank, *(pattern.values() if isinstance(pattern, Mapping) else ())]
    ranks: list[int] = [each for each in given if type(each) is int and each > 0]
    return max(ranks) if len(ranks) == len(given) else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None
