from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.diagnostics import Position, SourceText
from compiler.source.document import Document, load_document
from compiler.source.text import label_at


def load(text: str) -> Document:
    document, problems = load_document(SourceText("x.yaml", text))
    assert document is not None, problems
    return document


def place(document: Document, *path: str | int) -> str:
    span = document.value(path)
    return f"{span.start.line}:{span.start.column}-{span.end.column}"


def test_every_value_knows_its_place() -> None:
    document = load("a:\n  b: {c: 16K, d: 1.0}  # note\n  e:\n  - x\n  - 12\nempty:\n")
    assert document.data == {"a": {"b": {"c": "16K", "d": 1.0}, "e": ["x", 12]}, "empty": None}
    assert place(document, "a", "b", "c") == "2:10-13"
    assert place(document, "a", "e", 1) == "5:5-7"
    assert place(document, "empty") == "6:1-6", "an empty value is shown by its key"


def test_a_path_that_is_not_there_is_shown_at_its_parent() -> None:
    document = load("services:\n  chat: {port: 1}\n")
    assert place(document, "services", "chat", "context", 0) == place(document, "services", "chat")
    assert str(document.key(("services", "chat"))) == "x.yaml:2:3"


@pytest.mark.parametrize(
    "text", ["", "a: [", "\x00", "a:\n\t- b", "- " * 3000 + "x", "a: &x 1\nb: *x", "? {a: 1}\n: 2"]
)
def test_no_text_is_a_traceback(text: str) -> None:
    document, problems = load_document(SourceText("x.yaml", text))
    assert document is None
    assert problems
    assert all(problem.label is not None for problem in problems)


@given(st.text(max_size=200))
def test_any_text_gives_data_or_diagnostics(text: str) -> None:
    document, problems = load_document(SourceText("x.yaml", text))
    assert (document is None) == bool(problems)


@pytest.mark.parametrize("text", ['a: "\\ud800"', '"\\udfff": 1', 'a: ["x\\udc00y"]'])
def test_half_a_character_is_refused_where_it_stands(text: str) -> None:
    document, (problem,) = load_document(SourceText("x.yaml", text))
    assert document is None
    assert problem.code == "E0101"


def test_a_huge_file_is_refused_before_it_is_parsed() -> None:
    document, problems = load_document(SourceText("x.yaml", "a: 1\n" * 300_000))
    assert document is None
    assert "larger" in problems[0].message


def test_brackets_without_end_are_refused_at_once() -> None:
    started = time.process_time()
    _, diagnostics = load_document(SourceText("a.yaml", "[" * 5000 + "]" * 5000))
    assert [each.message for each in diagnostics] == ["the file is nested too deeply"]
    assert time.process_time() - started < 1  # the scanner alone takes several seconds


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85"])
def test_lines_are_counted_as_the_reader_counts_them(odd: str) -> None:
    """Of what follows a separator that Unicode calls a line's end, the line that is shown is the one that is meant."""
    source = SourceText("x.yaml", f'a: "x{odd}y"\nb: [1\n')
    _, problems = load_document(source)
    start = problems[0].label.span.start if problems[0].label is not None else None
    assert start is not None
    assert source.line(2) == "b: [1"
    assert start.line >= 2
    assert label_at(source, len(source.text) - 1).span.start == Position(2, 6)
