"""Machines that one entry counts are nodes of their own, and every message points at the entry that the file has."""

from __future__ import annotations

import pytest

from compiler.checks.stack import check_spec
from compiler.diagnostics import Diagnostic, Edit, SourceText
from compiler.engines.registry import ENGINES
from compiler.solve.solve import apply_edits, edited_spec
from compiler.spec.nodes.counted import MOST_NODES, counted_names
from compiler.spec.reading.load import SpecFile, load_spec
from compiler.spec.rollouts import written_edits

SPEC = """\
stack: fleet
engine: {vllm: 0.33.0}
nodes:
  gpu: {count: 3, gpus: {model: a10, count: 2}, reserve: 1GiB}
  big: {gpus: {model: h100-80gb}}
services:
  chat: {model: Qwen/Qwen2.5-7B-Instruct, context: 16K, port: 8000, node: gpu}
  code: {model: Qwen/Qwen2.5-7B-Instruct, context: 16K, port: 8001, node: gpu-02}
"""


def read(text: str = SPEC) -> SpecFile:
    file, problems = load_spec(SourceText("fleet.yaml", text), ENGINES)
    assert file is not None, problems
    return file


def problems_of(text: str) -> tuple[Diagnostic, ...]:
    file, problems = load_spec(SourceText("fleet.yaml", text), ENGINES)
    return problems if file is None else check_spec(file, ENGINES)


def test_every_machine_is_a_node_in_the_order_of_the_file() -> None:
    spec = read().spec
    assert list(spec.nodes) == ["gpu-01", "gpu-02", "gpu-03", "big"]
    assert list(spec.written_nodes) == ["gpu", "big"]
    assert spec.members()["gpu"] == ("gpu-01", "gpu-02", "gpu-03")
    assert spec.members()["gpu-02"] == ("gpu-02",)
    assert problems_of(SPEC) == ()


@pytest.mark.parametrize(("count", "last"), [(1, "n-01"), (64, "n-64"), (100, "n-100"), (1000, "n-1000")])
def test_names_sort_as_they_count(count: int, last: str) -> None:
    names = counted_names("n", count)
    assert (len(names), names[-1], sorted(names)) == (count, last, names)


def test_places_and_edits_are_those_of_the_entry() -> None:
    file = read()
    assert file.at("nodes", "gpu-03", "reserve").span == file.at("nodes", "gpu", "reserve").span
    (written,) = written_edits(file.document.data, (Edit(("nodes", "gpu-03", "reserve"), "2GiB"),))
    assert written.path == ("nodes", "gpu", "reserve")
    changed = edited_spec(file.document.data, (Edit(("nodes", "gpu-03", "gpus", "count"), 4),))
    assert changed is not None
    assert {node.gpus.count for name, node in changed.nodes.items() if node.gpus and name != "big"} == {4}


def test_each_machine_has_its_own_of_the_listed_cards() -> None:
    uuids = [f"GPU-00000000-0000-0000-0000-{number:012x}" for number in range(6)]
    text = SPEC.replace("count: 2}", f"count: 2, uuids: [{', '.join(uuids)}]}}")
    nodes = read(text).spec.nodes
    assert [node.gpus.uuids for node in nodes.values() if node.gpus][:3] == [
        tuple(uuids[first : first + 2]) for first in (0, 2, 4)
    ]
    (short,) = problems_of(text.replace(f", {uuids[5]}", ""))
    assert short.code == "E0203", "five cards are not those of three machines with two"


def test_what_is_wrong_with_an_entry_is_told_once() -> None:
    (problem,) = problems_of(SPEC.replace("model: a10", "model: a1000"))
    assert (problem.code, problem.label.span.start.line if problem.label else 0) == ("E0206", 4)
    (problem,) = problems_of(SPEC.replace("reserve: 1GiB", "reserve: 1"))
    assert problem.code == "E0204"


def test_a_service_cannot_name_a_machine_beyond_the_last() -> None:
    (problem,) = problems_of(SPEC.replace("node: gpu-02", "node: gpu-04"))
    assert problem.code == "E0209"
    assert [help_.text for help_ in problem.helps][:2] == ["write `node: gpu`", "write `node: big`"]


def test_ports_are_shared_only_when_there_are_more_services_than_machines() -> None:
    more = "".join(
        f"  s{number}: {{model: Qwen/Qwen2.5-7B-Instruct, context: 4K, port: 8000, node: gpu}}\n" for number in range(3)
    )
    assert problems_of(SPEC + "".join(more.splitlines(keepends=True)[:2])) == ()
    (problem,) = problems_of(SPEC + more)
    assert problem.code == "E0205"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  big:", "  gpu-02:"),
        ("count: 3,", f"count: {MOST_NODES},"),
        ("  gpu: {", f"  {'g' * 40}: {{"),
    ],
)
def test_machines_without_a_name_of_their_own_are_refused(before: str, after: str) -> None:
    text = SPEC.replace(before, after).replace("node: gpu-02", "node: big").replace(", node: gpu}", "}")
    text = text.replace(", node: big", "")
    (problem,) = [problem for problem in problems_of(text) if problem.code == "E0240"]
    for help_ in problem.helps:
        if help_.edits:
            data = apply_edits(read(text).document.data, help_.edits)
            assert edited_spec(data, ()) is not None


def test_a_count_that_is_none_is_told_at_its_place() -> None:
    (problem,) = problems_of(SPEC.replace("count: 3", "count: 0"))
    assert (problem.code, problem.label.span.start.line if problem.label else 0) == ("E0203", 4)


@pytest.mark.parametrize(
    ("address", "each"),
    [
        ("10.0.0.254", ["10.0.0.254", "10.0.0.255", "10.0.1.0"]),
        ("fd00::9", ["fd00::9", "fd00::a", "fd00::b"]),
        ("[10.0.0.7, 10.0.0.5, 10.0.9.1]", ["10.0.0.7", "10.0.0.5", "10.0.9.1"]),
    ],
)
def test_addresses_count_on_from_the_first_or_are_those_of_the_list(address: str, each: list[str]) -> None:
    text = SPEC.replace("reserve: 1GiB", f"address: '{address}'" if address[0] != "[" else f"address: {address}")
    assert [node.address for node in read(text).spec.nodes.values()][:3] == each
    assert problems_of(text) == ()


@pytest.mark.parametrize(
    ("address", "code"), [("[10.0.0.7, 10.0.0.5]", "E0240"), ("localhost", "E0230"), ("255.255.255.254", "E0230")]
)
def test_addresses_that_are_not_one_for_each_machine_are_refused_once(address: str, code: str) -> None:
    found = problems_of(SPEC.replace("reserve: 1GiB", f"address: {address}"))
    assert [problem.code for problem in found if problem.code == code][:1] == [code]
    assert len({problem.message for problem in found}) == len(found)
