"""How `compile --check` tells what differs: a finding for each file, or, for people, one for each tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from compiler.diagnostics import Diagnostic, Help

# Files that one line names, and trees that are told one by one: a check that fails fits on a screen.
_FILES_SHOWN = 4
_TREES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Drift:
    """A file of a tree that is not as it should be."""

    root: Path
    path: str
    what: str


def each_drift(drifts: Iterable[Drift], repair: str) -> tuple[Diagnostic, ...]:
    """E0602 for every file."""
    return tuple(differs(f"{drift.root / drift.path}: {drift.what}", repair) for drift in drifts)


def summary(drifts: Iterable[Drift], repair: str) -> tuple[Diagnostic, ...]:
    """One E0602 with a line for each tree; a single file is told as it is."""
    trees = {root: list(found) for root, found in groupby(drifts, lambda drift: drift.root)}
    every = [drift for found in trees.values() for drift in found]
    if len(every) <= 1:
        return each_drift(every, repair)
    lines = [f"{root}: {', '.join(_named(found))}" for root, found in trees.items()]
    if len(lines) > _TREES_SHOWN:
        lines[_TREES_SHOWN:] = [f"and {len(lines) - _TREES_SHOWN} more folders"]
    where = f"{len(trees)} folders" if len(trees) > 1 else str(every[0].root)
    message = f"{where}: {len(every)} files are not what the spec{'s say' if len(trees) > 1 else ' says'}"
    helps = (Help(f"`{repair}` repairs them; `--check -v` shows every difference"),)
    return (Diagnostic("E0602", message, notes=tuple(lines), helps=helps),)


def _named(drifts: list[Drift]) -> Iterator[str]:
    """The first files; the list of checksums differs whenever anything does, and comes last."""
    ordered = sorted(drifts, key=lambda drift: drift.path.endswith("SHA256SUMS"))
    yield from (f"{drift.path} {drift.what}" for drift in ordered[:_FILES_SHOWN])
    if len(ordered) > _FILES_SHOWN:
        yield f"and {len(ordered) - _FILES_SHOWN} more"


def differs(message: str, repair: str) -> Diagnostic:
    """E0602 for one thing that the same command repairs."""
    return Diagnostic("E0602", message, helps=(Help(f"`{repair}` repairs it"),))
