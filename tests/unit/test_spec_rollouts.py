"""A rollout's candidate is a service of its own, and every message about it points at what the file says."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checks.stack import check_spec
from compiler.diagnostics import Diagnostic, Edit, SourceText
from compiler.engines.registry import ENGINES
from compiler.solve.solve import apply_edits, edited_spec
from compiler.spec.reading.load import SpecFile, load_spec
from compiler.spec.rollouts import with_candidates, written_edits, written_path

SPEC = """\
stack: team
engine: {vllm: 0.33.0}
nodes:
  gpu01: {gpus: {model: rtx-pro-6000}}
services:
  chat:
    model: Qwen/Qwen2.5-7B-Instruct
    context: 16K
    port: 8000
    engine_args: {enable_prefix_caching: true}
    rollout:
      strategy: canary
      candidate:
        quantization: awq
        port: 8001
gateway: {port: 8080}
"""


def read(text: str = SPEC) -> SpecFile:
    file, problems = load_spec(SourceText("team.yaml", text), ENGINES)
    assert file is not None, problems
    return file


def problems_of(text: str) -> tuple[Diagnostic, ...]:
    file, problems = load_spec(SourceText("team.yaml", text), ENGINES)
    return problems if file is None else check_spec(file, ENGINES)


def line_of(file: SpecFile, *path: str) -> str:
    return file.document.source.line(file.at(*path).span.start.line).strip()


def test_the_candidate_inherits_what_it_does_not_change() -> None:
    spec = read().spec
    assert list(spec.services) == ["chat", "chat-candidate"]
    stable, candidate = spec.services.values()
    assert (candidate.model, candidate.context) == (stable.model, stable.context)
    assert candidate.engine_args == stable.engine_args
    assert (candidate.quantization, candidate.port) == (("awq",), 8001)
    assert candidate.rollout is None
    assert (stable.served_name, candidate.served_name) == (None, "chat"), "clients ask for one model"
    assert (spec.candidate_of("chat"), spec.candidate_of("chat-candidate")) == (None, "chat")


def test_places_are_those_of_the_file() -> None:
    file = read()
    assert line_of(file, "services", "chat-candidate", "port") == "port: 8001"
    assert line_of(file, "services", "chat-candidate", "context") == "context: 16K", "an inherited key is the stable's"
    assert line_of(file, "services", "chat-candidate", "share") == "quantization: awq", "a key nobody gave"
    assert line_of(file, "services", "chat", "port") == "port: 8000"


def test_a_remedy_changes_the_candidate_and_not_the_other_revision() -> None:
    file = read()
    edit = Edit(("services", "chat-candidate", "context"), "8K")
    (written,) = written_edits(file.document.data, (edit,))
    assert written.path == ("services", "chat", "rollout", "candidate", "context")
    changed = edited_spec(file.document.data, (edit,))
    assert changed is not None
    assert changed.services["chat-candidate"].context.least == 8192
    assert changed.services["chat"].context.least == 16384
    assert apply_edits(file.document.data, (edit,)) == apply_edits(file.document.data, (written,))


def test_one_port_for_both_revisions_is_refused_at_the_inherited_key_with_a_remedy_that_works() -> None:
    text = SPEC.replace("        port: 8001\n", "")
    (diagnostic,) = [each for each in problems_of(text) if each.code == "E0205"]
    assert diagnostic.helps[0].edits == (Edit(("services", "chat", "rollout", "candidate", "port"), 8001),)
    changed = edited_spec(read(text).document.data, diagnostic.helps[0].edits)
    assert changed is not None
    assert changed.services["chat-candidate"].port == 8001


def test_an_unknown_key_of_the_candidate_is_found_where_it_stands() -> None:
    (diagnostic,) = problems_of(SPEC.replace("quantization: awq", "quantisation: awq"))
    assert (diagnostic.code, diagnostic.message) == ("E0201", "unknown key `quantisation`")
    assert diagnostic.label is not None
    assert diagnostic.label.span.start.line == 14
    assert "did you mean `quantization`?" in diagnostic.helps[0].text


def test_a_wrong_value_of_the_candidate_is_found_where_it_stands() -> None:
    (diagnostic,) = problems_of(SPEC.replace("port: 8001", "port: high"))
    assert diagnostic.code == "E0203"
    assert diagnostic.label is not None
    assert diagnostic.label.span.start.line == 15


@pytest.mark.parametrize("data", [None, 1, [], {}, {"services": 1}, {"services": {"a": 1}}, {"services": {1: {}}}])
def test_what_is_no_spec_is_left_to_the_validator(data: Any) -> None:
    assert with_candidates(data) == data
    assert written_path(data, ("services", "a-candidate", "port")) == ("services", "a-candidate", "port")


def test_a_service_that_only_sounds_like_a_candidate_is_one_of_its_own() -> None:
    data = {"services": {"chat": {}, "chat-candidate": {"port": 1}}}
    assert with_candidates(data) == data
    assert written_path(data, ("services", "chat-candidate", "port")) == ("services", "chat-candidate", "port")
