"""Blocks of code in the pages: those of README and docs/, and of the files beside README."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

_BLOCK = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One block, with the place of its first line."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> Iterator[tuple[str, str]]:
        """Of a console block: each command, and the output that stands below it."""
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def rewritten(page: Path, answer: Callable[[str, str], str]) -> str:
    """The page's text with other outputs.

    Args:
        page: that has console blocks.
        answer: from a command and what stands below it to what is to stand there.
    """

    def block(found: re.Match[str]) -> str:
        if found[2] != "console":
            return found[0]
        steps = Block(page, 0, found[2], textwrap.dedent(found[3])).commands()
        text = "".join(f"$ {command}\n{answer(command, wanted)}" for command, wanted in steps)
        return textwrap.indent(f"```console\n{text}```", found[1])

    return _BLOCK.sub(block, page.read_text())


def pages() -> list[Path]:
    """Every page that is written by hand."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[Block]:
    """Of all pages, in order."""
    return [block for page in pages() for block in blocks_of(page) if block.language == language]


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 2
        yield Block(page, line, found[2], textwrap.dedent(found[3]))
