"""Texts of a certain form: the form in words, and the nearest text that has it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import StringConstraints

_WORDS: dict[str, str] = {}
_COINED: set[str] = set()


def form(pattern: str, words: str) -> StringConstraints:
    """A text that matches; whoever wrote another one reads the words, which follow `must be`."""
    _WORDS[pattern] = words
    return StringConstraints(pattern=pattern)


def coined(pattern: str, words: str) -> StringConstraints:
    """The same of a name that whoever writes the spec chooses, so that another one may stand for it."""
    _COINED.add(pattern)
    return form(pattern, words)


def form_words(pattern: str) -> str:
    """What a text must be, or the pattern itself where nobody has put it into words."""
    return f"must be {_WORDS[pattern]}" if pattern in _WORDS else f"must match {pattern}"


def nearest(text: str, pattern: str) -> str | None:
    """A name as near as may be: other case, `-` for what is not allowed, nothing at the ends.

    None where there is none, and for what others have named: an address, an image or a card is not to be guessed.
    """
    readings = _readings(text) if pattern in _COINED else ()
    return next((each for each in readings if re.search(pattern, each)), None)


def _readings(text: str) -> Iterator[str]:
    for allowed in (r"[^A-Za-z0-9._-]+", r"[^A-Za-z0-9-]+"):
        for cased in (text, text.lower()):
            yield re.sub(allowed, "-", cased).strip("-._")
