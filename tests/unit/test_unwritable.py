"""What no emitted file can hold ends in a diagnostic with a place, and in no file."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from compiler import pipeline
from compiler.pipeline import compile_stack
from compiler.render.quoting import QuotingError
from compiler.targets.faithful import UnfaithfulError

STACK = Path(__file__).parents[2] / "stacks/tiny-cpu.yaml"


@pytest.mark.parametrize("error", [QuotingError("'a\\x00b' holds a NUL character"), UnfaithfulError("bin/x: lost")])
def test_a_word_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(pipeline, "check_own", fail)
    compiled, found = compile_stack(STACK, "tiny-cpu.yaml")

    assert compiled is None
    (told,) = [diagnostic for diagnostic in found if diagnostic.code == "E0316"]
    assert told.label is not None
    assert told.notes == (str(error),)
