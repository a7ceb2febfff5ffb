"""What quantizers' tools usually write into a checkpoint, by format and publisher: a block that nobody read.

What a tool is known to leave alone in some models (routers, towers, linear attention) counts as left alone: a plan of a
variant that was not read then has too many bytes rather than too few.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

_FILE = files("compiler.registry") / "data" / "formats.json"
_LISTS = ("ignore", "exclude_modules", "modules_to_not_convert", "ignored_layers")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_BRACES = re.compile(r"\{([0-9a-z,-]+)\}")
_DEPTHS = {"layers": ("num_hidden_layers",), "blocks": ("depth", "num_hidden_layers")}


@dataclass(frozen=True, slots=True)
class Typical:
    """A block as a tool usually writes it.

    Attributes:
        block: with every module written out.
        file: where it stands.
        source: where such blocks were seen.
    """

    block: dict[str, Any]
    file: str
    source: str


@dataclass(frozen=True, slots=True)
class NotServed:
    """A format that no engine here serves, or that is no format."""

    reason: str


def typical_block(form: str, publisher: str, config: Mapping[str, Any]) -> Typical | NotServed:
    """What a publisher usually writes for a format.

    Args:
        form: as the registry names it, such as `fp8-dynamic`.
        publisher: on the Hub.
        config: of the base model, whose layers the block may have to name one by one.
    """
    entry = _entry(form, publisher)
    if entry is None:
        return NotServed(f"how {publisher} stores {form} is not known here")
    if "unplannable" in entry:
        return NotServed(entry["unplannable"])
    block = copy.deepcopy(entry["block"])
    settings = block.get("quantization", block)
    for key in (key for key in _LISTS if key in settings):
        settings[key] += _left_beside(entry, config)
    undivided = next((width for width in _widths(config) if width % _group(settings)), None)
    if undivided is not None:
        reason = f"the usual groups of {_group(settings)} do not divide its {undivided} inputs, so others were chosen"
        return NotServed(f"{reason}; `stackc lock` reads them")
    return Typical(expanded(block, config), entry.get("file", "config.json"), entry["source"])


def _left_beside(entry: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Modules that are left alone in a model with experts, or in one whose type was not seen `whole`."""
    if _has_experts(config):
        return list(entry.get("beside_experts", ()))
    return [] if config.get("model_type") in entry.get("whole", ()) else list(entry.get("beside_mlp", ()))


def _group(settings: Mapping[str, Any]) -> int:
    """Inputs that share a scale, in integers of few bits; 1 where a whole row does."""
    groups = settings.get("config_groups", {}).values()
    sizes = (group["weights"].get("group_size") for group in groups)
    return next(filter(None, sizes), None) or settings.get("group_size") or 1


def _widths(config: Mapping[str, Any]) -> Iterator[int]:
    """Inputs of the projections that come last in MLPs and experts, which no other width bounds."""
    text = config.get("text_config", config)
    is_sparse = _has_experts(config)
    widths = [text.get("moe_intermediate_size")] if is_sparse else [text.get("intermediate_size")]
    widths += [text.get("intermediate_size")] if is_sparse and text.get("first_k_dense_replace") else []
    yield from (width for width in widths if isinstance(width, int))


def _entry(form: str, publisher: str) -> Mapping[str, Any] | None:
    """That of the publisher, else that of all who are not named."""
    found = [entry for entry in _entries() if form in entry["formats"]]
    own = (entry for entry in found if publisher in entry.get("publishers", ()))
    return next(own, next((entry for entry in found if "publishers" not in entry), None))


@lru_cache(maxsize=1)
def _entries() -> tuple[Mapping[str, Any], ...]:
    return tuple(json.loads(_FILE.read_text(encoding="utf-8")))


def _has_experts(config: Mapping[str, Any]) -> bool:
    text = config.get("text_config")
    return any(part.get(key) for part in (config, text) if isinstance(part, Mapping) for key in _EXPERTS)


def expanded(block: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The block with its lists of modules written out: `layers.{0-3,7}.mlp`, or `{layers}` and `{blocks}` for all."""
    return {key: _expand(key, value, config) for key, value in block.items()}


def _expand(key: str, value: Any, config: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        if key == "quantized_layers":
            return {name: each for short, each in value.items() for name in _names(short, config)}
        return expanded(value, config)
    if key in (*_LISTS, "targets") and isinstance(value, list):
        return [name for short in value for name in _names(short, config)]
    return value


def _names(short: str, config: Mapping[str, Any]) -> Iterator[str]:
    if short.startswith("re:") or (found := _BRACES.search(short)) is None:
        yield short
        return
    for number in _numbers(found[1], config):
        yield from _names(f"{short[: found.start()]}{number}{short[found.end() :]}", config)


def _numbers(said: str, config: Mapping[str, Any]) -> Iterator[int]:
    if said in _DEPTHS:
        yield from range(_depth(said, config))
        return
    for piece in said.split(","):
        first, _, last = piece.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _depth(said: str, config: Mapping[str, Any]) -> int:
    """Of the language model or of the tower; none of what the config does not have."""
    part = config.get("vision_config", {}) if said == "blocks" else config.get("text_config", config)
    return next((part[key] for key in _DEPTHS[said] if isinstance(part.get(key), int)), 0)
