"""What commands print and how they exit, in one place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

import click

from compiler.diagnostics import Diagnostic, has_errors
from compiler.diagnostics.catalogue import CODES
from compiler.diagnostics.levels import Levels
from compiler.diagnostics.render import json_object, render_text

FORMAT = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to report."
)


ASSUME = click.option(
    "--assume",
    type=click.Choice(["full"]),
    help="Count an architecture without formulas as full attention in every layer, an upper bound.",
)


def _levels(_: click.Context, __: click.Parameter, codes: tuple[str, ...]) -> Levels:
    try:
        return Levels.denying(codes)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


DENY = click.option(
    "--deny",
    "levels",
    multiple=True,
    metavar="CODE",
    callback=_levels,
    help="Make a warning an error in this run, such as W0301; may be repeated.",
)


class Exit(IntEnum):
    """Exit codes, fixed for scripts."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    OUTSIDE = 3


def exit_code(diagnostics: Iterable[Diagnostic]) -> Exit:
    """The code for what was found: the outside world's failures outweigh the spec's."""
    errors = [diagnostic for diagnostic in diagnostics if has_errors((diagnostic,))]
    if any(CODES[error.code].is_outside for error in errors):
        return Exit.OUTSIDE
    return Exit.FAILED if errors else Exit.FINE


def finish(form: str, diagnostics: Sequence[Diagnostic], *, result: dict[str, Any], lines: Sequence[str]) -> NoReturn:
    """Print findings and result, and exit. JSON goes to stdout as one object; text findings go to stderr."""
    code = exit_code(diagnostics)
    if form == "json":
        found = [json_object(diagnostic) for diagnostic in diagnostics]
        click.echo(json.dumps({"ok": code is Exit.FINE, "diagnostics": found, **result}, indent=2, sort_keys=True))
    else:
        click.echo(render_text(diagnostics), err=True, nl=False)
        for line in lines:
            click.echo(line)
    raise SystemExit(int(code))


def unreadable(name: str, error: OSError) -> Diagnostic:
    """A spec that the disk does not give."""
    return Diagnostic("E0104", f"{name} cannot be read: {error.strerror or error}")


def spec_paths(given: Sequence[Path]) -> tuple[Path, ...]:
    """The specs to work on: those given, else every stacks/*.yaml that is not a lock.

    Raises:
        click.UsageError: there is none, or one does not exist.
    """
    # A shell's stacks/*.yaml matches the locks too.
    found = given or sorted(Path("stacks").glob("*.yaml"))
    paths = tuple(path for path in found if not path.name.endswith(".lock.yaml"))
    if not paths:
        raise click.UsageError("no spec given, and no stacks/*.yaml here")
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise click.UsageError(f"no such spec: {', '.join(map(str, missing))}")
    return paths
