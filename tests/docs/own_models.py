"""The guide to models of one's own as its reader does it: each file as it stands there, then the commands below it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner

from compiler.cli.main import cli
from tests.conftest import ROOT
from tests.docs.blocks import blocks_of
from tests.unit.test_memory import QWEN3_8B

PAGE = ROOT / "docs" / "how-to" / "own-models.md"


def played(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Each command, what stands below it, and what it prints."""
    (folder / "stacks").mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN3_8B | {"vocab_size": 160000}))
    with contextlib.chdir(folder):
        for block in blocks_of(PAGE):
            if block.language == "yaml":
                Path("stacks", "models.yaml").write_text(block.text)
            for command, wanted in block.commands() if block.language == "console" else ():
                yield command, wanted, _answer(command)


def _answer(command: str) -> str:
    result = CliRunner().invoke(cli, command.split()[1:], env={"COLUMNS": None, "FORCE_COLOR": None})
    return "".join(f"{line.rstrip()}\n" for line in result.output.rstrip().splitlines())
