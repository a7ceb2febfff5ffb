"""Looking for changes that would make a stack fit: how far, and what is told of it while it lasts."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO, TypeVar

import click

from compiler.cli.loudness import Loudness, loudness
from compiler.diagnostics.looking import MAX_TRIALS, Looking

_Command = TypeVar("_Command", bound=Callable[..., Any])

# Forms that are one document, which programs read.
_DOCUMENTS = ("json", "sarif", "junit")
_OPTIONS = (
    click.option("--no-help", is_flag=True,
                 help="Do not look for changes that would make a stack fit, which takes time."),
    click.option("--trials", type=click.IntRange(1, 10_000), default=MAX_TRIALS, show_default=True, metavar="N",
                 help="Look for them until so many were tried."),
)  # fmt: skip


def help_options(command: _Command) -> Callable[..., Any]:
    """Gives a command `looking`, which tells whoever waits at a terminal."""

    @functools.wraps(command)
    def wrapped(*args: Any, no_help: bool, trials: int, form: str, **options: Any) -> Any:
        asked = 0 if no_help else trials
        looking = Looking(asked) if form in _DOCUMENTS else ToldLooking(asked)
        return command(*args, looking=looking, form=form, **options)

    return functools.reduce(lambda inner, option: option(inner), reversed(_OPTIONS), wrapped)


class ToldLooking(Looking):
    """On a terminal a line that is written over and wiped; elsewhere one at most, which says what takes long."""

    # Seconds until a line is worth it.
    _SOON, _LATE = 0.5, 2.0
    # And at least between two of them.
    _OFTEN = 0.1

    def __init__(
        self, trials: int = MAX_TRIALS, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Look, and tell it on stderr if no other stream is given."""
        super().__init__(trials)
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._since = 0.0
        self._told_at = 0.0
        self._count = 0
        self._is_told = False

    def tried(self) -> None:
        """Tell it, if it lasts."""
        self._since = self._since or self._clock()
        seconds = self._clock() - self._since
        if self._is_terminal and seconds >= self._SOON:
            self._write(f"\r\x1b[Klooking for changes that would fit: {seconds:.0f} s, {self._count} tried")
        elif not self._is_terminal and seconds >= self._LATE and not self._is_told:
            self._write("looking for changes that would fit; --no-help leaves it out\n")
        self._count += 1

    def worked(self, what: str, done: int, count: int) -> None:
        """Tell it on a terminal, now and then; elsewhere nothing is the matter while a fleet takes seconds."""
        now = self._clock()
        self._since = self._since or now
        if self._is_terminal and now - self._since >= self._SOON and now - self._told_at >= self._OFTEN:
            self._told_at = now
            self._write(f"\r\x1b[K{what}: {done} of {count} nodes")

    def done(self) -> None:
        """Leave a terminal as it was; what is looked for next is told from its beginning."""
        if self._is_told and self._is_terminal:
            self._write("\r\x1b[K")
        self._since, self._count, self._is_told = 0.0, 0, self._is_told and not self._is_terminal

    @property
    def _is_terminal(self) -> bool:
        return self._stream.isatty() and os.environ.get("TERM") != "dumb"

    def _write(self, text: str) -> None:
        if loudness() is not Loudness.QUIET:
            self._is_told = True
            self._stream.write(text)
            self._stream.flush()
