"""A plan as single facts, so that two plans of any release can be compared: a path of words and a plain value.

Lists of things with names are taken by name: a service that moves up in the order of starts is no other service.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from compiler.units import format_gib

Path = tuple[str, ...]
Value = str | int | float | bool

# What tells the members of a list apart, in plans of all releases.
_NAMES = ("name", "flag", "part", "path", "service", "title", "index", "requirement", "tool")
# Two words name these things, one all others.
_NAMED_THINGS = ("services", "devices", "images")
_WORDS = {
    ("max_model_len",): "context",
    ("kv_cache", "bytes"): "KV cache",
    ("kv_cache", "capacity_tokens"): "KV capacity",
    ("kv_cache", "dtype"): "KV cache dtype",
    ("devices",): "GPUs",
    ("model", "repository"): "model",
    ("model", "folder"): "model folder",
    ("model", "commit"): "commit",
    ("model", "license"): "licence",
    ("model", "quantization"): "quantization",
    ("model", "weights_bytes"): "weights",
    ("used_bytes", "expected"): "used",
    ("vllm",): "vLLM",
}
# Figures that follow from the others, and facts about facts: true, and not what a reader looks for first.
_DERIVED = re.compile(
    r"devices/[^/]+/(servers/.*|slack_bytes|reserve_bytes|total_source|used_bytes/(low|high))"
    r"|disk/.*|speed/.*"
    r"|services/[^/]+/(compiled_bytes|gpu_memory_utilization|solved|replicas|replica_of|host_needs/.*|timeouts/.*|tensor_parallel_size|revision"
    r"|model/(requested|base_models|unconfirmed|files/.*|pinned)"
    r"|kv_cache/(num_blocks|bytes_per_block|block_size|capacity_tokens|max_concurrency)"
    r"|arguments/[^/]+/reason"
    r"|arguments/--(kv-cache-memory-bytes|gpu-memory-utilization|max-model-len|port|host|served-model-name|dtype|revision|kv-cache-dtype"
    r"|tensor-parallel-size))"
    r"|images/[^/]+/(source|read|unconfirmed)|engine/(kernels/.*|cuda|image)|monitoring/metrics|schema"
    r"|gateway/routes/[^/]+/read_timeout_seconds"
)


def facts_of(plan: Mapping[str, Any]) -> dict[Path, Value]:
    """Every fact of a plan. What is null or empty is none.

    Raises:
        RecursionError: it is nested too deeply to be a plan.
    """
    return dict(_facts(plan, ()))


def _facts(value: Any, path: Path) -> Iterator[tuple[Path, Value]]:
    if isinstance(value, Mapping):
        if isinstance(value.get("flag"), str) and "value" in value:
            switch = value["value"] is None
            yield from _facts(True if switch else value["value"], path)
            value = {"reason": value.get("reason")}
        for key, item in value.items():
            yield from _facts(item, (*path, str(key)))
    elif isinstance(value, list):
        yield from _listed(value, path)
    elif isinstance(value, str | int | float):
        yield path, value


def _listed(items: list[Any], path: Path) -> Iterator[tuple[Path, Value]]:
    if all(isinstance(item, str | int | float) for item in items):
        if items:
            yield path, ", ".join(map(str, items))
        return
    names = [_name(item) for item in items]
    if None in names or len(set(names)) != len(names):
        names = [str(index) for index in range(len(items))]
    for name, item in zip(names, items, strict=True):
        yield from _facts(item, (*path, str(name)))


def _name(item: Any) -> str | None:
    if not isinstance(item, Mapping):
        return None
    return next((str(item[key]) for key in _NAMES if isinstance(item.get(key), str | int)), None)


def thing_of(path: Path) -> Path:
    """What a fact is about: a service, a device, an image, or one of the plan's parts."""
    return path[:2] if path[0] in _NAMED_THINGS else path[:1]


def is_size(path: Path) -> bool:
    """Whether a fact is bytes: the last word tells, of an interval the one before."""
    return any(word == "bytes" or word.endswith("_bytes") for word in path[-2:])


def is_derived(path: Path, before: Value | None, after: Value | None) -> bool:
    """Whether a change follows from others, or is too small to be seen, so that a summary leaves it out."""
    if _DERIVED.fullmatch("/".join(path)) is not None:
        return True
    is_between_sizes = is_size(path) and isinstance(before, int) and isinstance(after, int)
    return is_between_sizes and format_gib(int(before or 0)) == format_gib(int(after or 0))


def title_of(thing: Path) -> str:
    """What people call it: a service by its name alone."""
    if thing[0] == "services":
        return thing[-1]
    if len(thing) == 1:
        return "" if thing[0] in ("verdict", "targets", "user", "stack", "schema") else thing[0]
    return f"{'GPU' if thing[0] == 'devices' else 'image'} {thing[1]}"


def words_of(path: Path) -> str:
    """What people call a fact of a thing: `context`, `--max-num-seqs`."""
    rest = path[len(thing_of(path)) :] or path[:1]
    if rest in _WORDS:
        return _WORDS[rest]
    if rest[0] == "arguments":
        return " ".join(rest[1:])
    name = " ".join(rest) if rest[0] in ("environment", "files") else " ".join(rest).replace("_", " ")
    return re.sub(r" (bytes|seconds)$", "", name)
