"""Diagnostics as text for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from compiler.diagnostics.model import Diagnostic, Edit, Label


def render_text(diagnostics: Iterable[Diagnostic]) -> str:
    """All findings in the form of a compiler's messages, each followed by an empty line."""
    return "".join("\n".join(_lines(diagnostic)) + "\n\n" for diagnostic in diagnostics)


def _lines(diagnostic: Diagnostic) -> Iterator[str]:
    yield f"{diagnostic.severity.value}[{diagnostic.code}]: {printable(diagnostic.message)}"
    margin = 0
    if diagnostic.label is not None:
        margin = len(str(diagnostic.label.span.start.line))
        yield from _snippet(diagnostic.label, margin)
    pad = " " * (margin + 1)
    yield from (f"{pad}= note: {printable(note)}" for note in diagnostic.notes)
    if diagnostic.denied_by is not None:
        yield f"{pad}= note: an error because of `{printable(diagnostic.denied_by)}`"
    if len(diagnostic.helps) == 1:
        yield f"{pad}= help: {printable(diagnostic.helps[0].text)}"
    elif diagnostic.helps:
        yield f"{pad}= help: any one of these:"
        yield from (f"{pad}    {printable(help_.text)}" for help_ in diagnostic.helps)


def _snippet(label: Label, margin: int) -> Iterator[str]:
    span = label.span
    pad = " " * margin
    yield f"{pad}--> {span}"
    line = span.source.line(span.start.line)
    if not line:
        return
    width = span.end.column - span.start.column if span.end.line == span.start.line else 1
    # Wide characters and tabs before the span would shift the underline; both are kept as they are in the line above.
    lead = "".join("\t" if char == "\t" else " " for char in line[: span.start.column - 1])
    yield f"{pad} |"
    yield f"{span.start.line} | {printable(line)}"
    yield f"{pad} | {lead}{'^' * max(1, width)} {printable(label.text)}".rstrip()


def printable(text: str) -> str:
    """Text without control characters, which could rewrite the terminal it is shown on."""
    return "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in text)


def json_object(diagnostic: Diagnostic) -> dict[str, Any]:
    """One finding as plain data."""
    label = diagnostic.label
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "denied_by": diagnostic.denied_by,
        "message": diagnostic.message,
        "file": label.span.source.name if label else None,
        "line": label.span.start.line if label else None,
        "column": label.span.start.column if label else None,
        "end_line": label.span.end.line if label else None,
        "end_column": label.span.end.column if label else None,
        "label": label.text if label else None,
        "notes": list(diagnostic.notes),
        "helps": [{"text": h.text, "edits": [_edit(edit) for edit in h.edits]} for h in diagnostic.helps],
    }


def _edit(edit: Edit) -> dict[str, Any]:
    return {"path": list(edit.path), "value": list(edit.value) if isinstance(edit.value, tuple) else edit.value}
