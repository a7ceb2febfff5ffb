"""Figures with their sources: each distinct source is one numbered note of the page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A number as it is shown, and where it is from: `note` is the number of that sentence on the page."""

    text: str
    source: str
    note: int


class Notes:
    """Numbers sources in the order in which they are first asked for."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def figure(self, text: str, source: str) -> Figure:
        """A figure with its note."""
        return Figure(text, source, self._numbers.setdefault(source, len(self._numbers) + 1))

    @property
    def sources(self) -> tuple[str, ...]:
        """All of them; the first is number 1."""
        return tuple(self._numbers)
