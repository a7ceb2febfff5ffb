"""What has to be on disk, and when: modes that no umask changes, and one sync for many files."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from pathlib import Path

FOLDER_MODE = 0o755


def make_folders(path: Path) -> None:
    """The folder with all its parents. What is made here has the same mode under every umask."""
    if path.is_dir():
        return
    make_folders(path.parent)
    with contextlib.suppress(FileExistsError):  # another run was quicker; if it is a file, the next line says so
        path.mkdir()
        path.chmod(FOLDER_MODE)
    os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def mode_fault(mode: int, wanted: int) -> str | None:
    """What is wrong with the mode of a file or folder that should have another, as far as it matters on a server.

    Git keeps the executable bit alone and leaves the rest to the umask of whoever cloned, so bits of the group are
    passed over. But all must read (users of containers are no members of any group), and no stranger may write.
    """
    if mode & 0o111 and not wanted & 0o111:
        return "executable"
    if wanted & 0o111 and not mode & 0o100:
        return "not executable"
    if mode & wanted & 0o555 != wanted & 0o555:
        return f"mode {stat.S_IMODE(mode):o} keeps others out, and must be {wanted:o}"
    return f"mode {stat.S_IMODE(mode):o} lets anybody write, and must be {wanted:o}" if mode & 0o002 else None


def sync_file_system(folder: Path) -> None:
    """Have everything written so far on disk, of the file system on which a folder lies: syncfs(2).

    One call in place of an fsync for each file, which each wait for a commit of the file system's journal.
    Where the system has no syncfs, all file systems are synced.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
