"""One emitted file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

EXECUTABLE, PLAIN = 0o755, 0o644
LIBRARY = PurePosixPath("lib")
"""In a tree: what it shares with all trees of an output. An artifact below it must not depend on the stack."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of the generated tree: `path` is relative to generated/NAME, `mode` is EXECUTABLE or PLAIN."""

    path: PurePosixPath
    text: str
    mode: int = PLAIN

    def __post_init__(self) -> None:
        if self.path.is_absolute() or ".." in self.path.parts:
            raise ValueError(f"{self.path} leaves the generated tree")
        if not self.text.endswith("\n"):
            raise ValueError(f"{self.path} does not end with a newline")


@lru_cache(maxsize=1024)  # most paths are those of the library, which are the same in each tree
def path_below(path: PurePosixPath, folder: PurePosixPath) -> PurePosixPath | None:
    """A path as it is below a folder; None where it is not."""
    return path.relative_to(folder) if folder in path.parents else None
