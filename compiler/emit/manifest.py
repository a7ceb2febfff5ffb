"""SHA256SUMS: what stackc wrote into a tree. `sha256sum -c SHA256SUMS` checks a copy on the server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from compiler.render.artifact import Artifact

NAME = PurePosixPath("SHA256SUMS")


def manifest_of(artifacts: Iterable[Artifact]) -> Artifact:
    """The manifest of a tree, in the format of sha256sum, sorted by path."""
    lines = sorted((str(a.path), hashlib.sha256(a.text.encode()).hexdigest()) for a in artifacts)
    return Artifact(NAME, "".join(f"{digest}  {path}\n" for path, digest in lines))


def written_paths(tree: Path) -> set[str]:
    """Paths that the tree's own manifest names, itself included; empty if it has none."""
    try:
        text = (tree / NAME).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return set()
    return {line.partition("  ")[2] for line in text.splitlines()} | {str(NAME)}
