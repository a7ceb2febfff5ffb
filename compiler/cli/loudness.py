"""How much a run says, and what it takes for an error: the options that all commands with warnings share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import click

from compiler.cli import complete
from compiler.diagnostics.levels import DENY_WARNINGS, Levels, denying, setting

_Command = TypeVar("_Command", bound=Callable[..., Any])
_KEY = "stackc.loudness"


class Loudness(Enum):
    """What people are told beside errors, which are always whole."""

    QUIET = "no warnings and no progress; of what is written, nothing"
    NORMAL = "one line for the warnings of a code"
    VERBOSE = "every warning with its place and what to do, every figure with its source, every difference"


def loudness() -> Loudness:
    """Of the run that is under way."""
    context = click.get_current_context(silent=True)
    found = context.meta.get(_KEY, Loudness.NORMAL) if context is not None else Loudness.NORMAL
    assert isinstance(found, Loudness)  # noqa: S101  `_said` below is what puts it there
    return found


class SpecLevels(Levels):
    """What the command line says of warnings; for a spec, over what its repository says."""

    __slots__ = ()

    def for_spec(self, spec: Path) -> Levels:
        """As they count for one spec.

        Raises:
            click.UsageError: the repository's settings cannot be used.
        """
        from compiler.cli.settings import levels_for  # noqa: PLC0415 - help needs no settings

        return self.over(levels_for(spec))


_LOUDNESS = (
    click.option("-q", "--quiet", is_flag=True, help="Say only what is wrong or was asked for."),
    click.option("-v", "--verbose", is_flag=True, help="Say warnings whole, where figures are from, what differs."),
)
_LEVELS = (
    click.option("--warnings", "pairs", multiple=True, metavar="CODE=LEVEL", shell_complete=complete.levels,
                 help="Take a warning as allow, warn or deny in this run; may be repeated."),
    click.option("--deny", "denied", multiple=True, metavar="CODE", shell_complete=complete.warnings,
                 help="The same as --warnings CODE=deny."),
    click.option("--deny-warnings", is_flag=True, help="Make every warning an error that has no level of its own."),
)  # fmt: skip


def loudness_options(command: _Command) -> Callable[..., Any]:
    """Gives the run of a command its loudness."""

    @functools.wraps(command)
    def wrapped(*args: Any, quiet: bool, verbose: bool, **options: Any) -> Any:
        _said(quiet=quiet, verbose=verbose)
        return command(*args, **options)

    return _with(_LOUDNESS, wrapped)


def warning_options(command: _Command) -> Callable[..., Any]:
    """Gives a command `levels`, and the run its loudness."""

    @functools.wraps(command)
    def wrapped(
        *args: Any, pairs: tuple[str, ...], denied: tuple[str, ...], deny_warnings: bool, **options: Any
    ) -> Any:
        return command(*args, levels=_levels(pairs, denied, is_strict=deny_warnings), **options)

    return _with(_LEVELS, loudness_options(wrapped))


def _with(options: Sequence[Callable[[Any], Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    return functools.reduce(lambda inner, option: option(inner), reversed(options), command)


def _said(*, quiet: bool, verbose: bool) -> None:
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose contradict each other")
    said = Loudness.QUIET if quiet else Loudness.VERBOSE if verbose else Loudness.NORMAL
    click.get_current_context().meta[_KEY] = said


def _levels(pairs: tuple[str, ...], denied: tuple[str, ...], *, is_strict: bool) -> SpecLevels:
    try:
        said = denying(denied).over(setting(pairs))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return SpecLevels(said.of, DENY_WARNINGS if is_strict else None)


_COLOURS = {"error": "red", "warning": "yellow"}


def painted(line: str, *, is_coloured: bool) -> str:
    """A line of a report: what it begins with stands out, such as `error[E0401]`, or the name of a result."""
    head, separator, rest = line.partition(": ")
    if not is_coloured or not separator or line.startswith(" "):
        return line
    return click.style(head, fg=_COLOURS.get(head.partition("[")[0]), bold=True) + separator + rest
