"""Paths on the command line. One that no system could have is a usage error, whatever asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from compiler.diagnostics.render import visible

_LONGEST_NAME = 255


class PathArgument(click.Path):
    """A path that can exist: no NUL, no part longer than file systems take, and links that lead somewhere."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or a usage error that says what is wrong with it."""
        name = os.fspath(value)
        if "\0" in name:
            self.fail("a path holds no NUL", param, ctx)
        try:
            if any(len(os.fsencode(part)) > _LONGEST_NAME for part in name.split("/")):
                self.fail(f"{name[:40]}… is longer than a name can be", param, ctx)
            Path(name).stat()
        except UnicodeEncodeError:
            self.fail("a path holds no half of a character", param, ctx)
        except OSError as error:
            # What is absent, a command says in its own words.
            if not isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
                self.fail(f"{name[:200]}: {error.strerror}", param, ctx)
        return super().convert(value, param, ctx)


FILE = PathArgument(path_type=Path)

FOLDER = PathArgument(path_type=Path, exists=True, file_okay=False)
OUTPUT = PathArgument(path_type=Path, file_okay=False)


def keep_inputs(option: str, out: Path | None, inputs: Iterable[Path]) -> None:
    """Refuse to write over what is read, by whatever name.

    Raises:
        click.UsageError: the file of `option` is one of them.
    """
    if out is not None and os.path.realpath(out) in map(os.path.realpath, inputs):
        raise click.UsageError(f"{option} {visible(str(out))} is read here, and would be written over")
