"""Shapes of public GGUF models, from shapes.json: keys of their headers, and tensors by name, type and layers.

Sizes are those of the published configs; types are a mixture like Q4_K_M's by rule, the same as in the stub files that
llama-server was asked about, and not those of any published file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from compiler.gguf.model import GgufModel, Tensor
from compiler.gguf.types import TensorType

_FILE = Path(__file__).with_suffix(".json")


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return data


def shape_names() -> tuple[str, ...]:
    """The models that are known, by the names that oracle rows have."""
    return tuple(_data()["models"])


@cache
def shaped_model(name: str) -> GgufModel | None:
    """A model by its name; None where it is not known."""
    entry = _data()["models"].get(name)
    if entry is None:
        return None
    return model_of(entry["architecture"], entry["keys"], tuple(_tensors(entry["tensors"])))


def model_named_in(text: str) -> GgufModel | None:
    """The model with the longest name that a log's title contains, such as a repository's; None for none."""
    names = [name for name in shape_names() if name in text.lower()]
    return shaped_model(max(names, key=len)) if names else None


def model_of(architecture: str, keys: Mapping[str, Any], tensors: tuple[Tensor, ...]) -> GgufModel:
    """A model of keys without their prefix, the vocabulary's size among them."""
    values = {f"{architecture}.{name}": tuple(v) if isinstance(v, list) else v for name, v in keys.items()}
    return GgufModel({"general.architecture": architecture, **values}, tensors, 0)


def tensor_type(name: str) -> TensorType:
    """A type by its name in capitals."""
    code, block, size = _data()["types"][name.upper()]
    return TensorType(code, name.lower(), block, size)


def _tensors(lines: list[str]) -> Iterator[Tensor]:
    for line in lines:
        name, kind, shape, *layers = line.replace(" @ ", " @").split(" ", 3)
        sizes = tuple(int(size) for size in shape.split("x"))
        if not layers:
            yield Tensor(name, tensor_type(kind), sizes)
            continue
        for layer in _layers(layers[0].removeprefix("@")):
            yield Tensor(f"blk.{layer}.{name}", tensor_type(kind), sizes)


def _layers(text: str) -> Iterator[int]:
    for part in text.split():
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        yield from range(int(first), int(last or first) + 1, int(step or 1))
