"""One emitted file."""

from __future__ import annotations

from dataclasses import dataclass
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
