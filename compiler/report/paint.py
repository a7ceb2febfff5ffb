"""Lines for a terminal: pieces of text with a colour, which only who prints them turns into escapes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compiler.diagnostics.render import cells, visible


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of one look. `color` is one of the terminal's own, such as `cyan`; None for its default."""

    text: str
    color: str | None = None
    is_bold: bool = False
    is_dim: bool = False


Line = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that pictures are made of: blocks where the terminal can print them, else ASCII."""

    reserve: str
    weights: str
    kv_cache: str
    other: str
    margin: str
    free: str
    start: str
    end: str
    times: str
    ellipsis: str


BLOCKS = Glyphs("R", "█", "▓", "▒", "░", " ", "▕", "▏", "×", "…")
ASCII = Glyphs("R", "#", "=", "+", "~", " ", "[", "]", "x", "..")


def plain(line: Line) -> str:
    """The same without its looks."""
    return "".join(piece.text for piece in line)


def text_cells(text: str) -> int:
    """Columns that a text takes."""
    return len(text) if text.isascii() else sum(map(cells, text))


def shortened(text: str, room: int, ellipsis: str) -> str:
    """Text of at most `room` columns: what is too long loses its middle, because names differ at their ends."""
    shown = visible(text)
    if text_cells(shown) <= room:
        return shown
    if room <= len(ellipsis):
        return _head(shown, room)
    left = room - len(ellipsis)
    tail = _head(shown[::-1], left - left // 3)[::-1]
    return _head(shown, left // 3) + ellipsis + tail


def _head(text: str, room: int) -> str:
    taken = 0
    for index, char in enumerate(text):
        taken += cells(char)
        if taken > room:
            return text[:index]
    return text


def padded(text: str, width: int, *, is_right: bool = False) -> str:
    """Text filled up with spaces."""
    space = " " * (width - text_cells(text))
    return space + text if is_right else text + space


def joined(pieces: Iterable[Piece]) -> Line:
    """A line without the spaces at its end."""
    line = list(pieces)
    while line and not line[-1].text.rstrip():
        line.pop()
    if line:
        last = line[-1]
        line[-1] = Piece(last.text.rstrip(), last.color, last.is_bold, last.is_dim)
    return tuple(line)
