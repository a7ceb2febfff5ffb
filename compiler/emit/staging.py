"""Folders beside the trees in which the next tree is put together, or the last one taken apart.

Their names say whose they are: `.NAME.stackc-` and eight letters (`.NAME.` and eight letters of older releases). A run
that was killed leaves one behind, and the next one that writes sweeps it. Their manifest is written first and removed
last, so that at every moment it names what stackc put there, and whatever else is in one is left.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from compiler.emit.disk import FOLDER_MODE
from compiler.emit.manifest import NAME
from compiler.emit.owned import is_folder, is_own, written_paths
from compiler.emit.removal import remove_all, remove_written
from compiler.source.scan import existing_files

_OWN = re.compile(r"\.(?P<stack>[^.].*)\.stackc-[a-z0-9_]{8}(?P<aside>\.old)?")
_OLD = re.compile(r"\.(?P<stack>[^.].*)\.[a-z0-9_]{8}(?P<aside>\.old)?")


def new_staging(root: Path) -> Path:
    """An empty folder beside a tree, with a name that is known as stackc's."""
    folder = Path(tempfile.mkdtemp(prefix=f".{root.name}.stackc-", dir=root.parent))
    folder.chmod(FOLDER_MODE)
    return folder


class Leftovers:
    """Staging of dead runs in an output folder.

    Args:
        wanted: the paths of each tree that this run writes, by the tree's name.
    """

    def __init__(self, output: Path, wanted: Mapping[str, Collection[str]]) -> None:
        self._output = output
        self._wanted = wanted

    def folders(self) -> Iterator[Path]:
        """Those of which all that they hold was written by stackc."""
        for entry in sorted(self._output.iterdir()):
            paths = self._paths(entry)
            if paths is not None and all(path in paths for path in existing_files(entry)):
                yield entry

    def sweep(self) -> tuple[Path, ...]:
        """Remove them, and say which. No other run may be writing here."""
        dead = tuple(entry for entry in tuple(self.folders()) if not self._put_back(entry))
        for entry in dead:
            remove_written(entry, self._paths(entry) or ())
        return dead

    def _put_back(self, entry: Path) -> bool:
        """The only copy of a tree, where a run was killed between two renames on a system without an exchange."""
        match = _OWN.fullmatch(entry.name) or _OLD.fullmatch(entry.name)
        if match is None or not match["aside"] or os.path.lexists(self._output / match["stack"]):
            return False
        entry.rename(self._output / match["stack"])
        return True

    def _paths(self, entry: Path) -> set[str] | None:
        """What stackc may have put into a folder of staging; None where it is none."""
        if not entry.name.startswith(".") or not is_folder(entry):
            return None
        match = _OWN.fullmatch(entry.name)
        if match is None:
            match = _OLD.fullmatch(entry.name)
            # A name that anybody could choose: only beside a tree whose name it bears.
            if match is None or not self._is_known(match["stack"]):
                return None
        beside = self._output / match["stack"]
        return {str(NAME), *written_paths(entry), *written_paths(beside), *self._wanted.get(match["stack"], ())}

    def _is_known(self, stack: str) -> bool:
        return stack in self._wanted or is_own(self._output / stack)


def is_staging(name: str) -> bool:
    """Whether a folder of this name beside the trees can only be stackc's."""
    return _OWN.fullmatch(name) is not None


def clear(folder: Path, paths: Collection[str], *, prune: bool) -> None:
    """Remove staging of this run, with files in it that stackc did not write only if `prune`.

    What cannot be removed is left for the next run.
    """
    with contextlib.suppress(OSError):
        if not remove_written(folder, {str(NAME), *written_paths(folder), *paths}) and prune:
            remove_all(folder)
