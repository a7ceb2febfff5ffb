"""Runs that write into one output take turns."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 300.0
TOLD_AFTER = 1.0
_PAUSE = 0.02


@contextmanager
def turn(output: Path, *, is_writing: bool, tell: Callable[[str], None]) -> Iterator[bool]:
    """Wait until nobody else writes here, and keep others out until the end of the block.

    The lock is on the folder itself (flock(2)): it leaves no file that one could commit, and the kernel drops it with
    the process, however that ends.

    Args:
        is_writing: whether to keep out readers too, and not only writers.
        tell: called once, when it takes longer than a moment.

    Returns:
        Whether others are kept out: some network file systems cannot, and then nothing of theirs may be swept.

    Raises:
        OSError: the folder cannot be opened, or another run did not end.
    """
    descriptor = os.open(output, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _lock(descriptor, fcntl.LOCK_EX if is_writing else fcntl.LOCK_SH, output, tell)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int, output: Path, tell: Callable[[str], None]) -> bool:
    start, is_told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - start
        except OSError:
            return False
        else:
            return True
        if waited > PATIENCE:
            raise OSError(errno.EBUSY, f"another stackc has been writing here for {PATIENCE:.0f} s", str(output))
        if waited > TOLD_AFTER and not is_told:
            is_told = True
            tell(f"waiting for another stackc that writes below {output}")
        time.sleep(_PAUSE)
