"""Texts of a certain form: the form in words, and the nearest text that has it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import StringConstraints

_WORDS: dict[str, str] = {}


def form(pattern: str, words: str) -> StringConstraints:
    """A text that matches; whoever wrote another one reads the words, which follow `must be`."""
    _WORDS[pattern] = words
    return StringConstraints(pattern=pattern)


def form_words(pattern: str) -> str:
    """What a text must be, or the pattern itself where nobody has put it into words."""
    return f"must be {_WORDS[pattern]}" if pattern in _WORDS else f"must match {pattern}"


def nearest(text: str, pattern: str) -> str | None:
    """What was probably meant: other case, `-` for what is not allowed, nothing at the ends. None if that is not it."""
    return next((each for each in _readings(text) if re.search(pattern, each)), None)


def _readings(text: str) -> Iterator[str]:
    for allowed in (r"[^A-Za-z0-9._-]+", r"[^A-Za-z0-9-]+"):
        for cased in (text, text.lower()):
            yield re.sub(allowed, "-", cased).strip("-._")
