"""What takes time, told on stderr: a bar that disappears on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

from compiler.cli.loudness import Loudness, loudness
from compiler.diagnostics.render import visible
from compiler.resolve.transport.progress import Progress, Silence


def progress(*, is_silent: bool = False, stream: TextIO | None = None) -> AbstractContextManager[Progress]:
    """Something to tell progress to, which leaves the terminal clean."""
    wanted = sys.stderr if stream is None else stream
    if is_silent:
        return nullcontext(Silence())
    if wanted.isatty() and os.environ.get("TERM") != "dumb":
        from compiler.cli.bar import Bar  # noqa: PLC0415 - a bar takes longer to import than most runs last

        return Bar(wanted)
    return nullcontext(Lines(wanted, is_whole=loudness() is Loudness.VERBOSE))


class Lines(Silence):
    """One line for everything that takes time; for the parts of it too where all is told."""

    def __init__(self, stream: TextIO, *, is_whole: bool = False) -> None:
        self._stream = stream
        self._is_whole = is_whole
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        """Tell what is happening now."""
        with self._lock:
            self._stream.write(f"{visible(line)}\n")
            self._stream.flush()

    def detail(self, line: str) -> None:
        """Tell a part of what is happening, if all is told."""
        if self._is_whole:
            self.say(line)
