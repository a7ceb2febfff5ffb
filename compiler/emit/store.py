"""The libraries of an output: which its trees need, what is foreign among them, and which no tree needs any more."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from compiler.emit.disk import make_folders
from compiler.emit.foreign import Foreign, in_place_of, no_folder, strange_folder, unlisted
from compiler.emit.library import STORE, is_library, links_of
from compiler.emit.owned import is_folder
from compiler.emit.staging import Leftovers, is_staging
from compiler.emit.tree import Tree
from compiler.source.scan import existing_files


class Store:
    """The folder of an output in which libraries lie, each under its own name.

    Args:
        trees: those that this run writes.

    Raises:
        ValueError: they need different libraries, which is a bug in a target: no stack changes what all share.
    """

    def __init__(self, output: Path, trees: Iterable[Tree]) -> None:
        self.root = output / STORE
        self._output = output
        self._trees = {tree.root for tree in trees}
        needed = {library.root: library for tree in trees for library in tree.libraries.values()}
        self.libraries = tuple(needed.values())
        if len(self.libraries) > 1:
            raise ValueError("stacks of one run need different libraries")
        self._leftovers = Leftovers(self.root, {each.root.name: each.paths for each in self.libraries})

    def foreign(self, concerned: Collection[Path], *, all_specs: bool, is_alone: bool) -> Iterator[Foreign]:
        """What stackc never wrote.

        Args:
            concerned: libraries that go.
            all_specs: whether everything in the folder is looked at.
            is_alone: whether nothing but stackc's own was ever in the output.
        """
        if not is_folder(self.root):
            if os.path.lexists(self.root) and (self.libraries or all_specs):
                yield no_folder(self.root, "libraries")
            return
        is_alone = is_alone or any(map(is_library, self.root.iterdir()))
        for library in self.libraries:
            yield from in_place_of(library, is_alone=is_alone)
        for folder in concerned:
            yield from (Foreign(folder / path, "", is_prunable=True) for path in unlisted(folder))
        if all_specs:
            yield from self._strangers(concerned, is_alone=is_alone)

    def _strangers(self, concerned: Collection[Path], *, is_alone: bool) -> Iterator[Foreign]:
        known = {*(library.root for library in self.libraries), *concerned, *self._leftovers.folders()}
        for entry in sorted(entry for entry in self.root.iterdir() if entry not in known):
            if not is_folder(entry):
                yield Foreign(entry, "", is_prunable=is_alone)
            elif is_library(entry):
                yield from (Foreign(entry / path, "", is_prunable=True) for path in unlisted(entry))
            elif files := existing_files(entry):
                yield strange_folder(entry, "it is no library of stackc's", files, is_alone=is_alone)

    def unneeded(self, going: Collection[Path]) -> tuple[Path, ...]:
        """Libraries to which nothing in the output will lead once the trees of this run are written.

        Args:
            going: trees that will be gone.
        """
        if not is_folder(self.root):
            return ()
        kept = {library.root.name for library in self.libraries}
        for entry in self._output.iterdir():
            if entry not in self._trees and entry not in going and not is_staging(entry.name):
                kept.update(links_of(entry))
        return tuple(path for path in sorted(self.root.iterdir()) if path.name not in kept and is_library(path))

    def left_by_trees(self) -> set[str]:
        """The libraries to which the trees of this run lead as they are on disk."""
        return {name for root in self._trees for name in links_of(root)}

    def make(self) -> None:
        """The folder, if it is not there.

        Raises:
            OSError: the disk; or somebody has put a link there.
        """
        make_folders(self.root)
        if not is_folder(self.root):
            raise NotADirectoryError(errno.ENOTDIR, "it is no folder", str(self.root))

    def remove_if_empty(self) -> None:
        """Remove the folder if nothing is in it."""
        if is_folder(self.root) and not any(self.root.iterdir()):
            self.root.rmdir()

    def sweep(self) -> tuple[Path, ...]:
        """Remove what runs that were killed have left, and say what it was. No other run may be writing here."""
        return self._leftovers.sweep() if is_folder(self.root) else ()

    def is_clean(self) -> bool:
        """Whether nothing but libraries is in it."""
        return is_folder(self.root) and all(is_library(entry) and not unlisted(entry) for entry in self.root.iterdir())
