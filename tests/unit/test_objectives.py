"""How fast a service is to be, against what is estimated: what is out of reach, doubtful, unknown or no question."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.diagnostics import Diagnostic
from compiler.pipeline import Compiled, compile_stack
from compiler.plan.speed import lengths
from compiler.spec.objectives import ObjectivesSpec
from compiler.spec.services import ServiceSpec

CASE = Path(__file__).parents[1] / "cases" / "errors" / "objectives"
Compile = Callable[..., tuple[Compiled | None, tuple[Diagnostic, ...]]]


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    """Compiles the case with some of its text exchanged."""

    def compile_with(*changes: tuple[str, str]) -> tuple[Compiled | None, tuple[Diagnostic, ...]]:
        shutil.copytree(CASE, tmp_path, dirs_exist_ok=True)
        path = tmp_path / "objectives.yaml"
        text = path.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)
        return compile_stack(path, path.name)

    return compile_with


def codes(found: tuple[Diagnostic, ...]) -> list[str]:
    """Of what is said about objectives."""
    return [each.code for each in found if each.code in ("E0219", "E0405", "E0406", "W0401", "W0402")]


MODEST = (("ttft_p95: 10ms", "ttft_p95: 60s"), ("tokens_per_second: 90", "tokens_per_second: 5"))


def test_what_is_kept_is_not_spoken_of_and_stands_in_the_plan(compiled: Compile) -> None:
    stack, found = compiled(*MODEST)
    assert stack is not None
    assert codes(found) == []
    asked = stack.plan.services[0].objectives
    assert asked is not None
    assert (asked.ttft_p95, asked.tokens_per_second) == (60.0, 5.0)


@pytest.mark.parametrize(("asked", "code"), [(1, None), (48, "W0401"), (5000, "E0406")])
def test_an_interval_that_straddles_warns_and_one_beyond_refuses(
    compiled: Compile, asked: int, code: str | None
) -> None:
    stack, found = compiled(("ttft_p95: 10ms", "ttft_p95: 60s"), ("second: 90", f"second: {asked}"))
    assert codes(found) == ([code] if code else [])
    assert (stack is None) == (code == "E0406")


def test_fewer_requests_at_once_are_offered_where_they_help_and_only_there(compiled: Compile) -> None:
    _, found = compiled(("ttft_p95: 10ms", "ttft_p95: 60s"))
    (refused,) = [each for each in found if each.code == "E0406"]
    fewer, value = refused.helps
    assert fewer.edits[0].path[-1] == "concurrency"
    assert 1 <= int(str(fewer.edits[0].value)) < 64
    assert value.edits[0].path[-1] == "tokens_per_second"
    _, found = compiled(("ttft_p95: 10ms", "ttft_p95: 60s"), ("second: 90", "second: 5000"))
    (refused,) = [each for each in found if each.code == "E0406"]
    assert [help_.edits[0].path[-1] for help_ in refused.helps] == ["tokens_per_second"]
    assert any("a request that is alone" in note for note in refused.notes)


def test_of_a_slice_of_a_gpu_nothing_is_known_which_is_said_once_for_each(compiled: Compile) -> None:
    slice_ = "{gpus: {model: a100-80gb, mig: 3g.40gb, uuids: [MIG-0a1b2c3d-0000-0000-0000-000000000000]}}"
    _, found = compiled(("{gpus: {model: rtx-pro-6000}}", slice_), ("concurrency: 64", "concurrency: 2"))
    assert codes(found) == ["W0402", "W0402"]


def test_what_reads_texts_has_no_tokens_to_wait_for(compiled: Compile) -> None:
    _, found = compiled(("    port: 8000", "    port: 8000\n    task: embed"))
    assert "E0219" in codes(found)


def test_requests_longer_than_the_context_are_none_that_an_objective_can_be_for(compiled: Compile) -> None:
    _, found = compiled(("      ttft_p95: 10ms", "      prompt_tokens: 2K"))
    (refused,) = [each for each in found if each.code == "E0405"]
    assert "2048 + 256 = 2304 tokens, its context 2048" in refused.notes[0]
    assert sum(int(str(edit.value)) for edit in refused.helps[0].edits) == 2048


@pytest.mark.parametrize("value", ["2", "2h", "-1s", "0s", ".s", "99999s", "[1s]", "true"])
def test_a_time_has_a_number_and_a_unit(compiled: Compile, value: str) -> None:
    """A bare 2 may be meant as seconds or as milliseconds."""
    _, found = compiled(("ttft_p95: 10ms", f"ttft_p95: {value}"))
    assert [each.code for each in found][:1] == ["E0203"]


@given(st.integers(1, 131072), st.integers(1, 131072), st.integers(2, 131072))
def test_speeds_are_told_of_requests_that_the_server_takes(prompt: int, answer: int, longest: int) -> None:
    asked = ObjectivesSpec(prompt_tokens=prompt, answer_tokens=answer)
    spec = ServiceSpec.model_construct(objectives=asked)
    told = lengths(spec, longest)
    assert min(told) >= 1
    assert sum(told) <= longest
    if prompt + answer <= longest:
        assert told == (prompt, answer)
