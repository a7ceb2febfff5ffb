"""Readers of what is emitted: enough of each syntax to find again what a template was given.

They are stricter than systemd and bash. What they cannot read with certainty is an error, not a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from compiler.render.quoting import ShellVariable


class ReadError(ValueError):
    """A text that is not in the syntax, or uses more of it than is understood here."""


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A unit file as systemd reads it: `entries` are section, key and raw value, in order."""

    entries: tuple[tuple[str, str, str], ...]

    def values(self, section: str, key: str) -> tuple[str, ...]:
        """All values of a key; an empty assignment forgets those before it."""
        found: list[str] = []
        for its_section, its_key, value in self.entries:
            if its_key == key and its_section == section:
                found = [*found, value] if value else []
        return tuple(found)


def read_unit(text: str) -> UnitFile:
    """The entries of a unit file: comments dropped, continued lines joined."""
    entries: list[tuple[str, str, str]] = []
    section = ""
    for line in _logical_lines(text):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        key, equals, value = line.partition("=")
        if not equals or not section:
            raise ReadError(f"{line!r} is neither a section nor an assignment in one")
        entries.append((section, key.strip(), value.strip()))
    return UnitFile(tuple(entries))


def _logical_lines(text: str) -> Iterator[str]:
    whole = ""
    for line in text.split("\n"):
        if line.strip()[:1] in {"", "#", ";"}:
            continue
        whole += line
        if whole.endswith("\\"):
            whole = whole[:-1] + " "
            continue
        yield whole.strip()
        whole = ""
    if whole.strip():
        yield whole.strip()


_SYSTEMD_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_SYSTEMD_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([abfnrtvs\\\"']))")


def read_systemd_value(value: str) -> str:
    """A value without words: only specifiers mean something."""
    if re.search(r"(?<!%)(?:%%)*%(?!%)", value):
        raise ReadError(f"{value!r} has a specifier")
    return value.replace("%%", "%")


def read_systemd_words(value: str, *, is_command: bool) -> tuple[str, ...]:
    """The words of a value, unquoted. In a command line `$$` is a dollar, and a single one would be a variable."""
    words = tuple(_systemd_words(value))
    if is_command:
        if any(re.search(r"(?<!\$)(?:\$\$)*\$(?!\$)", word) for word in words):
            raise ReadError(f"{value!r} has a variable")
        words = tuple(word.replace("$$", "$") for word in words)
    return tuple(read_systemd_value(word) for word in words)


def _systemd_words(value: str) -> Iterator[str]:
    position, word, quote = 0, None, ""
    while position < len(value):
        character = value[position]
        position += 1
        if character == "\\":
            escape = _SYSTEMD_ESCAPE.match(value, position - 1)
            if escape is None:
                raise ReadError(f"{value!r} has an unknown escape")
            word = (word or "") + _unescaped(escape)
            position = escape.end()
        elif quote:
            quote, word = ("", word) if character == quote else (quote, (word or "") + character)
        elif character in "\"'":
            quote, word = character, word or ""
        elif character.isspace():
            if word is not None:
                yield word
            word = None
        else:
            word = (word or "") + character
    if quote:
        raise ReadError(f"{value!r} does not close a quote")
    if word is not None:
        yield word


def _unescaped(escape: re.Match[str]) -> str:
    if escape[1] is not None:
        return chr(int(escape[1], 16))
    return _SYSTEMD_ESCAPES.get(escape[2], escape[2])


@dataclass(frozen=True, slots=True)
class Expansion:
    """A shell word that bash computes; what it becomes cannot be told from the text."""

    text: str


BashWord = str | ShellVariable | Expansion

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_ARRAY = re.compile(rf"^[ \t]*({_NAME})=\(", re.MULTILINE)
_ASSIGNMENT = re.compile(rf"(?:^|[ \t;])({_NAME})=(?!\()", re.MULTILINE)
_COMMENT_LINE = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_PART = re.compile(
    r"""
      (?P<space>\s+) | (?P<comment>(?<![^\s(])\#[^\n]*)
    | '(?P<single>[^']*)'
    | "(?P<double>(?:[^"\\$`]|\\.)*)"
    | "\$(?P<variable>[A-Za-z_][A-Za-z0-9_]*)"
    | (?P<expansion>"(?:[^"\\`]|\\.)*" | \$(?:[A-Za-z_][A-Za-z0-9_]*|\{(?:[^{}]|\$\{[^}]*\})*\}|\(<[^)]*\)))
    | \\(?P<escaped>.)
    | (?P<plain>[^\s'"\\$`;&|<>()\#*?\[\]{}!]+ | \# )
    """,
    re.VERBOSE | re.DOTALL,
)


def read_bash_array(text: str, name: str) -> tuple[BashWord, ...]:
    """The words of `name=( … )`, which must stand in the script exactly once."""
    found = [match for match in _ARRAY.finditer(text) if match[1] == name]
    if len(found) != 1:
        raise ReadError(f"there must be one array {name}=(…), and there are {len(found)}")
    words, end = _bash_words(text, found[0].end())
    if text[end : end + 1] != ")":
        raise ReadError(f"the array {name} holds something that is not a plain word: {text[end : end + 20]!r}")
    return words


def read_bash_assignments(text: str) -> dict[str, tuple[BashWord, ...]]:
    """Every value that the script gives to a variable, in its order; an empty one is an empty text."""
    found: dict[str, tuple[BashWord, ...]] = {}
    text = _COMMENT_LINE.sub("", text)
    for match in _ASSIGNMENT.finditer(text):
        words, _ = _bash_words(text, match.end(), count=1)
        found[match[1]] = (*found.get(match[1], ()), words[0] if words else "")
    return found


def _bash_words(text: str, position: int, count: int | None = None) -> tuple[tuple[BashWord, ...], int]:
    """Words from a position on, up to the first character that cannot be part of one, or so many of them."""
    words: list[BashWord] = []
    parts: list[re.Match[str]] = []
    while True:
        part = _PART.match(text, position)
        is_gap = part is None or part["space"] is not None or part["comment"] is not None
        if is_gap and (parts or count == 1):
            words += [_bash_word(parts)] if parts else []
            parts = []
        if part is None or (count is not None and (is_gap or len(words) == count)):
            return tuple(words), position
        parts += [] if is_gap else [part]
        position = part.end()


def _bash_word(parts: list[re.Match[str]]) -> BashWord:
    if len(parts) == 1 and parts[0]["variable"] is not None:
        return ShellVariable(parts[0]["variable"])
    if any(part["variable"] is not None or part["expansion"] is not None for part in parts):
        return Expansion("".join(part[0] for part in parts))
    return "".join(_bash_text(part) for part in parts)


def _bash_text(part: re.Match[str]) -> str:
    if part["double"] is not None:
        return re.sub(r"\\([$`\"\\])", r"\1", part["double"])
    return next((part[group] for group in ("single", "escaped", "plain") if part[group] is not None), part[0])
