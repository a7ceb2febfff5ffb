"""What a patch adds to a mapping that stackc writes, and where it would change it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """A key that stackc writes; `why` says what its value follows from."""

    why: str


@dataclass(frozen=True, slots=True)
class Appendable:
    """A list that stackc writes, and that a patch may make longer."""


Tree = Mapping[str, "Decided | Appendable | Tree"]
"""Keys that stackc writes, by what may become of them; below a mapping, new keys may be added."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A new key of the mapping at `path`, or new items of the list there, for which `key` is None."""

    path: Path
    key: str | None
    value: Any


@dataclass(frozen=True, slots=True)
class Conflict:
    """What a patch may not do at `path`."""

    path: Path
    why: str


def compare(patch: Mapping[str, Any], tree: Tree, path: Path = ()) -> Iterator[Addition | Conflict]:
    """Everything in a patch, in its order, against what stackc writes."""
    for key, value in patch.items():
        written = tree.get(key)
        here = (*path, key)
        if written is None:
            yield Addition(path, key, value)
        elif isinstance(written, Decided):
            yield Conflict(here, written.why)
        elif isinstance(written, Appendable):
            yield Addition(here, None, value) if isinstance(value, list) else Conflict(here, "it is a list")
        elif isinstance(value, Mapping):
            yield from compare(value, written, here)
        else:
            yield Conflict(here, "it is a map of keys to values")


def unwritable(value: Any, path: Path = ()) -> Iterator[Conflict]:
    """Numbers and characters that no file can hold, wherever they stand in a patch."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if "\0" in key:
                yield Conflict(path, "it has a key with a NUL character")
            yield from unwritable(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from unwritable(item, path)
    elif isinstance(value, float) and not math.isfinite(value):
        yield Conflict(path, "it is no finite number")
    elif isinstance(value, str) and "\0" in value:
        yield Conflict(path, "it holds a NUL character")
