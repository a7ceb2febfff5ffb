"""How a generated tree differs from what the spec says, as a unified diff."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compiler.emit.tree import Tree, existing_files
from compiler.render.artifact import EXECUTABLE, Artifact


@dataclass(frozen=True, slots=True)
class Difference:
    """One file that is not as it should be: what is wrong, and the lines of a diff where there are any."""

    path: str
    what: str
    diff: str


def differences(tree: Tree) -> tuple[Difference, ...]:
    """Every file that is missing, changed or a stray, sorted by path."""
    wanted = {str(artifact.path): artifact for artifact in tree.artifacts}
    strays = (Difference(path, "stray file", "") for path in existing_files(tree.root) if path not in wanted)
    changed = (found for path, artifact in wanted.items() for found in _compare(tree.root / path, artifact))
    return tuple(sorted((*strays, *changed), key=lambda difference: difference.path))


def _compare(path: Path, artifact: Artifact) -> Iterator[Difference]:
    name = str(artifact.path)
    if path.is_symlink() or not path.is_file():
        what = "missing" if not path.exists() else "not a plain file"
        yield Difference(name, what, "")
        return
    found = path.read_bytes()
    if found != artifact.text.encode():
        yield Difference(name, "changed", _diff(name, found.decode(errors="replace"), artifact.text))
    if bool(path.stat().st_mode & 0o100) != (artifact.mode == EXECUTABLE):
        yield Difference(name, "executable" if artifact.mode != EXECUTABLE else "not executable", "")


def _diff(name: str, found: str, wanted: str) -> str:
    lines = difflib.unified_diff(
        found.splitlines(keepends=True), wanted.splitlines(keepends=True), f"{name} (on disk)", f"{name} (compiled)"
    )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)
