"""Which specs a command works on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from compiler.calibration.file import is_calibration
from compiler.checks.read import LOCK_SUFFIX
from compiler.cli.settings import NAME as SETTINGS
from compiler.diagnostics.render import visible
from compiler.lock.file import HEADER
from compiler.lock.file import MAX_BYTES as MAX_LOCK
from compiler.source.files import read_file
from compiler.source.user_file import USER_FILE


def spec_paths(given: Sequence[Path]) -> tuple[Path, ...]:
    """The specs to work on: those given, else every stacks/*.yaml that is not a lock or a calibration.

    Raises:
        click.UsageError: there is none, or one does not exist.
    """
    # A shell's stacks/*.yaml matches the locks too, and calibrations lie where specs do.
    found = tuple(map(spec_path, given)) or sorted(
        path for path in Path("stacks").glob("*.yaml") if path.name not in (SETTINGS, USER_FILE)
    )
    paths = tuple(path for path in found if not path.name.endswith(LOCK_SUFFIX) and not _is_written(path))
    if not paths:
        none = "no spec given, and no stacks/*.yaml here: `stackc init` writes one"
        raise click.UsageError("none of these is a spec" if given else none)
    return paths


def spec_path(given: Path) -> Path:
    """The spec that a word names: a file, or one in stacks/ by its name.

    Raises:
        click.UsageError: there is no such file, or it is a folder.
    """
    named = Path("stacks") / f"{given.name}.yaml"
    if len(given.parts) == 1 and os.path.isfile(named) and not os.path.isfile(given):  # noqa: PTH113 (any name)
        return named
    if os.path.isdir(given):  # noqa: PTH112
        raise click.UsageError(f"{visible(str(given))} is a folder: name a spec in it{_specs_in(given)}")
    if not os.path.lexists(given):
        raise click.UsageError(f"no such spec: {visible(str(given))}")
    return given


_MOST_NAMED = 3


def _specs_in(folder: Path) -> str:
    """Those of a folder, or of its stacks/, as an addition to a sentence."""
    for place in (folder / "stacks", folder):
        with suppress(OSError):
            names = sorted(str(path) for path in place.glob("*.yaml") if not path.name.endswith(LOCK_SUFFIX))
            if names:
                more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
                return f", such as {visible(', '.join(names[:_MOST_NAMED]))}{more}"
    return ""


def _is_written(path: Path) -> bool:
    """Whether stackc wrote the file itself. What cannot be read is told by whoever reads it as a spec."""
    try:
        text = read_file(path, MAX_LOCK).decode()
    except (OSError, UnicodeDecodeError):
        return False
    return text.startswith(HEADER) or is_calibration(text)
