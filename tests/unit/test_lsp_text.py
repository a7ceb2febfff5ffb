"""Where a position of a spec stands, also while it is no YAML, and how an edit is written into its text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.cli.lsp.text import difference, keys_of, rewritten, spot_at
from compiler.diagnostics import Edit, SourceText
from compiler.source.document import load_document
from tests.conftest import ROOT

SPECS = sorted(path for path in (ROOT / "stacks").glob("*.yaml") if ".lock." not in path.name)
CASES = [folder / f"{folder.name}.yaml" for folder in sorted((ROOT / "tests" / "cases" / "errors").iterdir())]

# The text up to the cursor, the path, and whether a key is written there.
SPOTS = [
    ("", (), True),
    ("sta", (), True),
    ("stack: ", ("stack",), False),
    ("stack: x\n", (), True),
    ("services:\n  a:\n    ", ("services", "a"), True),
    ("services:\n  a:\n    model: x\n  ", ("services",), True),
    ("services:\n  a:\n    model: x\npol", (), True),
    ("services:\n  a:\n    engine_args: {seed: 1, ", ("services", "a", "engine_args"), True),
    ("services:\n  a:\n    engine_args: {seed: ", ("services", "a", "engine_args", "seed"), False),
    ("services:\n  a: {model: x,\n      con", ("services", "a"), True),
    ("services: {a: {model: x}, b: {", ("services", "b"), True),
    ("nodes: {n: {gpus: {model: x, uuids: [a, ", ("nodes", "n", "gpus", "uuids"), False),
    ("targets:\n- ", ("targets",), False),
    ("targets:\n  - scripts\n  - sys", ("targets",), False),
    ("targets: [scripts]\n", (), True),
    ("nodes: {n: {gpus: {model: x\nservices:\n  ", ("services",), True),
    ('stack: "a: {b', ("stack",), False),
    ("stack: it's [x\npo", (), True),
    ("services:\n  a:\n    model: hf.co/x:y", ("services", "a", "model"), False),
    ("a: 1 # {b: \n", (), True),
]


@pytest.mark.parametrize(("before", "path", "is_key"), SPOTS)
def test_a_position_is_known_by_what_is_before_it(before: str, path: tuple[str, ...], is_key: bool) -> None:
    spot = spot_at(before + "\nrest: {", len(before))
    assert spot is not None
    assert (spot.path, spot.is_key) == (path, is_key)


@pytest.mark.parametrize("before", ["# a: ", "a: 1 # ", "a: {b: 1, # c"])
def test_a_comment_is_no_place(before: str) -> None:
    assert spot_at(before, len(before)) is None


@pytest.mark.parametrize("path", [*SPECS, *CASES], ids=lambda path: path.stem)
def test_keys_are_those_that_yaml_reads(path: Path) -> None:
    text = path.read_text()
    document, _ = load_document(SourceText("", text))
    if document is None:
        return
    wanted = {
        tuple(part for part in place if isinstance(part, str)): at.key
        for place, at in document.places.items()
        if at.key
    }
    found = {key.path: text[: key.start].count("\n") + 1 for key in keys_of(text)}
    assert found == {place: key.start.line for place, key in wanted.items()}


@given(st.text(alphabet="ab:,-#'\"[]{} \n\t\r\u2028😀"), st.integers(0, 40))
def test_any_text_has_places(text: str, at: int) -> None:
    keys_of(text)
    spot_at(text, min(at, len(text)))


@given(st.text(alphabet="ab\n", max_size=12), st.text(alphabet="ab\n", max_size=12))
def test_a_difference_makes_one_text_of_another(old: str, new: str) -> None:
    start, end, words = difference(old, new)
    assert old[:start] + words + old[end:] == new
    assert (start == end and not words) is (old == new)


WRITTEN = [
    ("a: 1 # one\nb: 2\n", (Edit(("a",), 3),), "a: 3 # one\nb: 2\n"),
    ("a: 1\n# of b\nb: 2\n", (Edit(("a",), None),), "# of b\nb: 2\n"),
    ("a:\n  x: 1 # one\n\n# of b\nb: 2\n", (Edit(("a",), None),), "\n# of b\nb: 2\n"),
    ("a:\n  x: 1\nb: 2\n", (Edit(("a", "x"), None),), "a: {}\nb: 2\n"),
    ("a: {x: 1, y: 2}\n", (Edit(("a", "x"), None),), "a: {y: 2}\n"),
    ("a: {x: 1, y: 2}\n", (Edit(("a", "y"), None),), "a: {x: 1}\n"),
    ("a: {x: 1}\n", (Edit(("a", "x"), None),), "a: {}\n"),
    ("a: {x: 1 }\n", (Edit(("a", "y"), "no"),), "a: {x: 1, y: no }\n"),
    ("a:\n  x: 1 # one\n# of b\nb: 2\n", (Edit(("a", "y"), "1"),), 'a:\n  x: 1 # one\n  y: "1"\n# of b\nb: 2\n'),
    ("a: 1", (Edit(("b", "c"), ("x", "y z")),), "a: 1\nb: {c: [x, y z]}"),
    ("a:\n  - x\n  - y\nb: 2\n", (Edit(("a",), ("x",)),), "a:\n  [x]\nb: 2\n"),
    ("a: [x, y]\n", (Edit(("a", 1), "z"),), "a: [x, z]\n"),
    ("a:\nb: 2\n", (Edit(("a",), "x"),), "a: x\nb: 2\n"),
    ("a:\n  xx: 1 # one\n  y: 2\n", (Edit(("a", "xx"), None), Edit(("a", "x"), 1)), "a:\n  x: 1 # one\n  y: 2\n"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "edits", "wanted"), WRITTEN)
def test_an_edit_leaves_all_else_as_it_was(text: str, edits: tuple[Edit, ...], wanted: str) -> None:
    assert rewritten(text, edits) == wanted


@pytest.mark.parametrize("text", ["a: [1\n", "a: 1\na: 2\n", ""])
def test_what_is_no_yaml_takes_no_edit(text: str) -> None:
    assert rewritten(text, (Edit(("b",), 1),)) is None
