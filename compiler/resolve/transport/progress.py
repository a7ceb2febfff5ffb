"""What the lock phase tells while it works."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Is told, from any thread, what is to be done and what is happening."""

    def expect(self, count: int) -> None:
        """So many more repositories are going to be read."""

    def advance(self) -> None:
        """One of them was."""

    def say(self, line: str) -> None:
        """This takes time now."""

    def detail(self, line: str) -> None:
        """A part of it does, of which there may be many."""


class Silence:
    """Tells nobody."""

    def expect(self, count: int) -> None:
        """Nothing."""

    def advance(self) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""

    def detail(self, line: str) -> None:
        """Nothing."""
