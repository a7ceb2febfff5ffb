"""Parsers of a server's answers, which find calls of tools and reasoning in text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownParsers:
    """Parsers that a release has for models of one family.

    Attributes:
        title: of the family; `described` says what it is in a sentence.
        shared: whether other families write alike.
        options: names that it has, best first, by the option that takes one.
    """

    title: str
    described: str
    shared: bool
    options: Mapping[str, tuple[str, ...]]
