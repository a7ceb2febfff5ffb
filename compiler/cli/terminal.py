"""What the terminal can show: its width, its colours, its characters. Off a terminal, text is plain."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from textwrap import wrap
from typing import TextIO

import click

from compiler.diagnostics.render import visible
from compiler.report.paint import ASCII, BLOCKS, Glyphs, Line, Piece

_NARROWEST, _DEFAULT, _WIDEST = 40, 80, 400


def terminal_width() -> int:
    """Columns to write in: those of the terminal or of COLUMNS, and 80 where there is neither."""
    # The library's answer off a terminal would be that of the terminal behind it.
    asks = sys.stdout.isatty() or "COLUMNS" in os.environ
    columns = shutil.get_terminal_size((_DEFAULT, 24)).columns if asks else _DEFAULT
    return min(_WIDEST, max(_NARROWEST, columns))


def wrapped(text: str, indent: int = 2, hanging: int = 2) -> Iterator[str]:
    """Lines that the terminal does not break. Words are often the Hub's, so control characters are escaped."""
    first, rest = " " * indent, " " * (indent + hanging)
    width = terminal_width()
    yield from wrap(visible(text), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def has_color(stream: TextIO) -> bool:
    """Whether to colour: https://no-color.org, then https://force-color.org, then whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def glyphs_of(stream: TextIO) -> Glyphs:
    """Blocks, or ASCII where the stream's encoding has none, and on a terminal whose locale is C."""
    try:
        "".join((BLOCKS.weights, BLOCKS.kv_cache, BLOCKS.margin, BLOCKS.start)).encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return ASCII
    # Python writes UTF-8 in the C locale too, which says nothing about the terminal.
    locale = next((os.environ[key] for key in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(key)), "")
    return ASCII if stream.isatty() and locale in ("C", "POSIX") else BLOCKS


def echo(line: str | Line) -> None:
    """Print a line of the answer."""
    text = visible(line) if isinstance(line, str) else "".join(map(_styled, line))
    if not text.isascii() and glyphs_of(sys.stdout) is ASCII:
        text = text.translate(_STAND_INS)
    click.echo(text, color=None if isinstance(line, str) else has_color(sys.stdout))


# Of stackc's own words: each as wide as what it stands for, so that no line grows. Names stay as they are.
_STAND_INS = str.maketrans("×…–−", "x~--")


def _styled(piece: Piece) -> str:
    text = visible(piece.text)
    if piece.color is None and not piece.is_bold and not piece.is_dim:
        return text
    return click.style(text, piece.color, bold=piece.is_bold or None, dim=piece.is_dim or None)
