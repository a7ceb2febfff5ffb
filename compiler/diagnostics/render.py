"""Diagnostics as text for people and as JSON for programs."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from compiler.diagnostics.catalogue import CODES
from compiler.diagnostics.model import Diagnostic, Edit, Label

# A line that somebody wrote in an editor is shown whole. Of one that a program wrote, or that goes on and on, the part
# around what is marked is shown, as wide as any terminal.
_WHOLE = 120
WIDTH = 80
# Of a code that is found more often, the first are named.
_FEW = 3
# What is quoted from a file may be as long as the file.
_LONGEST = 4000


def render_text(diagnostics: Iterable[Diagnostic]) -> str:
    """All findings in the form of a compiler's messages, each followed by an empty line."""
    return "".join("\n".join(_lines(diagnostic)) + "\n\n" for diagnostic in diagnostics)


def summary_lines(diagnostics: Iterable[Diagnostic]) -> Iterator[str]:
    """One line for all warnings of a code: what the only one says, or how many there are of what kind."""
    by_code: dict[str, list[Diagnostic]] = {}
    for diagnostic in diagnostics:
        by_code.setdefault(diagnostic.code, []).append(diagnostic)
    for code, found in sorted(by_code.items()):
        messages = dict.fromkeys(diagnostic.message for diagnostic in found)
        said = next(iter(messages)) if len(messages) == 1 else CODES[code].title
        yield f"{found[0].severity.value}[{code}]: {'' if len(found) == 1 else f'{len(found)} × '}{_bounded(said)}"


def once_each(diagnostics: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """The findings without those that only repeat what is true of every stack, whose number is noted."""
    found = list(diagnostics)
    counts = Counter((each.code, each.message) for each in found if CODES[each.code].is_inherent)
    for diagnostic in found:
        count = counts.pop((diagnostic.code, diagnostic.message), 0 if CODES[diagnostic.code].is_inherent else 1)
        if count > 1:
            yield replace(diagnostic, notes=(*diagnostic.notes, f"the same holds of {count - 1} more"))
        elif count:
            yield diagnostic


def at_a_glance(diagnostics: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """The findings, where there are many of a code as one: how many, the first few, and what is done about them."""
    by_code: dict[str, list[Diagnostic]] = {}
    for diagnostic in diagnostics:
        by_code.setdefault(diagnostic.code, []).append(diagnostic)
    for code, found in by_code.items():
        if len(found) <= _FEW:
            yield from found
            continue
        notes = (*(each.message for each in found[:_FEW]), f"and {len(found) - _FEW} more, which -v shows")
        shared = [help_ for help_ in found[0].helps if all(help_ in each.helps for each in found)]
        yield Diagnostic(code, f"{len(found)} × {CODES[code].title}", notes=notes, helps=tuple(shared))


def _lines(diagnostic: Diagnostic) -> Iterator[str]:
    yield f"{diagnostic.severity.value}[{diagnostic.code}]: {_bounded(diagnostic.message)}"
    margin = 0
    if diagnostic.label is not None:
        margin = len(str(diagnostic.label.span.start.line))
        yield from _snippet(diagnostic.label, margin)
    pad = " " * (margin + 1)
    yield from (f"{pad}= note: {_bounded(note)}" for note in diagnostic.notes)
    if diagnostic.denied_by is not None:
        yield f"{pad}= note: an error because of `{_bounded(diagnostic.denied_by)}`"
    if len(diagnostic.helps) == 1:
        yield f"{pad}= help: {_bounded(diagnostic.helps[0].text)}"
    elif diagnostic.helps:
        yield f"{pad}= help: any one of these:"
        yield from (f"{pad}    {_bounded(help_.text)}" for help_ in diagnostic.helps)


def _snippet(label: Label, margin: int) -> Iterator[str]:
    span = label.span
    pad = " " * margin
    yield f"{pad}--> {visible(str(span))}"
    line = span.source.line(span.start.line)
    if not line:
        return
    start = span.start.column - 1
    end = max(start + 1, span.end.column - 1 if span.end.line == span.start.line else start + 1)
    parts = (visible(line[:start]), visible(line[start:end]), visible(line[end:])) if len(line) <= _WHOLE else None
    if parts is None or sum(map(len, parts)) > _WHOLE:
        parts = _window(line, start, end, WIDTH - margin - 3)
    before, marked, after = parts
    # Tabs are kept in both lines, so that they shift both alike.
    lead = "".join("\t" if char == "\t" else " " * cells(char) for char in before)
    yield f"{pad} |"
    yield f"{span.start.line} | {before}{marked}{after}"
    yield f"{pad} | {lead}{'^' * max(1, sum(map(cells, marked)))} {_bounded(label.text)}".rstrip()


def _window(line: str, start: int, end: int, room: int) -> tuple[str, str, str]:
    """What stands around the start of the marked part of a long line: before it, in it and after it.

    The three are at most `room` characters together.
    """
    # Two thirds are for what is marked and follows; an ellipsis stands for what is cut off.
    before = visible(line[max(0, start - room) : start])
    lead = before if start <= room and len(before) <= room // 3 else "…" + before[-(room // 3 - 1) :]
    left = room - len(lead)
    marked, rest = visible(line[start : min(end, start + left)]), line[end : end + left]
    if len(marked) >= left:
        return lead, marked[: left - 1] + "…", ""
    after, left = visible(rest), left - len(marked)
    is_cut = len(after) > left or len(line) > end + len(rest)
    return lead, marked, after[: left - 1] + "…" if is_cut else after


def cells(char: str) -> int:
    """Columns of a terminal that a character takes."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def _bounded(text: str) -> str:
    shown = visible(text[: _LONGEST + 1])
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}… ({len(text)} characters)"


def visible(text: str) -> str:
    """Text of any origin as one line: what would act on a terminal, or turn the text around, is shown as an escape.

    Tabs are kept. Half a character, as which Python reads a byte of a name that is no UTF-8, is shown as the byte.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


# os.fsdecode carries a byte that is no UTF-8 as a half character.
_CARRIER = 0xDC00
_CARRIED_BYTES = range(_CARRIER + 0x80, _CARRIER + 0x100)
_TWO_DIGITS, _FOUR_DIGITS = 0x100, 0x10000


def _escaped(char: str) -> str:
    if char.isprintable() or char == "\t":
        return char
    number = ord(char)
    if number in _CARRIED_BYTES:
        number -= _CARRIER
    if number < _TWO_DIGITS:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < _FOUR_DIGITS else f"\\U{number:08x}"


def plain_data(value: Any) -> Any:
    """The same data without half characters, which no JSON text may hold."""
    if isinstance(value, str):
        return value if _is_text(value) else "".join(char if _is_text(char) else _escaped(char) for char in value)
    if isinstance(value, dict):
        return {plain_data(key): plain_data(item) for key, item in value.items()}
    return [plain_data(item) for item in value] if isinstance(value, list | tuple) else value


def _is_text(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def json_object(diagnostic: Diagnostic) -> dict[str, Any]:
    """One finding as plain data."""
    label = diagnostic.label
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "denied_by": diagnostic.denied_by,
        "allowed_by": diagnostic.allowed_by,
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
