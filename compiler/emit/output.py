"""The folder of all generated trees: what is foreign in it, and which trees no spec asks for any more."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from compiler.emit.manifest import written_paths
from compiler.emit.tree import Tree, existing_files, foreign_files, write_tree


def foreign_paths(root: Path, trees: Sequence[Tree], *, all_specs: bool) -> tuple[Path, ...]:
    """Files that stackc never wrote, below the trees and, if all specs are compiled, anywhere below the root."""
    found = [tree.root / path for tree in trees for path in foreign_files(tree)]
    if all_specs:
        for entry in _others(root, trees):
            found += _foreign_below(entry)
    return tuple(sorted(found))


def orphaned_trees(root: Path, trees: Sequence[Tree]) -> tuple[Path, ...]:
    """Folders that stackc wrote for specs that are gone."""
    return tuple(entry for entry in _others(root, trees) if entry.is_dir() and written_paths(entry))


def write_all(root: Path, trees: Sequence[Tree], *, all_specs: bool, prune: bool) -> tuple[Tree, ...]:
    """Write every tree that differs, and remove what no spec asks for.

    Args:
        all_specs: whether `trees` are all there should be, so that others are orphans.
        prune: whether files that stackc never wrote may be removed too.

    Returns:
        The trees that changed.

    Raises:
        OSError: the disk, or permissions. Trees already written stay, each of them whole.
    """
    changed = tuple(tree for tree in trees if write_tree(tree))
    if all_specs:
        leftovers = _others(root, trees) if prune else orphaned_trees(root, trees)
        for entry in leftovers:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    return changed


def _others(root: Path, trees: Sequence[Tree]) -> list[Path]:
    ours = {tree.root for tree in trees}
    return sorted(entry for entry in root.iterdir() if entry not in ours) if root.is_dir() else []


def _foreign_below(entry: Path) -> list[Path]:
    if not entry.is_dir() or entry.is_symlink():
        return [entry]
    ours = written_paths(entry)
    return [entry / path for path in existing_files(entry) if path not in ours]
