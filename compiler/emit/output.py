"""The folder of all generated trees: what is foreign in it, and which trees no spec asks for any more."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from compiler.emit.disk import sync_file_system
from compiler.emit.edited import Edited, edited_files
from compiler.emit.owned import is_folder, is_own, stranger, written_paths
from compiler.emit.removal import remove_all
from compiler.emit.staging import Leftovers, clear, is_staging, new_staging
from compiler.emit.tree import Tree, appeared, foreign_files, is_current, ours, replace_tree, write_staged
from compiler.source.files import kind, sync_folder
from compiler.source.scan import existing_files

# The mark of an output in which nothing but stackc's own was ever found. It is no file, so that there is nothing to
# commit; copies, clones and archives of the folder do not have it, and are marked when they are found clean.
_MARK = "user.stackc.output"


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


class Output:
    """The folder, and the trees that should be in it.

    Args:
        all_specs: whether these are all there should be, so that others are orphans.
    """

    def __init__(self, root: Path, trees: Sequence[Tree], *, all_specs: bool) -> None:
        self.root = root
        self.trees = tuple(trees)
        self.all_specs = all_specs
        self._leftovers = Leftovers(root, {tree.root.name: tree.paths for tree in trees})

    def foreign(self) -> tuple[Foreign, ...]:
        """What stackc never wrote, in the trees and, if all specs are compiled, anywhere in the output."""
        found = [each for tree in self.trees for each in self._in_place_of(tree)]
        if self.all_specs:
            found += [each for entry in self._others() for each in self._in_other(entry)]
        return tuple(sorted(found, key=lambda each: each.path))

    def orphans(self) -> tuple[Path, ...]:
        """Trees of stackc's for specs that are gone."""
        return tuple(filter(is_own, self._others())) if self.all_specs else ()

    @cached_property
    def changed(self) -> tuple[Tree, ...]:
        """The trees that are not in the output as they should be, when it was first asked."""
        return tuple(tree for tree in self.trees if not is_current(tree))

    def edited(self) -> tuple[Edited, ...]:
        """Edits by hand that writing would lose, in the trees and in those that no spec asks for."""
        differing = (tree for tree in self.changed if is_folder(tree.root) and ours(tree) is not None)
        trees = [(tree.root, tree.contents) for tree in differing]
        gone: list[tuple[Path, Mapping[str, bytes]]] = [(root, {}) for root in self.orphans()]
        return tuple(each for root, wanted in (*trees, *gone) for each in edited_files(root, wanted))

    def sweep(self, *, is_alone: bool) -> tuple[Path, ...]:
        """Remove what runs that were killed have left, unless another may be writing here; what it was."""
        return self._leftovers.sweep() if is_alone else ()

    def write(self, *, prune: bool, force: bool) -> tuple[Tree, ...]:
        """Write every tree that differs, and remove what no spec asks for.

        Args:
            prune: whether what is foreign and prunable is removed too. Whatever else is foreign, the caller refused.
            force: whether edits by hand are lost. Without it, the caller refused those that there were.

        Returns:
            The trees that changed.

        Raises:
            OSError: the disk, or permissions. Trees already replaced stay, each of them whole.
        """
        with ExitStack() as stack:
            staged = [(tree, self._stage(tree, stack, prune=prune)) for tree in self.changed]
            if staged:
                # A name is only exchanged for files that are on disk: after a loss of power, a tree under its own name
                # is whole. The names themselves are on disk when the run ends, and before any old tree is removed.
                sync_file_system(self.root)
            for tree, folder in staged:
                replace_tree(tree, folder, prune=prune, force=force)
            retired = [self._retire(path, stack, prune=prune, force=force) for path in self.orphans()]
            if staged or retired:
                sync_folder(self.root)
        if prune:
            for each in self.foreign():
                if each.is_prunable:
                    remove_all(each.path)
        self._mark()
        return self.changed

    def _stage(self, tree: Tree, stack: ExitStack, *, prune: bool) -> Path:
        folder = new_staging(tree.root)
        stack.callback(clear, folder, tree.paths, prune=prune)
        write_staged(tree, folder)
        return folder

    def _retire(self, root: Path, stack: ExitStack, *, prune: bool, force: bool) -> Path:
        """Take a tree out of its place, under a name from which the next run knows what it is."""
        folder = new_staging(root)
        stack.callback(clear, folder, frozenset(), prune=prune)
        root.rename(folder)
        found = [root / path for path in (() if prune else _unlisted(folder))]
        found += [root / each.path.relative_to(folder) for each in (() if force else edited_files(folder, {}))]
        if found:
            folder.rename(root)
            raise appeared(found[0])
        return folder

    def _in_place_of(self, tree: Tree) -> Iterator[Foreign]:
        if not os.path.lexists(tree.root):
            return
        if not is_folder(tree.root):
            why = f"it is {kind(tree.root.lstat().st_mode)} where the folder of a stack has to be"
            yield Foreign(tree.root, why, is_prunable=False)
        elif (stackcs := ours(tree)) is not None:
            yield from (Foreign(tree.root / path, "", is_prunable=True) for path in foreign_files(tree, stackcs))
        elif files := foreign_files(tree, ()):
            yield self._stranger(tree.root, files)

    def _in_other(self, entry: Path) -> Iterator[Foreign]:
        if not is_folder(entry):
            yield Foreign(entry, "", is_prunable=self._is_marked())
        elif is_own(entry):
            yield from (Foreign(entry / path, "", is_prunable=True) for path in _unlisted(entry))
        elif files := existing_files(entry):
            yield self._stranger(entry, files)

    def _stranger(self, folder: Path, files: Sequence[str]) -> Foreign:
        """A folder that is no tree of stackc's, with files that would be lost."""
        held = f"it holds {files[0]}" + (f" and {len(files) - 1} more" if files[1:] else "")
        is_prunable = (self._is_marked() or is_staging(folder.name)) and not _is_kept(folder, files)
        return Foreign(folder, f"{stranger(folder)}; {held}", is_prunable=is_prunable)

    def _others(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        ours = {tree.root for tree in self.trees} | set(self._leftovers.folders())
        return sorted(entry for entry in self.root.iterdir() if entry not in ours)

    def _is_marked(self) -> bool:
        try:
            return bool(os.getxattr(self.root, _MARK))
        except (OSError, AttributeError):
            return False

    def _mark(self) -> None:
        """Remember that nothing but trees of stackc's is in the output, if that is so."""
        if self._is_marked() or not all(map(is_own, self.root.iterdir())):
            return
        try:
            os.setxattr(self.root, _MARK, b"1")
        except (OSError, AttributeError):
            return  # without the mark, less is pruned


def _unlisted(folder: Path) -> tuple[str, ...]:
    listed = written_paths(folder)
    return tuple(path for path in existing_files(folder) if path not in listed)


def _is_kept(folder: Path, files: Iterable[str]) -> bool:
    """Whether no `--prune` removes it: a repository with its history, or another file system."""
    return folder.is_mount() or any(".git" in path.split("/") for path in files)
