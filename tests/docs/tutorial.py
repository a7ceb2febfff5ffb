"""The tutorial as its reader does it: its commands in order, in an empty folder, with the wheel that was built."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.conftest import ROOT
from tests.docs.blocks import blocks_of
from tests.wheel import installed

PAGE = ROOT / "docs" / "tutorial" / "first-stack.md"


def steps() -> list[tuple[str, str]]:
    """Each command of the page, and the output that stands below it."""
    return [step for block in blocks_of(PAGE) if block.language == "console" for step in block.commands()]


def played(folder: Path) -> list[tuple[str, str]]:
    """Each command, and what it prints. The reader's folder is `folder/my-stacks`."""
    python, environment = installed(folder)
    program = python.with_name("stackc")
    # As on a terminal, where a warning stands before what was printed after it.
    program.write_text(f'#!/bin/sh\nexec {python} -u -m stackc "$@"\n')
    program.chmod(0o755)
    work = folder / "my-stacks"
    work.mkdir()
    environment |= {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    return [(command, _answer(command, work, environment)) for command, _ in steps()]


def _answer(command: str, work: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.rstrip().splitlines())
