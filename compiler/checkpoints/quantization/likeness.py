"""Which layers a quantizer cannot tell apart, so that what it does to one of them is looked up once.

A checkpoint of 60 layers lists what it leaves alone in each. Names of two layers differ in a number alone, which only
an entry with a number can tell from another one of as many digits.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

_DIGIT = re.compile(r"\d", re.ASCII)
_NUMBER = re.compile(r"\d+", re.ASCII)
# What may tell one digit from another without naming it: a group that is found again, and a character by its name.
_SUBTLE = ("(?P=", "\\N")
# Beside these, digits of an entry may be a part of a layer's number; between two dots they are all of it.
_EDGES = ("", ".", "*", "?")

Meaning = Hashable
"""What follows for a module that an entry is about."""


@dataclass(frozen=True, slots=True)
class Listed:
    """All that a chooser compares names with, in the order in which it does.

    Attributes:
        names: whole names of modules, or of what is below them.
        pieces: parts of names, wherever they stand, and shell patterns.
        expressions: of which more is not known here.
    """

    names: tuple[tuple[str, Meaning], ...] = ()
    pieces: tuple[tuple[str, Meaning], ...] = ()
    expressions: tuple[str, ...] = ()

    def beside(self, other: Listed) -> Listed:
        """With what another part of the chooser compares."""
        return Listed(self.names + other.names, self.pieces + other.pieces, self.expressions + other.expressions)

    def meaning(self, meaning: Meaning) -> Listed:
        """Where one thing follows from all of it."""
        names, pieces = ([(name, meaning) for name, _ in each] for each in (self.names, self.pieces))
        return Listed(tuple(names), tuple(pieces), self.expressions)


class Lists(Protocol):
    """What says which names it compares with."""

    @property
    def listed(self) -> Listed:
        """All of them."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a chooser lists, by the numbers in it.

    Attributes:
        entries: that hold a number between two dots, by that number, which is taken out of them.
        parts: of numbers: whichever layer's number has one is like no other.
        is_unclear: whether an entry may be about any layer.
    """

    entries: Mapping[str, tuple[Hashable, ...]]
    parts: frozenset[str]
    is_unclear: bool

    def of(self, index: int) -> Hashable:
        """Equal for layers that no entry tells apart."""
        number = str(index)
        if self.is_unclear or any(part in number for part in self.parts):
            return index
        return len(number), self.entries.get(number, ())


def likeness_of(listed: Listed) -> Likeness:
    """Of what a chooser lists, in the engine's names."""
    entries: dict[str, list[Hashable]] = {}
    parts: set[str] = set()
    for name, meaning in (*listed.names, *listed.pieces):
        for number, before, after in _numbers(name):
            if before[-1:] == after[:1] == ".":
                entries.setdefault(number, []).append((before, after, meaning))
    for piece, _ in listed.pieces:
        parts.update(number for number, before, after in _numbers(piece) if _is_part(before[-1:], after[:1]))
    # A set of characters may hold digits that stand for others.
    sets = any("[" in piece for piece, _ in listed.pieces)
    is_unclear = sets or any(map(_is_unclear, listed.expressions))
    return Likeness({number: tuple(found) for number, found in entries.items()}, frozenset(parts), is_unclear)


def _is_unclear(expression: str) -> bool:
    return _DIGIT.search(expression) is not None or any(piece in expression for piece in _SUBTLE)


def _is_part(before: str, after: str) -> bool:
    return before in _EDGES and after in _EDGES and not before == after == "."


def _numbers(name: str) -> Iterator[tuple[str, str, str]]:
    """Digits of a name, and what stands around them."""
    return ((found[0], name[: found.start()], name[found.end() :]) for found in _NUMBER.finditer(name))
