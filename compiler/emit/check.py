"""How a generated tree differs from what the spec says, as a unified diff."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compiler.emit.disk import mode_fault
from compiler.emit.tree import Tree, folder_faults, link_fault
from compiler.render.artifact import Artifact
from compiler.source.files import TooLargeError, read_file
from compiler.source.scan import existing_files

# The time that a diff takes grows with the square of what differs.
_MAX_DIFF = 1 << 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One file or folder that is not as it should be: what is wrong, and the lines of a diff where there are any."""

    path: str
    what: str
    diff: str


def differences(tree: Tree) -> tuple[Difference, ...]:
    """Every file or link that is missing, changed or a stray, and every folder of a wrong mode, sorted by path."""
    if tree.is_library and not os.path.lexists(tree.root):
        return (Difference(".", "missing", ""),)
    changed = (found for artifact in tree.artifacts for found in _compare(tree.root / artifact.path, artifact))
    modes = (Difference(path, what, "") for path, what in folder_faults(tree)) if tree.root.is_dir() else ()
    return tuple(sorted((*_strays(tree), *changed, *_links(tree), *modes), key=lambda difference: difference.path))


def _strays(tree: Tree) -> Iterator[Difference]:
    """What lies in a folder that stands where a link has to be is told as that folder."""
    for path in existing_files(tree.root):
        if path not in tree.paths and not any(path.startswith(f"{place}/") for place in tree.links):
            yield Difference(path, "stray file", "")


def _links(tree: Tree) -> Iterator[Difference]:
    for path, text in tree.links.items():
        fault = link_fault(tree.root / path, text)
        if fault is not None:
            yield Difference(path, fault, "")


def _compare(path: Path, artifact: Artifact) -> Iterator[Difference]:
    name, wanted = str(artifact.path), artifact.text.encode()
    if path.is_symlink() or not path.is_file():
        what = "not a plain file" if path.is_symlink() or path.exists() else "missing"
        yield Difference(name, what, "")
        return
    try:
        found = read_file(path, max(_MAX_DIFF, len(wanted)))
    except TooLargeError:
        yield Difference(name, "changed, and much larger", "")
        return
    if found != wanted:
        diff = _diff(name, found.decode(errors="replace"), artifact.text) if len(found) <= _MAX_DIFF else ""
        yield Difference(name, "changed", diff)
    fault = mode_fault(path.stat().st_mode, artifact.mode)
    if fault is not None:
        yield Difference(name, fault, "")


def _diff(name: str, found: str, wanted: str) -> str:
    lines = difflib.unified_diff(
        found.splitlines(keepends=True), wanted.splitlines(keepends=True), f"{name} (on disk)", f"{name} (compiled)"
    )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)
