"""What stackc did not write, in the trees and libraries of an output and beside them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.emit.owned import is_folder, stranger, written_paths
from compiler.emit.staging import is_staging
from compiler.emit.tree import Tree, foreign_files, ours
from compiler.source.files import kind
from compiler.source.scan import existing_files


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something in the output that stackc did not write.

    Attributes:
        why: what tells, where the path alone does not.
        is_prunable: whether `--prune` may remove it: inside a tree of stackc's, or in an output that is stackc's alone.
    """

    path: Path
    why: str
    is_prunable: bool


def in_place_of(tree: Tree, *, is_alone: bool) -> Iterator[Foreign]:
    """What would be lost where a tree or a library is to be.

    Args:
        is_alone: whether nothing but stackc's own was ever beside it.
    """
    if not os.path.lexists(tree.root):
        return
    if not is_folder(tree.root):
        yield no_folder(tree.root, "a library" if tree.is_library else "a stack")
    elif (stackcs := ours(tree)) is not None:
        yield from (Foreign(tree.root / path, "", is_prunable=True) for path in foreign_files(tree, stackcs))
    elif files := foreign_files(tree, ()):
        why = "it is no library of stackc's" if tree.is_library else stranger(tree.root) or ""
        yield strange_folder(tree.root, why, files, is_alone=is_alone)


def no_folder(path: Path, what: str) -> Foreign:
    """Something that is no folder in a place where one has to be; whatever is asked, it stays."""
    why = f"it is {kind(path.lstat().st_mode)} where the folder of {what} has to be"
    return Foreign(path, why, is_prunable=False)


def strange_folder(folder: Path, why: str, files: Sequence[str], *, is_alone: bool) -> Foreign:
    """A folder that is not stackc's, with files that would be lost."""
    held = f"it holds {files[0]}" + (f" and {len(files) - 1} more" if files[1:] else "")
    is_prunable = (is_alone or is_staging(folder.name)) and not _is_kept(folder, files)
    return Foreign(folder, f"{why}; {held}", is_prunable=is_prunable)


def unlisted(folder: Path) -> tuple[str, ...]:
    """Files in a tree or library that its own manifest does not list."""
    listed = written_paths(folder)
    return tuple(path for path in existing_files(folder) if path not in listed)


def _is_kept(folder: Path, files: Iterable[str]) -> bool:
    """Whether no `--prune` removes it: a repository with its history, or another file system."""
    return folder.is_mount() or any(".git" in path.split("/") for path in files)
