"""The folder of all generated trees: what is foreign in it, and which trees no spec asks for any more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from compiler.emit.disk import sync_file_system
from compiler.emit.edited import Edited, edited_files
from compiler.emit.foreign import Foreign, in_place_of, strange_folder, unlisted
from compiler.emit.manifest import read_manifest
from compiler.emit.owned import is_folder, is_own, stranger
from compiler.emit.removal import remove_all
from compiler.emit.staging import Leftovers, clear, new_staging
from compiler.emit.store import Store
from compiler.emit.tree import Tree, appeared, edits, is_current, ours, replace_tree, write_staged
from compiler.source.files import sync_folder
from compiler.source.scan import existing_files

# The mark of an output in which nothing but stackc's own was ever found. It is no file, so that there is nothing to
# commit; copies, clones and archives of the folder do not have it, and are marked when they are found clean.
_MARK = "user.stackc.output"


class Output:
    """The folder, and the trees that should be in it.

    Args:
        all_specs: whether these are all there should be, so that others are orphans.
    """

    def __init__(self, root: Path, trees: Sequence[Tree], *, all_specs: bool) -> None:
        self.root = root
        self.trees = tuple(trees)
        self.all_specs = all_specs
        self._store = Store(root, self.trees)
        self._leftovers = Leftovers(root, {tree.root.name: tree.known_paths for tree in trees})

    @property
    def libraries(self) -> tuple[Tree, ...]:
        """What the trees share, each once."""
        return self._store.libraries

    def foreign(self) -> tuple[Foreign, ...]:
        """What stackc never wrote, in the trees and, if all specs are compiled, anywhere in the output."""
        is_alone = self._is_marked()
        found = [each for tree in self.trees for each in in_place_of(tree, is_alone=is_alone)]
        found += self._store.foreign(self._going_libraries(), all_specs=self.all_specs, is_alone=is_alone)
        if self.all_specs:
            found += [each for entry in self._others() for each in self._in_other(entry, is_alone=is_alone)]
        return tuple(sorted(found, key=lambda each: each.path))

    def orphans(self) -> tuple[Path, ...]:
        """Trees of stackc's for specs that are gone."""
        return tuple(filter(is_own, self._others())) if self.all_specs else ()

    @cached_property
    def changed(self) -> tuple[Tree, ...]:
        """The trees that are not in the output as they should be, when it was first asked."""
        return tuple(tree for tree in self.trees if not is_current(tree))

    def unneeded(self) -> tuple[Path, ...]:
        """Libraries to which no tree will lead, and in which nothing is somebody's."""
        is_refused = set(self._going_libraries())
        return tuple(
            path
            for path in self._store.unneeded(self.orphans())
            if path in is_refused or not (unlisted(path) or edited_files(path, {}, read_manifest(path)))
        )

    def _going_libraries(self) -> tuple[Path, ...]:
        """Libraries that go, and are a matter of this run: foreign files and edits in them are refused."""
        unneeded = self._store.unneeded(self.orphans())
        left = self._store.left_by_trees()
        return tuple(path for path in unneeded if self.all_specs or path.name in left)

    def edited(self) -> tuple[Edited, ...]:
        """Edits by hand that writing would lose: in the trees, their libraries, and what nobody asks for any more."""
        kept = [tree for tree in (*self.libraries, *self.changed) if is_folder(tree.root) and ours(tree) is not None]
        nothing: Mapping[str, bytes] = {}
        gone = [(root, read_manifest(root)) for root in (*self.orphans(), *self._going_libraries())]
        found = [each for tree in kept for each in edits(tree)]
        return (*found, *(each for root, listed in gone for each in edited_files(root, nothing, listed)))

    def sweep(self, *, is_alone: bool) -> tuple[Path, ...]:
        """Remove what runs that were killed have left, unless another may be writing here; what it was."""
        return (*self._leftovers.sweep(), *self._store.sweep()) if is_alone else ()

    def write(self, *, prune: bool, force: bool, is_alone: bool = True) -> tuple[Tree, ...]:
        """Write every tree that differs and what it shares, and remove what no spec asks for.

        Args:
            prune: whether what is foreign and prunable is removed too. Whatever else is foreign, the caller refused.
            force: whether edits by hand are lost. Without it, the caller refused those that there were.
            is_alone: whether no other run may be writing here, which may need a library that this one does not.

        Returns:
            The trees that changed.

        Raises:
            OSError: the disk, or permissions. Trees already replaced stay, each of them whole.
        """
        libraries = tuple(library for library in self.libraries if not is_current(library))
        unneeded = self.unneeded() if is_alone else ()
        with ExitStack() as stack:
            stack.callback(self._store.remove_if_empty)
            staged_libraries = self._stage_libraries(libraries, stack, prune=prune)
            staged = [(tree, self._stage(tree, stack, prune=prune)) for tree in self.changed]
            if staged or staged_libraries:
                # A name is only exchanged for files that are on disk: after a loss of power, a tree under its own name
                # is whole. The names themselves are on disk when the run ends, and before any old tree is removed.
                sync_file_system(self.root)
            for library, folder in staged_libraries:
                replace_tree(library, folder, prune=prune, force=force)
            if staged_libraries:  # before any tree leads there
                sync_folder(self._store.root)
            for tree, folder in staged:
                replace_tree(tree, folder, prune=prune, force=force)
            going = (*self.orphans(), *unneeded)
            retired = [self._retire(path, stack, prune=prune, force=force) for path in going]
            if staged or retired:
                sync_folder(self.root)
        if prune:
            for each in self.foreign():
                if each.is_prunable:
                    remove_all(each.path)
        self._mark()
        return self.changed

    def _stage_libraries(self, libraries: Sequence[Tree], stack: ExitStack, *, prune: bool) -> list[tuple[Tree, Path]]:
        if libraries:
            self._store.make()
        return [(library, self._stage(library, stack, prune=prune)) for library in libraries]

    def _stage(self, tree: Tree, stack: ExitStack, *, prune: bool) -> Path:
        folder = new_staging(tree.root)
        stack.callback(clear, folder, tree.known_paths, prune=prune)
        write_staged(tree, folder)
        return folder

    def _retire(self, root: Path, stack: ExitStack, *, prune: bool, force: bool) -> Path:
        """Take a tree or a library out of its place, under a name from which the next run knows what it is."""
        folder = new_staging(root)
        stack.callback(clear, folder, frozenset(), prune=prune)
        root.rename(folder)
        edited = () if force else edited_files(folder, {}, read_manifest(folder))
        found = [root / path for path in (() if prune else unlisted(folder))]
        found += [root / each.path.relative_to(folder) for each in edited]
        if found:
            folder.rename(root)
            raise appeared(found[0])
        return folder

    def _in_other(self, entry: Path, *, is_alone: bool) -> Iterator[Foreign]:
        if not is_folder(entry):
            yield Foreign(entry, "", is_prunable=is_alone)
        elif is_own(entry):
            yield from (Foreign(entry / path, "", is_prunable=True) for path in unlisted(entry))
        elif files := existing_files(entry):
            yield strange_folder(entry, stranger(entry) or "", files, is_alone=is_alone)

    def _others(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        known = {self._store.root, *(tree.root for tree in self.trees), *self._leftovers.folders()}
        return sorted(entry for entry in self.root.iterdir() if entry not in known)

    def _is_marked(self) -> bool:
        try:
            return bool(os.getxattr(self.root, _MARK))
        except (OSError, AttributeError):
            return False

    def _mark(self) -> None:
        """Remember that nothing but trees of stackc's is in the output, if that is so."""
        others = (entry for entry in self.root.iterdir() if entry != self._store.root or not self._store.is_clean())
        if self._is_marked() or not all(map(is_own, others)):
            return
        try:
            os.setxattr(self.root, _MARK, b"1")
        except (OSError, AttributeError):
            return  # without the mark, less is pruned
