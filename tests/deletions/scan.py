"""Finds the calls by which a file, a link or a folder can go, or lose what it holds."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Whatever has a method of this name: a path, `os`, `shutil`, or the function itself as a value.
_ALWAYS = frozenset(
    {
        "copy", "copy2", "copyfile", "copytree", "ftruncate", "hardlink_to", "move", "removedirs", "rename", "rmdir",
        "rmtree", "truncate", "unlink", "write_bytes", "write_text",
    }
)  # fmt: skip
# Of lists, strings and dictionaries too, so that the module must be named.
_OF_OS = frozenset({"remove", "renames", "replace", "link"})
# Programs that an argument list may name.
_PROGRAMS = frozenset({"rm", "rmdir", "mv", "cp", "ln", "unlink", "shred", "truncate", "userdel", "chown"})
_WRITING = re.compile(r"[wax+]")
# Most files have nothing like it, and need not be read as Python.
_NAMES, _WORDS = ("|".join(sorted(names)) for names in (_ALWAYS | _OF_OS | {"O_TRUNC"}, _PROGRAMS))
_LIKELY = re.compile(rf"\.\s*(?:{_NAMES})\b|open\s*\(|['\"](?:{_WORDS})['\"]")

_COMMAND = re.compile(
    r"""(?<![\w./$-])(?:rm|rmdir|mv|cp|ln|unlink|shred|truncate|userdel|chown|dd)(?=\s+[-"'$\w/*])|\bfind\b.*-delete"""
    r"""|\bsed\s+-\w*i|\btee\s|\bdown\s+--volumes|secret\s+create"""
)
# `>file`, but neither `>>`, `>&2`, `2>/dev/null`, `>/dev/null`, `->`, `=>`, nor a placeholder such as <file>.
_REDIRECTION = re.compile(r"""(?<![>\-=<\w])(?:\d?>\|?)(?!>|&|\s*/dev/(?:null|tcp)|\s*\()\s*["']?\$?[\w{/"]""")
_FUNCTION = re.compile(r"^(\w+)\(\) *\{?")


@dataclass(frozen=True, order=True)
class Place:
    """One kind of call in one function; `function` is empty outside of all."""

    file: str
    function: str
    call: str


def scan(root: Path) -> Counter[Place]:
    """Every place below compiler/ and templates/, and how many calls of it there are."""
    found: Counter[Place] = Counter()
    for path in sorted(path for top in ("compiler", "templates") for path in (root / top).rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.suffix == ".py":
            found.update(Place(name, *each) for each in scan_python(path.read_text(encoding="utf-8")))
        elif path.suffix in {".j2", ".bash"} or (
            path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env bash")
        ):
            found.update(Place(name, *each) for each in scan_shell(path.read_text(encoding="utf-8")))
    return found


def scan_python(text: str) -> Iterator[tuple[str, str]]:
    """The function and the call as written, for everything that removes, replaces or truncates."""
    if _LIKELY.search(text):
        yield from _walk(ast.parse(text), "")


def _walk(node: ast.AST, function: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}".lstrip(".")
    call = _removing(node)
    if call is not None:
        yield function, call
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, function)


def _removing(node: ast.AST) -> str | None:
    if isinstance(node, ast.Attribute):
        is_module = isinstance(node.value, ast.Name) and node.value.id == "os"
        if node.attr in _ALWAYS or (node.attr in _OF_OS and is_module) or node.attr == "O_TRUNC":
            return ast.unparse(node)
    if isinstance(node, ast.Call):
        return _called(node)
    return node.value if isinstance(node, ast.Constant) and node.value in _PROGRAMS else None


def _called(node: ast.Call) -> str | None:
    """`open` for writing; a path's `replace`, which has one argument where a string's has two."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in ("open", "fdopen") and any(_is_mode(each) for each in (*node.args, *(k.value for k in node.keywords))):
        return f"{ast.unparse(node.func)} for writing"
    if isinstance(node.func, ast.Attribute) and name == "replace" and len(node.args) == 1 and not node.keywords:
        return ast.unparse(node.func)
    if any(isinstance(each, ast.Attribute) and each.attr == "replace" for each in node.args):
        return "replace, passed on"
    return None


def _is_mode(node: ast.expr) -> bool:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_text and len(node.value) <= 3 and _WRITING.search(node.value) is not None  # type: ignore[attr-defined]


def scan_shell(text: str) -> Iterator[tuple[str, str]]:
    """The function and the command, line by line; comments are passed over."""
    function = ""
    for line in text.splitlines():
        begins = _FUNCTION.match(line)
        function = begins[1] if begins is not None else "" if line.startswith("}") else function
        if re.match(r"\s*(#(?!\{)|//|\{#)", line):
            continue
        for match in _COMMAND.finditer(line):
            yield function, " ".join(match[0].split()[:2])
        for _ in _REDIRECTION.finditer(re.sub(r"\[\[.*?\]\]|\(\(.*?\)\)|\{%.*?%\}", "", line)):
            yield function, ">"
