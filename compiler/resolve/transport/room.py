"""How much memory the repositories that are read at once may take together.

Most take next to nothing and are read side by side. One that takes more waits until no other such one is read.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from compiler.lock.gguf import GgufFacts, GgufTensorKind
from compiler.lock.models import ModelFacts
from compiler.resolve.answers import TooLargeError, plain
from compiler.resolve.limits import LIGHT, MAX_FACTS, MAX_TAKEN

# What a value takes in memory, beside its text.
VALUE_BYTES = 64
_KIND_BYTES = 1024
# malloc.h; blocks from this size on are mapped, and unmapped when they are freed.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_MAPPED = 1 << 18


def share_heaps() -> None:
    """Have threads give back what they no longer need, where the C library is glibc.

    It makes a heap for each of many threads and keeps what was freed in it, which for large texts doubles the memory
    of a run. It matters before the first thread starts, and a library without this setting needs none.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 2)
        library.mallopt(_M_MMAP_THRESHOLD, _MAPPED)


class Room:
    """Of one lock."""

    def __init__(self, limit: int = MAX_FACTS) -> None:
        self.large = threading.Lock()
        self._limit = limit
        self._kept: dict[str, int] = {}
        self._lock = threading.Lock()

    @contextmanager
    def reading(self, name: str) -> Iterator[Allowance]:
        """What one repository may take while it is read."""
        allowance = Allowance(self, name)
        try:
            yield allowance
        finally:
            allowance.end()

    def keep(self, key: str, facts: ModelFacts) -> None:
        """Account for facts that stay until the lock is written.

        Raises:
            TooLargeError: with those of other models they are more than a lock keeps.
        """
        size = _size(facts.config) + _size(facts.quantization)
        size += sum(_KIND_BYTES + len(file.path) for file in facts.weights)
        size += sum(_KIND_BYTES + len(kind.name) for kind in (facts.tensors.kinds if facts.tensors is not None else ()))
        size += _gguf_size(facts.gguf) if facts.gguf is not None else 0
        with self._lock:
            others = sum(kept for name, kept in self._kept.items() if name != key)
            if others + size > self._limit:
                note = f"its configuration takes {size} bytes, and those of all models may take {self._limit}"
                raise TooLargeError(f"`{plain(key)}` and the models before it hold too much configuration", (note,))
            self._kept[key] = size


class Allowance:
    """What one repository has taken so far."""

    def __init__(self, room: Room, name: str) -> None:
        self._room = room
        self._name = name
        self._taken = 0
        self._is_large = False
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Account for bytes before they are there; where they are many, wait for the room.

        Raises:
            TooLargeError: no model takes so much.
        """
        with self._lock:
            self._taken += size
            if self._taken > MAX_TAKEN:
                note = f"its small files and headers take more than {MAX_TAKEN} bytes"
                raise TooLargeError(f"`{plain(self._name)}` is larger than any model", (note,))
            if self._taken > LIGHT and not self._is_large:
                self._room.large.acquire()
                self._is_large = True

    def end(self) -> None:
        """Make room for others."""
        with self._lock:
            if self._is_large:
                self._is_large = False
                self._room.large.release()


def _gguf_size(facts: GgufFacts) -> int:
    projector = facts.projector
    size = _size(facts.keys) + _kinds_size(facts.tensors) + _KIND_BYTES * len(facts.files)
    return size if projector is None else size + _size(projector.keys) + _kinds_size(projector.tensors)


def _kinds_size(kinds: tuple[GgufTensorKind, ...]) -> int:
    return sum(_KIND_BYTES + len(kind.layers or "") for kind in kinds)


def _size(value: Any) -> int:
    """About what a value takes in memory."""
    if isinstance(value, str):
        return VALUE_BYTES + len(value)
    if isinstance(value, dict):
        return VALUE_BYTES + sum(VALUE_BYTES + len(key) + _size(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return VALUE_BYTES + sum(map(_size, value))
    return VALUE_BYTES // 2
