"""What takes time, told on stderr: one line that overwrites itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import threading
from typing import TextIO


class Progress:
    """Takes lines from any thread. As a context manager it leaves the terminal clean."""

    def __init__(self, *, is_silent: bool = False, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._is_silent = is_silent
        self._is_terminal = self._stream.isatty()
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_terminal:
            self._write("\r\x1b[K")

    def say(self, line: str) -> None:
        """Tell what is happening now."""
        if self._is_terminal:
            width = shutil.get_terminal_size().columns
            self._write(f"\r\x1b[K{line[: max(width - 1, 1)]}")
        else:
            self._write(f"{line}\n")

    def _write(self, text: str) -> None:
        if self._is_silent:
            return
        with self._lock:
            self._stream.write(text)
            self._stream.flush()
