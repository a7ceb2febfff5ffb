"""A progress bar on a terminal."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from compiler.diagnostics.render import visible


class Bar:
    """How many repositories of how many were read, and what is happening now. Nothing of it stays."""

    def __init__(self, stream: TextIO) -> None:
        # Names come from outside: none of their characters may be markup.
        what = TextColumn("{task.description}", markup=False)
        columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), what)
        self._bar = Progress(*columns, console=Console(file=stream, highlight=False), transient=True)
        self._task = self._bar.add_task("", total=0)
        self._expected = 0

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def expect(self, count: int) -> None:
        """So many more repositories are going to be read."""
        self._expected += count
        self._bar.update(self._task, total=self._expected)

    def advance(self) -> None:
        """One of them was."""
        self._bar.advance(self._task)

    def say(self, line: str) -> None:
        """Tell what is happening now."""
        self._bar.update(self._task, description=visible(line))

    detail = say
