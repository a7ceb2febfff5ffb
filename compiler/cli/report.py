"""What commands print and how they exit, in one place."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any, NoReturn

import click

from compiler.cli.loudness import Loudness, loudness, painted
from compiler.cli.terminal import echo, has_color
from compiler.diagnostics import Diagnostic, Help, has_errors
from compiler.diagnostics.catalogue import CODES
from compiler.diagnostics.render import json_object, once_each, plain_data, render_text, summary_lines, visible
from compiler.report.paint import Line

FORMAT = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to report."
)

FINDINGS = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "sarif", "junit"]),
    default="text",
    show_default=True,
    help="How to report: `github` are annotations, the others one document.",
)

ASSUME = click.option(
    "--assume",
    type=click.Choice(["full"]),
    help="Count an architecture without formulas as full attention in every layer, an upper bound.",
)


class Exit(IntEnum):
    """Exit codes, fixed for scripts."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    OUTSIDE = 3
    DIFFERS = 4


def exit_code(diagnostics: Iterable[Diagnostic]) -> Exit:
    """The code for what was found: the outside world's failures outweigh the spec's."""
    errors = [diagnostic for diagnostic in diagnostics if has_errors((diagnostic,))]
    if any(CODES[error.code].is_outside for error in errors):
        return Exit.OUTSIDE
    return Exit.FAILED if errors else Exit.FINE


def finish(
    form: str,
    diagnostics: Sequence[Diagnostic],
    *,
    result: dict[str, Any],
    lines: Sequence[str | Line],
    otherwise: Exit = Exit.FINE,
) -> NoReturn:
    """Print findings and result, and exit. A document goes to stdout alone; text findings go to stderr.

    Args:
        otherwise: the exit code where nothing is an error.
    """
    code = exit_code(diagnostics) or otherwise
    if form in ("github", "sarif", "junit"):
        # A warning that is allowed is not told; JSON has it, with what allows it.
        told = [each for each in diagnostics if each.allowed_by is None]
        click.echo(_document(form, told, result), nl=False)
        lines = lines if form == "github" else ()
        for line in lines:
            echo(_no_command(line))
    elif form == "json":
        found = [json_object(diagnostic) for diagnostic in diagnostics]
        answer = plain_data({"ok": code is Exit.FINE, "diagnostics": found, **result})
        click.echo(json.dumps(answer, indent=2, sort_keys=True))
    else:
        _tell(diagnostics)
        for line in lines:
            echo(line)
    raise SystemExit(int(code))


def _tell(diagnostics: Sequence[Diagnostic]) -> None:
    """Warnings as the run wants them told, then errors, whole: what stops a run stands where people look."""
    is_coloured = has_color(sys.stderr)
    for line in _told(diagnostics):
        click.echo(painted(line, is_coloured=is_coloured), err=True, color=is_coloured)


def _told(diagnostics: Sequence[Diagnostic]) -> Iterator[str]:
    errors = [each for each in diagnostics if has_errors((each,))]
    warnings = [each for each in diagnostics if not has_errors((each,)) and each.allowed_by is None]
    if loudness() is Loudness.VERBOSE:
        yield from render_text(once_each(each for each in diagnostics if each.allowed_by is None)).splitlines()
        return
    if loudness() is Loudness.NORMAL and warnings:
        yield from summary_lines(warnings)
        yield f"  -v shows where, and what to do; `stackc explain {min(each.code for each in warnings)}` what it means"
        yield from [""] if errors else []
    yield from render_text(errors).splitlines()


def tell_first(form: str, lines: Sequence[str]) -> None:
    """What is read before all findings, where people read: a terminal, and the log of a job."""
    if form in ("text", "github"):
        for line in lines:
            echo(line if form == "text" else _no_command(line))


def _no_command(line: str | Line) -> str:
    """A line that no runner of GitHub takes for a command, whatever a file's name is.

    It looks for `::` after spaces, and for `##[` anywhere (actions/runner, ActionCommand.cs).
    """
    text = line if isinstance(line, str) else "".join(piece.text for piece in line)
    text = text.replace("##[", "## [")
    return f"| {text}" if text.lstrip().startswith("::") else text


def _document(form: str, diagnostics: Sequence[Diagnostic], result: dict[str, Any]) -> str:
    # Imported for whoever asks: no other run needs XML.
    if form == "github":
        from compiler.diagnostics.github import render_github  # noqa: PLC0415

        return render_github(diagnostics)
    if form == "sarif":
        from compiler.diagnostics.sarif import render_sarif  # noqa: PLC0415

        return render_sarif(diagnostics)
    from compiler.diagnostics.junit import render_junit  # noqa: PLC0415

    stacks = [] if has_errors(diagnostics) else result.get("stacks", [])
    return render_junit(diagnostics, [f"{stack['stack']}: {stack['verdict']}" for stack in stacks])


def unreadable(name: str, error: OSError) -> Diagnostic:
    """A file that the disk does not give, or that is none."""
    return Diagnostic("E0104", f"{name} cannot be read: {error.strerror or error}")


def unwritable(name: str, error: OSError) -> Diagnostic:
    """A file that the disk does not take, or whose name something else has."""
    help_ = Help("what was there is as it was; repeat when the cause is mended")
    return Diagnostic("E0601", f"cannot write {name}: {error.strerror or error}", helps=(help_,))


def waiting(form: str) -> Callable[[str], None]:
    """Tells what a run waits for: people on stderr, programs not."""
    return lambda line: click.echo(visible(line), err=True) if form == "text" else None
