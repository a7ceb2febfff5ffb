"""One case: a folder, and the commands to run in it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.bases import Bases

Words = tuple[str, ...]


@dataclass
class Case:
    """What is to be run, and what may come of it.

    Attributes:
        what: what was done to the inputs, for whoever reads a find.
        has_places: whether every error of `compile` must name a line.
        touches: beginnings of paths that each command may change.
        around: what must be there while the commands run, such as a Hub; it gives variables of the environment.
    """

    folder: Path
    rng: random.Random
    bases: Bases
    commands: list[Words] = field(default_factory=list)
    what: str = ""
    has_places: bool = True
    touches: Mapping[str, Words] = field(
        default_factory=lambda: {"compile": ("generated",), "lock": ("stacks/",), "calibrate": ("out.yaml",)}
    )
    around: Callable[[], AbstractContextManager[Mapping[str, str]]] = lambda: nullcontext({})

    def write(self, name: str, content: bytes | str) -> Path:
        """Put a file into the case's folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return path

    def pair(self, name: str, spec: bytes | str, lock: bytes | str | None) -> None:
        """Put a spec and its lock into `stacks/`."""
        self.write(f"stacks/{name}.yaml", spec)
        if lock is not None:
            self.write(f"stacks/{name}.lock.yaml", lock)

    def often_json(self, *words: str) -> Words:
        """A command, now and then with its report for programs."""
        return (*words, "--format", "json") if self.rng.random() < 0.15 else words


Maker = Callable[[Case], None]
