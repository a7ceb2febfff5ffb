"""Bytes that come in pieces: they are taken one after another, and asked for where they have not come yet.

Every method that reads is a generator: it yields how many bytes it needs at least, and is sent the next piece.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from compiler.gguf.error import GgufError

MAX_HEADER: Final = 64 << 20
"""Bytes of a header; the longest seen, with 262,144 tokens and as many merges, have some 16 MB."""

_LENGTH = Struct("<Q")


class Input:
    """The start of one file.

    Attributes:
        position: the byte of the file that is read next.
    """

    def __init__(self, size: int | None) -> None:
        """Begin at byte 0 of a file of `size` bytes, where that is known."""
        self.position = 0
        self._end = MAX_HEADER if size is None else min(size, MAX_HEADER)
        self._data = b""
        self._at = 0

    def check(self, count: int, where: str) -> None:
        """Refuse to wait for bytes that the file does not have, or that no header is long enough for.

        Raises:
            GgufError: so many bytes do not follow.
        """
        if self.position + count > self._end:
            raise GgufError(f"it would go on for {count} bytes, and {self._end - self.position} are left", where)

    def take(self, count: int) -> Generator[int, bytes, bytes]:
        """The next bytes."""
        self.check(count, f"byte {self.position}")
        while len(self._data) - self._at < count:
            yield from self._more(count - (len(self._data) - self._at))
        start = self._at
        self._move(count)
        return self._data[start : start + count]

    def skip(self, count: int) -> Generator[int, bytes, None]:
        """Pass over bytes without holding them; `check` comes before."""
        while (left := len(self._data) - self._at) < count:
            self._move(left)
            count -= left
            yield from self._more(count)
        self._move(count)

    def number(self, form: str) -> Generator[int, bytes, int]:
        """One whole number, in struct's format for it."""
        packed = _packed(form, 1)
        content = yield from self.take(packed.size)
        value: int = packed.unpack(content)[0]
        return value

    def numbers(self, form: str, count: int, where: str) -> Generator[int, bytes, tuple[Any, ...]]:
        """Several numbers."""
        self.check(count * self.size_of(form), where)
        packed = _packed(form, count)
        content = yield from self.take(packed.size)
        return packed.unpack(content)

    def size_of(self, form: str) -> int:
        """Bytes of a number in struct's format for it."""
        return _packed(form, 1).size

    def text(self, longest: int, where: str) -> Generator[int, bytes, bytes]:
        """A text, after its length."""
        length = yield from self.number("Q")
        if length > longest:
            raise GgufError(f"a text of {length} bytes, and at most {longest} are read", where)
        content = yield from self.take(length)
        return content

    def skip_texts(self, count: int, where: str) -> Generator[int, bytes, None]:
        """Pass over texts, each after its length; of the hundreds of thousands of a vocabulary nothing else is read."""
        self.check(count * _LENGTH.size, where)
        while count:
            yield from self._hold(_LENGTH.size)
            at, count = _after_texts(self._data, self._at, count)
            self.check(at - self._at, where)
            yield from self.skip(at - self._at)

    def _hold(self, count: int) -> Generator[int, bytes, None]:
        while (left := len(self._data) - self._at) < count:
            yield from self._more(count - left)

    def _more(self, needed: int) -> Generator[int, bytes, None]:
        piece = yield needed
        self._data = self._data[self._at :] + piece
        self._at = 0

    def _move(self, count: int) -> None:
        self._at += count
        self.position += count


def _after_texts(data: bytes, at: int, count: int) -> tuple[int, int]:
    """Where texts end that begin at `at`, which may be beyond the data, and how many of them did not begin."""
    length_at, last = _LENGTH.unpack_from, len(data) - _LENGTH.size
    for left in range(count, 0, -1):
        if at > last:
            return at, left
        at += 8 + length_at(data, at)[0]
    return at, 0


@lru_cache(maxsize=256)
def _packed(form: str, count: int) -> Struct:
    return Struct(f"<{count}{form}")
