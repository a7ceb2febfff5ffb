"""Compiled templates, kept for this user: to compile them anew takes longer than to fill them in.

What lies in the folder is run. So nothing is read that anybody else could have written: the folder and the file must be
this user's own, and closed to all others. Everything in here may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import marshal
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType

import jinja2
from jinja2.bccache import Bucket, BytecodeCache

from compiler.source.cache import cache_folder

_LARGEST = 1 << 20
_PRIVATE = 0o700
# Code of another Python, or made by another Jinja, is other code.
_MADE_BY = importlib.util.MAGIC_NUMBER + jinja2.__version__.encode()
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class OwnBytecode(BytecodeCache):
    """Jinja's cache in a folder of this user's. Without such a folder, or where it is not safe, nothing is kept.

    Args:
        made_by: what else decides what a template is compiled to: options of the environment, and the text of its
            filters, because Jinja fills in constants when it compiles.
    """

    def __init__(self, made_by: bytes) -> None:
        self._made_by = hashlib.sha256(_MADE_BY + made_by).hexdigest()

    def load_bytecode(self, bucket: Bucket) -> None:
        """What was kept of a template, if it was made of this very text."""
        # Whatever is wrong with the cache, a template can be compiled.
        with contextlib.suppress(OSError, ValueError, EOFError, TypeError), _folder() as folder:
            content = _read(folder, self._name(bucket))
            head = self._head(bucket, content[_HEAD:])
            code = marshal.loads(content[_HEAD:]) if content[:_HEAD] == head else None  # noqa: S302  our own folder
            bucket.code = code if isinstance(code, CodeType) else None

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what a template was compiled to."""
        code = marshal.dumps(bucket.code)
        with contextlib.suppress(OSError), _folder(makes=True) as folder:
            _replace(folder, self._name(bucket), self._head(bucket, code) + code)

    def _name(self, bucket: Bucket) -> str:
        """One for each template of each installation: an upgrade takes the place of what was kept before."""
        return hashlib.sha256(f"{sys.implementation.cache_tag} {bucket.key}".encode()).hexdigest()

    def _head(self, bucket: Bucket, code: bytes) -> bytes:
        """A digest of the code and of all that it was made of: half a file, or a bit that turned, is no code."""
        return hashlib.sha256(f"{self._made_by} {bucket.checksum} ".encode() + code).digest()


_HEAD = hashlib.sha256().digest_size


@contextmanager
def _folder(*, makes: bool = False) -> Iterator[int]:
    """The open folder: who owns it is asked of what was opened, and all else goes through it.

    Raises:
        OSError: it is not there, or others can write into it.
    """
    try:
        path = cache_folder() / "templates"
    except RuntimeError as error:
        raise FileNotFoundError("this user has no home") from error
    if makes:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=_PRIVATE)
    descriptor = os.open(path, _OPEN_FOLDER)
    try:
        _check_own(os.fstat(descriptor))
        yield descriptor
    finally:
        os.close(descriptor)


def _check_own(found: os.stat_result) -> None:
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError("others can write here, or look")


def _read(folder: int, name: str) -> bytes:
    descriptor = os.open(name, _OPEN_FILE, dir_fd=folder)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        _check_own(found)
        return file.read(_LARGEST) if stat.S_ISREG(found.st_mode) else b""


def _replace(folder: int, name: str, content: bytes) -> None:
    """Write a file in one step, so that no reader ever sees half of it."""
    temporary = f".{os.urandom(8).hex()}"
    descriptor = os.open(temporary, _MAKE_FILE, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise
