"""The data of a diagnostic. Building one never prints; renderers are in `render.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from compiler.diagnostics.catalogue import CODES, Severity


@dataclass(frozen=True, slots=True)
class SourceText:
    """A file as it was read. `name` is the path as the user gave it, so that output never holds an absolute path."""

    name: str
    text: str = field(repr=False)

    def line(self, number: int) -> str:
        """One line by its 1-based number, without its end; empty past the end of the file."""
        lines = self.text.split("\n")  # as the reader of YAML counts; Python ends lines at a dozen other characters
        return lines[number - 1] if 0 < number <= len(lines) else ""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """1-based line and column, as editors count them."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a source file; `end` is exclusive. Only the first line of a longer span is shown."""

    source: SourceText
    start: Position
    end: Position

    def __str__(self) -> str:
        return f"{self.source.name}:{self.start.line}:{self.start.column}"


@dataclass(frozen=True, slots=True)
class Label:
    """What the underlined text is, said beside the underline."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change to the spec: set the value at `path` to `value` (YAML scalar or list), or remove the key if None."""

    path: tuple[str | int, ...]
    value: str | int | float | bool | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Help:
    """A remedy. Where it has edits, applying all of them was checked to remove the error."""

    text: str
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding: a code from the catalogue, a lowercase headline, where it is, the arithmetic, and remedies.

    Attributes:
        code: a key of `CODES`.
        message: states the problem in one line; only `helps` say what to do.
        label: the primary place; None only where no file is at fault.
        notes: facts and arithmetic, one line each.
        helps: alternatives, cheapest first; any one of them suffices.
        denied_by: what makes a warning an error in this run, such as `--deny W0301`; None for nothing.
        allowed_by: what keeps a warning from people in this run, such as `--warnings W0301=allow`; None for nothing.
    """

    code: str
    message: str
    label: Label | None = None
    notes: tuple[str, ...] = ()
    helps: tuple[Help, ...] = ()
    denied_by: str | None = None
    allowed_by: str | None = None

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"{self.code} is not in the catalogue of codes")

    @property
    def severity(self) -> Severity:
        """Error or warning, by the code, unless this run denies the warning."""
        return Severity.ERROR if self.denied_by is not None else CODES[self.code].severity


def has_errors(diagnostics: Iterable[Diagnostic]) -> bool:
    """Whether any of them stops the compilation."""
    return any(diagnostic.severity is Severity.ERROR for diagnostic in diagnostics)
