"""The text of a spec in an editor: where a position stands, also while it is no YAML, and what an edit makes of it.

Ends of lines are one newline here, whatever the editor has: no position depends on them.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from lsprotocol import types
from pygls.workspace import PositionCodec
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from compiler.diagnostics import Edit, Position, SourceText, Span
from compiler.solve.solve import apply_edits
from compiler.source.document import load_document, plain_yaml
from compiler.spec.rollouts import written_edits

Path = tuple[str, ...]


class Text:
    """A text with its positions: those of the editor in its own units, those of the compiler in characters."""

    def __init__(self, source: str, codec: PositionCodec) -> None:
        self.text = source.replace("\r\n", "\n").replace("\r", "\n")
        self._codec = codec
        self._starts = [0, *(match.end() for match in re.finditer("\n", self.text))]

    def position(self, offset: int) -> types.Position:
        """Of a character, as the editor counts."""
        line = bisect_right(self._starts, offset) - 1
        return types.Position(line, self._codec.client_num_units(self.text[self._starts[line] : offset]))

    def offset(self, position: types.Position) -> int:
        """Of the character at a position of the editor; the end of the line, or of the text, for what is past it."""
        if position.line >= len(self._starts):
            return len(self.text)
        at, units = self._starts[position.line], 0
        while units < position.character and self.text[at : at + 1] not in ("", "\n"):
            units += self._codec.client_num_units(self.text[at])
            at += 1
        return at

    def range(self, start: int, end: int) -> types.Range:
        """Between two characters."""
        return types.Range(self.position(start), self.position(end))

    @property
    def first_line(self) -> types.Range:
        """For what has no other place."""
        return self.range(0, _end_of_line(self.text, 0))

    def range_of(self, span: Span) -> types.Range:
        """Of a place that the compiler names."""
        start, end = self._at(span.start), self._at(span.end)
        return self.range(start, max(start, end))

    def _at(self, position: Position) -> int:
        start = self._starts[min(position.line, len(self._starts)) - 1]
        return min(start + position.column - 1, len(self.text))


_TOKEN = re.compile(
    r"""(?P<comment>(?<!\S)\#[^\n]*)
      | (?P<word>"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?|(?:[^\s\[\]{},:]|:(?![\s,\]}]|$))+)
      | (?P<newline>\n)
      | (?P<open>[\[{]) | (?P<close>[\]}]) | (?P<comma>,)
      | (?P<colon>:)""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a mapping, and where it stands. Items of lists have no number in a path."""

    path: Path
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a position stands: in the mapping at `path`, writing a key, or in the value at `path`.

    Attributes:
        start: of the word that is being written.
    """

    path: Path
    is_key: bool
    start: int


def keys_of(text: str) -> tuple[Key, ...]:
    """Every key of a text, which need not be YAML."""
    return tuple(_Scan(text).keys)


def spot_at(text: str, offset: int) -> Spot | None:
    """Where a position stands, as far as what is before it tells; None in a comment."""
    return _Scan(text[:offset]).spot()


@dataclass(slots=True)
class _Flow:
    """Brackets that are open, and the key whose value is being written in them."""

    path: Path
    is_map: bool
    key: str | None = None

    @property
    def value(self) -> Path:
        return self.path if self.key is None else (*self.path, self.key)


class _Scan:
    """Reads token by token, and makes the best of what is no YAML yet."""

    def __init__(self, text: str) -> None:
        self.keys: list[Key] = []
        self._text = text
        self._blocks: list[tuple[int, str]] = []
        self._flows: list[_Flow] = []
        self._last: re.Match[str] | None = None
        self._start_line(0)
        for match in _TOKEN.finditer(text):
            self._take(match)
            self._last = match

    def _start_line(self, start: int) -> None:
        self._line = start
        self._column: int | None = None
        self._is_value = self._is_item = False
        self._word: re.Match[str] | None = None

    def _take(self, match: re.Match[str]) -> None:
        kind = match.lastgroup
        if kind == "newline":
            return self._start_line(match.end())
        if kind == "comment":
            return None
        if self._column is None:
            self._column = match.start() - self._line
            self._is_item = match[0] == "-"
        if kind == "word":
            self._word = None if match[0] == "-" else match
            return None
        if kind == "colon" and self._word is not None:
            self._name(self._word)
        elif kind == "open" and (self._flows or self._word is None):
            self._flows.append(_Flow(self._value, match[0] == "{"))
        elif kind == "close" and self._flows:
            self._flows.pop()
        elif kind == "comma" and self._flows:
            self._flows[-1].key = None
        self._word = None
        return None

    def _name(self, word: re.Match[str]) -> None:
        """The word before a colon is a key."""
        name, column = word[0].strip("\"'"), word.start() - self._line
        if self._blocks and column == self._column and column <= self._blocks[-1][0]:
            self._flows.clear()  # nothing in brackets stands so far to the left: somebody has yet to close them
        if self._flows:
            self._flows[-1].key = name if self._flows[-1].is_map else None
            self.keys.append(Key(self._flows[-1].value, *word.span()))
        elif not self._is_value:
            self._blocks = [*self._around(column), (column, name)]
            self._is_value = True
            self.keys.append(Key(self._value, *word.span()))

    def _around(self, column: int) -> list[tuple[int, str]]:
        """Keys of the block mappings in which something stands that begins at a column."""
        return [block for block in self._blocks if block[0] < column]

    @property
    def _value(self) -> Path:
        return self._flows[-1].value if self._flows else tuple(name for _, name in self._blocks)

    def spot(self) -> Spot | None:
        """Where the end of the text stands."""
        end, start = len(self._text), len(self._text)
        if self._last is not None and self._last.end() == end:
            if self._last.lastgroup == "comment":
                return None
            start = self._last.start() if self._last.lastgroup == "word" else end
        if self._flows:
            flow = self._flows[-1]
            return Spot(flow.value, flow.is_map and flow.key is None, start)
        if self._is_value:
            return Spot(self._value, is_key=False, start=start)
        column = self._column if self._column is not None else end - self._line
        around = self._around(column + self._is_item)
        return Spot(tuple(name for _, name in around), not self._is_item, start)


def rewritten(text: str, edits: Sequence[Edit]) -> str | None:
    """The text with the edits in it, all else as it was; None where it does not take them in a few words."""
    document, _ = load_document(SourceText("", text))
    if document is None:
        return None
    wanted = apply_edits(document.data, edits)
    for write in (_renamed, _edited_in_turn):
        found = write(text, written_edits(document.data, edits))
        again, _ = load_document(SourceText("", found or ""))
        if again is not None and again.data == wanted:
            return found
    return None


def difference(old: str, new: str) -> tuple[int, int, str]:
    """The one stretch of the old text that is replaced, from and to, and by what."""
    start = _shared(old, new)
    end = _shared(old[start:][::-1], new[start:][::-1])
    return start, len(old) - end, new[start : len(new) - end]


def _shared(one: str, other: str) -> int:
    """How many characters at the beginning are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def _renamed(text: str, edits: Sequence[Edit]) -> str | None:
    """The text with a key under another name, if that is what the edits may come to: it keeps its place and remarks."""
    old, new = edits[0].path, edits[-1].path
    if len(edits) != 2 or old[:-1] != new[:-1]:  # noqa: PLR2004  one is removed, one is set
        return None
    keys = [key for key in keys_of(text) if key.path == old]
    return f"{text[: keys[0].start]}{new[-1]}{text[keys[0].end :]}" if len(keys) == 1 else None


def _edited_in_turn(text: str, edits: Sequence[Edit]) -> str | None:
    try:
        return reduce(_edited, edits, text)
    except YAMLError:
        return None


def _edited(text: str, edit: Edit) -> str:
    node, path = plain_yaml().compose(text), list(edit.path)
    found = _child(node, path[0])
    while len(path) > 1 and found is not None and not isinstance(found[1], ScalarNode):
        node, path = found[1], path[1:]
        found = _child(node, path[0])
    if edit.value is None:
        return text if found is None else _without(text, node, found)
    if found is None:
        return _with(text, node, path, edit.value)
    start, end = int(found[1].start_mark.index), _end(found[1])
    if start == end:  # nothing is there but the key
        start = end = text.index(":", _end(found[0])) + 1
        return f"{text[:start]} {_scalar(edit.value)}{text[end:]}"
    return text[:start] + _scalar(edit.value) + text[end:]


def _child(node: Node, part: str | int) -> tuple[Node, Node] | None:
    """Key and value; of an item of a list, the item is both."""
    if isinstance(node, SequenceNode):
        return next(((item, item) for index, item in enumerate(node.value) if index == part), None)
    return next(((key, value) for key, value in node.value if key.value == part), None)


def _end(node: Node) -> int:
    """Where a node's own text ends; ruamel counts a block to the beginning of what follows."""
    while isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
        node = node.value[-1][1] if isinstance(node, MappingNode) else node.value[-1]
    return int(node.end_mark.index)


def _end_of_line(text: str, offset: int) -> int:
    found = text.find("\n", offset)
    return len(text) if found < 0 else found


def _without(text: str, node: MappingNode, entry: tuple[Node, Node]) -> str:
    start, end, index = int(entry[0].start_mark.index), _end(entry[1]), node.value.index(entry)
    if node.flow_style and index:
        return text[: _end(node.value[index - 1][1])] + text[end:]
    if node.flow_style:
        return text[:start] + text[node.value[1][0].start_mark.index if len(node.value) > 1 else end :]
    if len(node.value) == 1:
        return text[:start].rstrip() + " {}" + text[end:]
    return text[: text.rfind("\n", 0, start) + 1] + text[_end_of_line(text, end) + 1 :]


def _with(text: str, node: MappingNode, path: Sequence[str | int], value: Any) -> str:
    entry = f"{path[-1]}: {_scalar(value)}"
    for name in reversed(path[:-1]):
        entry = f"{name}: {{{entry}}}"
    if node.flow_style:
        head = text[: node.end_mark.index - 1].rstrip()
        return head + (", " if node.value else "") + entry + text[len(head) :]
    at = _end_of_line(text, _end(node))
    return f"{text[:at]}\n{' ' * node.start_mark.column}{entry}{text[at:]}"


def _scalar(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_scalar, value))}]"
    plain, _ = load_document(SourceText("", f"[{value}]"))
    return str(value) if plain is not None and plain.data == [value] else json.dumps(value, ensure_ascii=False)
