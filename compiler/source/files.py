"""The one place where files of the user's are opened: what is no file is refused before anything of it is read.

A pipe would wait for a writer, /dev/zero never ends, and opening a device may do something to it. So the kind is asked
first, again of what was opened, and no more is read than the caller's bound.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
}
# Without waiting for the other end of a pipe, without becoming a terminal's process, and for no child.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class NoFileError(OSError):
    """What the path names is no file: a folder, a pipe, a socket, a device."""


class TooLargeError(OSError):
    """The file holds more than the bound."""


def kind(mode: int) -> str:
    """What a mode of stat(2) says that something is, in words."""
    return _KINDS.get(stat.S_IFMT(mode), "no file")


def read_file(path: Path, limit: int) -> bytes:
    """The bytes of a file of at most `limit` bytes. Links are followed.

    Raises:
        NoFileError: it is something else than a file; nothing was opened.
        TooLargeError: it is larger; hardly more than `limit` was read.
        OSError: the system says so, also of a path that it cannot have.
    """
    with open_file(path) as file:
        return _read(file.fileno(), path, limit)


@contextmanager
def open_file(path: Path) -> Iterator[io.FileIO]:
    """A file to read from, without a buffer. Links are followed.

    Raises:
        NoFileError: it is something else than a file; nothing was opened.
        OSError: the system says so, also of a path that it cannot have.
    """
    try:
        _check_kind(path, path.stat())
        descriptor = os.open(path, _FLAGS)
    except ValueError as error:  # a NUL, or half a character
        raise OSError(errno.EINVAL, "no path has such a name", str(path)) from error
    with io.FileIO(descriptor, "rb") as file:
        _check_kind(path, os.fstat(descriptor))  # another may have taken the name since
        yield file


def _check_kind(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise NoFileError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise NoFileError(errno.EINVAL, f"it is {kind(found.st_mode)}, not a file", str(path))


def _read(descriptor: int, path: Path, limit: int) -> bytes:
    chunks, left = [], limit + 1
    while left and (chunk := os.read(descriptor, min(left, 1 << 20))):
        chunks.append(chunk)
        left -= len(chunk)
    if not left:
        raise TooLargeError(errno.EFBIG, f"it is larger than {limit} bytes", str(path))
    return b"".join(chunks)


def write_changed(path: Path, content: bytes) -> bool:
    """Write a file in one step, unless it already says the same.

    Returns:
        Whether the file changed.

    Raises:
        OSError: as `replace_file`.
    """
    with suppress(OSError):
        if read_file(path, len(content)) == content:
            return False
    replace_file(path, content)
    return True


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: whoever reads it, and whatever happens, finds the old content or the new.

    A link is followed. The mode stays as it was; a new file has that of any new file.

    Raises:
        NoFileError: a folder, pipe, socket or device has the name; it is left alone.
        OSError: the disk, or permissions; what was there is as it was.
    """
    try:
        real = Path(os.path.realpath(path))
        mode = _mode(real)
    except ValueError as error:
        raise OSError(errno.EINVAL, "no path has such a name", str(path)) from error
    handle, temporary = tempfile.mkstemp(prefix=f".{real.name[:64]}.", dir=real.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(real)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)  # mkstemp made it, under a name that nothing had
        raise
    sync_folder(real.parent)


def _mode(path: Path) -> int:
    """Of the file that is there, else of any new file: mkstemp's are private."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        mask = os.umask(0o022)
        os.umask(mask)
        return 0o666 & ~mask
    _check_kind(path, found)
    return stat.S_IMODE(found.st_mode)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk: a renamed file is found under its new name after a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
