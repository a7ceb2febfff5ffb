"""Which specs a command works on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from compiler.calibration.file import is_calibration
from compiler.cli.settings import NAME as SETTINGS
from compiler.lock.file import HEADER
from compiler.lock.file import MAX_BYTES as MAX_LOCK
from compiler.source.files import read_file
from compiler.spec.read import LOCK_SUFFIX


def spec_paths(given: Sequence[Path]) -> tuple[Path, ...]:
    """The specs to work on: those given, else every stacks/*.yaml that is not a lock or a calibration.

    Raises:
        click.UsageError: there is none, or one does not exist.
    """
    # A shell's stacks/*.yaml matches the locks too, and calibrations lie where specs do.
    found = given or sorted(path for path in Path("stacks").glob("*.yaml") if path.name != SETTINGS)
    missing = [path for path in found if not os.path.lexists(path) or path.is_dir()]
    if missing:
        raise click.UsageError(f"no such spec: {', '.join(map(str, missing))}")
    paths = tuple(path for path in found if not path.name.endswith(LOCK_SUFFIX) and not _is_written(path))
    if not paths:
        raise click.UsageError(
            "no spec given, and no stacks/*.yaml here: `stackc` alone says how to begin"
            if not given
            else "none of these is a spec"
        )
    return paths


def _is_written(path: Path) -> bool:
    """Whether stackc wrote the file itself. What cannot be read is told by whoever reads it as a spec."""
    try:
        text = read_file(path, MAX_LOCK).decode()
    except (OSError, UnicodeDecodeError):
        return False
    return text.startswith(HEADER) or is_calibration(text)
