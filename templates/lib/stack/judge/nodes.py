"""A YAML or JSON file as a tree that knows its lines, so that every mistake can be named where it is.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from stack import EXIT_USAGE, StackError

Value = Any
# Anchors can make a small file endless; nobody writes an evaluation this deep.
MAX_DEPTH = 40


class MissingModule(Exception):  # noqa: N818 (another Python may have it)
    """This Python lacks a module; the text is its name."""


class Node(NamedTuple):
    """A value and where it stands. `text` is a scalar as it was written, `line` 0 where the reader knows none.

    `value` is a mapping of names to nodes, a list of nodes or a scalar.
    """

    value: Value
    line: int
    path: str
    text: str = ""

    def plain(self) -> Value:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


class Problems:
    """Collects what is wrong with a file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.lines: list[tuple[int, str]] = []

    def add(self, node: Node, message: str) -> None:
        """Something is wrong here."""
        where = f"{self._name}:{node.line}" if node.line else self._name
        self.lines.append((node.line, f"{where}: {node.path}: {message}" if node.path else f"{where}: {message}"))

    def end(self) -> None:
        """Raise if there was anything."""
        if self.lines:
            raise StackError(EXIT_USAGE, "\n".join(text for _, text in sorted(self.lines)))


def read_tree(path: Path, problems: Problems) -> Node:
    """The file as a tree. A file called *.json needs no YAML.

    Raises:
        MissingModule: it is YAML, and this Python has no reader for it.
        StackError: it cannot be read or is not well-formed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise StackError(EXIT_USAGE, f"cannot read {path}: {reason}") from None
    return _read_json(path, text) if path.suffix == ".json" else _read_yaml(path, text, problems)


def _read_json(path: Path, text: str) -> Node:
    try:
        return _from_value(json.loads(text), "")
    except json.JSONDecodeError as error:
        raise StackError(EXIT_USAGE, f"{path}:{error.lineno}: {error.msg}") from error
    except RecursionError:
        raise StackError(EXIT_USAGE, f"{path}: nested too deeply") from None


def _from_value(value: Value, path: str) -> Node:
    if isinstance(value, dict):
        return Node({key: _from_value(item, _below(path, key)) for key, item in value.items()}, 0, path)
    if isinstance(value, list):
        return Node([_from_value(item, f"{path}[{index}]") for index, item in enumerate(value)], 0, path)
    return Node(value, 0, path, value if isinstance(value, str) else json.dumps(value))


def _read_yaml(path: Path, text: str, problems: Problems) -> Node:
    try:
        import yaml  # noqa: PLC0415 (the plain Python of a server has none)
    except ImportError:
        raise MissingModule("yaml") from None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            raise StackError(EXIT_USAGE, f"{path}: the file is empty")
        return _YamlTree(loader, problems).convert(root, "", 0)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        # PyYAML takes a `?` between braces for syntax, and says no more than that.
        hint = ": put the text in quotes" if problem.endswith("got '?'") else ""
        raise StackError(EXIT_USAGE, f"{where}: {problem}{hint}") from error


class _YamlTree:
    """Turns the nodes of PyYAML into ours."""

    def __init__(self, loader: Any, problems: Problems) -> None:
        self._loader = loader
        self._problems = problems

    def convert(self, found: Any, path: str, depth: int) -> Node:
        """One node and those below it."""
        line = found.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise StackError(EXIT_USAGE, f"line {line}: nested too deeply")
        if found.id == "scalar":
            return Node(self._loader.construct_object(found), line, path, found.value)
        if found.id == "sequence":
            items = [self.convert(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(found.value)]
            return Node(items, line, path)
        return Node(self._mapping(found, path, depth), line, path)

    def _mapping(self, found: Any, path: str, depth: int) -> dict[str, Node]:
        names: set[str] = set()
        for key, _ in found.value:
            name = str(key.value)
            if name in names:
                self._problems.add(Node(None, key.start_mark.line + 1, _below(path, name)), "this key is there twice")
            names.add(name)
        self._loader.flatten_mapping(found)  # what `<<` merges comes first, and what stands here wins
        return {
            str(key.value): self.convert(value, _below(path, str(key.value)), depth + 1) for key, value in found.value
        }


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def suggestion(name: str, known: Iterable[str]) -> str:
    """`did you mean …?`, or what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean `{near[0]}`?" if near else f"there are {', '.join(names)}"
