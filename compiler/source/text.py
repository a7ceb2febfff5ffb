"""Text of the user's files, and the place of a byte that is none."""

from __future__ import annotations

import re
from pathlib import Path

from compiler.diagnostics import Diagnostic, Label, Position, SourceText, Span
from compiler.source.files import read_file


def read_source(path: Path, name: str, limit: int) -> tuple[SourceText, Diagnostic | None]:
    """A text file, called `name`; with a finding where it is not UTF-8, and then only fit to be shown.

    Raises:
        OSError: the file cannot be read (see `read_file`).
    """
    return decode_source(read_file(path, limit), name)


def decode_source(content: bytes, name: str) -> tuple[SourceText, Diagnostic | None]:
    """The same of bytes that were read already. Ends of lines are those of Python: CRLF and CR are one newline."""
    try:
        return SourceText(name, _newlines(content.decode())), None
    except UnicodeDecodeError as error:
        source = SourceText(name, _newlines(content.decode(errors="replace")))
        before = _newlines(content[: error.start].decode())
        message = f"{name} is not UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}"
        return source, Diagnostic("E0101", message, label_at(source, len(before)))


def label_at(source: SourceText, offset: int) -> Label:
    """A label on the character at an offset of the text."""
    lines = source.text[:offset].split("\n")
    line, column = len(lines), len(lines[-1]) + 1
    return Label(Span(source, Position(line, column), Position(line, column + 1)))


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


# Brackets open at once. No spec is nested so deeply, and ruamel.yaml's scanner takes time by the square of it.
_MOST_OPEN = 256
_BRACKET = re.compile(r"[\[\]{}]")


def check_nesting(text: str) -> None:
    """Refuse what no person writes, before a parser is asked.

    Raises:
        RecursionError: more brackets are open somewhere, wherever they stand, than in any file of the user's.
    """
    is_open = 0
    for match in _BRACKET.finditer(text):
        is_open += 1 if match[0] in "[{" else -1
        if is_open > _MOST_OPEN:
            raise RecursionError(f"more than {_MOST_OPEN} brackets are open")
