"""What every page of the reference is written with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def cell(text: str) -> str:
    """Text in a cell of a table, where a line's end or a bar would begin another; in backticks a bar is none."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in parts)


def code(text: object) -> str:
    """A word as it is typed."""
    return f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines)


def fenced(text: str, language: str = "text") -> str:
    """A block that stands as it is."""
    return f"```{language}\n{text.rstrip()}\n```\n"
