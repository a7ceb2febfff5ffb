"""Everything that `stackc compile` removes from a disk is removed here.

Folders are walked by descriptor and links are never followed, so that a link in a tree, also one that somebody puts
there meanwhile, costs the link and not what it points at.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Collection
from pathlib import Path

from compiler.emit.manifest import NAME


def remove_written(folder: Path, paths: Collection[str]) -> bool:
    """Remove these files of a folder, then folders that are empty, then itself if it is.

    The manifest goes last: a removal that is killed leaves a folder that still says what is stackc's in it.

    Returns:
        Whether nothing is left of it.
    """
    try:
        for where, folders, files, descriptor in os.fwalk(folder, topdown=False, onerror=_fail):
            prefix = Path(where).relative_to(folder)
            last = str(NAME) if prefix == Path() else None
            links = [name for name in folders if _is_link(name, descriptor)]
            for name in (*files, *links):
                if name != last and (prefix / name).as_posix() in paths:
                    os.unlink(name, dir_fd=descriptor)
            _remove_empty(folders, descriptor)
            if last in files and last in paths:
                os.unlink(last, dir_fd=descriptor)
    except RecursionError as error:
        raise _too_deep(folder) from error
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def _is_link(name: str, descriptor: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)


def _remove_empty(names: list[str], descriptor: int) -> None:
    for name in names:
        with contextlib.suppress(OSError):  # not empty, or a link to a folder
            os.rmdir(name, dir_fd=descriptor)


def remove_all(path: Path) -> None:
    """Remove a folder with all that is in it, or a single file, link, pipe or socket."""
    if not stat.S_ISDIR(path.lstat().st_mode):
        path.unlink()
        return
    try:
        shutil.rmtree(path)
    except RecursionError as error:
        raise _too_deep(path) from error


def _fail(error: OSError) -> None:
    raise error


def _too_deep(path: Path) -> OSError:
    return OSError(errno.ELOOP, "its folders are nested too deeply to be removed", str(path))
