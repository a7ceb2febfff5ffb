"""What lies below a folder, without following links and without a limit of depth but the system's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def existing_files(root: Path) -> tuple[str, ...]:
    """Relative paths of all that is no folder below a folder, sorted; empty if there is none.

    Raises:
        OSError: a folder cannot be read; what is not seen must not be taken for absent.
    """
    return tuple(sorted(path for path, is_folder in _entries(root) if not is_folder))


def existing_folders(root: Path) -> tuple[str, ...]:
    """Relative paths of all folders below a folder, sorted."""
    return tuple(sorted(path for path, is_folder in _entries(root) if is_folder))


def _entries(root: Path) -> Iterator[tuple[str, bool]]:
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                found = [(f"{folder}{entry.name}", entry.is_dir(follow_symlinks=False)) for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield from found
        waiting += [f"{path}/" for path, is_folder in found if is_folder]
