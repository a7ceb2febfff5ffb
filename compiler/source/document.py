"""Read a YAML file into plain data that remembers where each key and value stood.

Composed nodes are walked here instead of using ruamel's round-trip types: nodes carry start and end marks for keys and
values alike, and duplicate keys can all be reported in one run.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from compiler.diagnostics import Diagnostic, Label, Position, SourceText, Span
from compiler.source.text import check_nesting, label_at

MAX_BYTES = 1 << 20
MAX_DEPTH = 32

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry stands: its value, and its key unless it is a list item or the root."""

    value: Span
    key: Span | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file: plain `data`, and a `Place` for every path in it. Nobody changes either: readers share them."""

    source: SourceText
    data: Any
    places: dict[Path, Place] = field(repr=False)

    def value(self, path: Path) -> Span:
        """Span of the value at `path`, or of the nearest parent that exists."""
        return self._nearest(path).value

    def key(self, path: Path) -> Span:
        """Span of the key at `path`, or of what is nearest to it."""
        place = self._nearest(path)
        return place.key if place.key is not None and path in self.places else place.value

    def text(self, path: Path) -> str:
        """How the file writes the value at `path`; empty where it takes more than one line."""
        span = self.value(path)
        is_one_line = span.start.line == span.end.line
        return self.source.line(span.start.line)[span.start.column - 1 : span.end.column - 1] if is_one_line else ""

    def _nearest(self, path: Path) -> Place:
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


# An editor asks about one text again and again: what it has, what a fix would make of it, and what else would.
@lru_cache(maxsize=32)
def load_document(source: SourceText) -> tuple[Document | None, tuple[Diagnostic, ...]]:
    """Parse YAML 1.2. Syntax errors, duplicate keys, anchors and tags come back as diagnostics, all in one run."""
    if len(source.text.encode(errors="surrogatepass")) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES} bytes"
        return None, (Diagnostic("E0101", message, Label(_span(source, 0, 0, 0, 1))),)
    try:
        check_nesting(source.text)
        root = plain_yaml().compose(source.text)
    except YAMLError as error:
        return None, (_syntax_error(source, error),)
    except RecursionError:
        return None, (Diagnostic("E0101", "the file is nested too deeply", Label(_span(source, 0, 0, 0, 1))),)
    if root is None:
        return None, (Diagnostic("E0101", "the file is empty", Label(_span(source, 0, 0, 0, 1))),)
    walk = _Walk(source)
    data = walk.convert(root, ())
    if walk.problems:
        return None, tuple(walk.problems)
    return Document(source, data, walk.places), ()


def plain_yaml() -> YAML:
    """A reader of plain YAML 1.2."""
    return _Yaml(typ="safe", pure=True)


class _Yaml(YAML):
    def official_plug_ins(self) -> list[str]:
        """None: looking for them on the disk takes as long as reading a spec."""
        return []


def _syntax_error(source: SourceText, error: Exception) -> Diagnostic:
    if isinstance(error, ReaderError):
        message = f"not valid YAML: the character #x{int(error.character):04x} is not allowed"
        return Diagnostic("E0101", message, label_at(source, error.position))
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    return Diagnostic("E0101", f"not valid YAML: {problem}", Label(_span(source, line, column, line, column + 1)))


def _span(source: SourceText, line: int, column: int, end_line: int, end_column: int) -> Span:
    return Span(source, Position(line + 1, column + 1), Position(end_line + 1, end_column + 1))


def _is_text(value: str) -> bool:
    """Whether it has no lone surrogate: escapes can write one, and no encoding takes it."""
    return not any("\ud800" <= char <= "\udfff" for char in value)


class _Walk:
    """Turns nodes into plain data, collecting places and problems on the way."""

    def __init__(self, source: SourceText) -> None:
        self.source = source
        self.places: dict[Path, Place] = {}
        self.problems: list[Diagnostic] = []
        self._lines = source.text.split("\n")  # once: asking the source for each is quadratic in its length
        self._constructor = plain_yaml().constructor
        self._seen: set[int] = set()

    def convert(self, node: Node, path: Path, key: Span | None = None) -> Any:
        span = self.span(node)
        if key is not None and span.start == span.end:
            span = key  # an empty value: its key is all there is to point at
        self.places[path] = Place(span, key)
        if node.anchor is not None or id(node) in self._seen:
            self._report("E0103", "anchors and aliases are not part of a spec", span)
            return None
        self._seen.add(id(node))
        if len(path) > MAX_DEPTH:
            self._report("E0101", "the file is nested too deeply", span)
            return None
        if not str(node.tag).startswith("tag:yaml.org,2002:"):
            self._report("E0103", f"tag {node.tag} is not part of a spec", span)
            return None
        if isinstance(node, MappingNode):
            return {name: self.convert(value, (*path, name), at) for name, at, value in self._entries(node)}
        if isinstance(node, SequenceNode):
            return [self.convert(item, (*path, index)) for index, item in enumerate(node.value)]
        if not _is_text(str(node.value)):
            self._report("E0101", "an escape stands for half a character, which is no text", span)
            return None
        return self._scalar(node)

    def span(self, node: Node) -> Span:
        start, end = node.start_mark, node.end_mark
        # A block collection ends where the next key begins; its first line is what people call its place.
        if end.line > start.line and not isinstance(node, ScalarNode):
            end_column = len(self._lines[start.line].rstrip()) if start.line < len(self._lines) else 0
            return _span(self.source, start.line, start.column, start.line, max(end_column, start.column + 1))
        return _span(self.source, start.line, start.column, end.line, max(end.column, start.column))

    def _entries(self, node: MappingNode) -> Iterator[tuple[str, Span, Node]]:
        first: dict[Hashable, Span] = {}
        for key_node, value_node in node.value:
            span = self.span(key_node)
            if not isinstance(key_node, ScalarNode):
                self._report("E0103", "a key must be a plain word", span)
                continue
            if str(key_node.tag).endswith(":merge"):
                self._report("E0103", "merge keys are not part of a spec", span)
                continue
            name = str(key_node.value)
            if not _is_text(name):
                self._report("E0101", "an escape stands for half a character, which is no text", span)
                continue
            if name in first:
                note = f"first given at {first[name]}"
                self.problems.append(Diagnostic("E0102", f"key `{name}` is given twice", Label(span), (note,)))
                continue
            first[name] = span
            yield name, span, value_node

    def _scalar(self, node: Node) -> Any:
        # Dates and binary have no use here; as text they reach the check that names the field.
        if str(node.tag).endswith((":timestamp", ":binary")):
            return node.value
        try:
            return self._constructor.construct_object(node, deep=True)
        except (ValueError, OverflowError, YAMLError):
            return node.value

    def _report(self, code: str, message: str, span: Span) -> None:
        self.problems.append(Diagnostic(code, message, Label(span)))
