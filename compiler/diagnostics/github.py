"""Diagnostics as workflow commands of GitHub Actions, which shows them beside the lines that they are about.

Format and escapes: docs.github.com, "Workflow commands for GitHub Actions", and `escapeData` and `escapeProperty` of
actions/toolkit, packages/core/src/command.ts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from compiler.diagnostics.catalogue import CODES
from compiler.diagnostics.model import Diagnostic
from compiler.diagnostics.render import visible


def render_github(diagnostics: Iterable[Diagnostic]) -> str:
    """A line for each finding: `::error file=…,line=…,endLine=…,col=…,endColumn=…,title=…::message`."""
    return "".join(f"{_command(diagnostic)}\n" for diagnostic in diagnostics)


def _command(diagnostic: Diagnostic) -> str:
    properties = ",".join(f"{key}={_property(value)}" for key, value in _properties(diagnostic))
    return f"::{diagnostic.severity.value} {properties}::{_data(body(diagnostic))}"


def body(diagnostic: Diagnostic) -> str:
    """Headline, label, notes and helps, one a line; control characters are shown as escapes."""
    label = [diagnostic.label.text] if diagnostic.label is not None and diagnostic.label.text else []
    denied = [f"an error because of `{diagnostic.denied_by}`"] if diagnostic.denied_by is not None else []
    helps = [f"help: {each.text}" for each in diagnostic.helps]
    return "\n".join(map(visible, (diagnostic.message, *label, *diagnostic.notes, *denied, *helps)))


def _properties(diagnostic: Diagnostic) -> Iterator[tuple[str, str]]:
    if diagnostic.label is not None:
        span = diagnostic.label.span
        yield "file", visible(span.source.name)
        yield "line", str(span.start.line)
        # Ours ends before its last column, GitHub's with it; columns of several lines are refused.
        if span.end.line == span.start.line:
            yield "endLine", str(span.start.line)
            yield "col", str(span.start.column)
            yield "endColumn", str(max(span.start.column, span.end.column - 1))
        else:
            yield "endLine", str(max(span.start.line, span.end.line - (span.end.column == 1)))
    yield "title", f"{diagnostic.code}: {CODES[diagnostic.code].title}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
