"""Which node a service gets, where nodes differ in what they can run."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.engines.interface.problem import Problem
from compiler.engines.vllm.pinned import pinned
from compiler.lock.models import Lock
from compiler.solve.budget import Solution
from compiler.solve.stack import attempt_stack
from compiler.spec.models import Spec
from compiler.units import GIB
from tests.properties.test_solver import RELEASE, config, stack

PINNED = pinned(RELEASE)

SMALL = (config(16, 2048, 16, 4, 32), 8, 1, 1)


def gpus(gib: int, capability: str = "9.0", count: int = 1) -> dict[str, Any]:
    return {"gpus": {"memory": f"{gib}GiB", "compute_capability": capability, "count": count}}


def on(nodes: dict[str, Any], *asked: dict[str, Any], model: tuple[Any, ...] = SMALL) -> tuple[Spec, Lock]:
    spec, lock = stack([model for _ in asked], 80 * GIB)
    data = spec.model_dump(mode="json", exclude_unset=True, exclude={"services", "nodes"})
    services = {
        name: {"model": f"example/m{index}", "quantization": "none", "context": "8K", "port": 8000 + index} | keys
        for index, (name, keys) in enumerate(zip(spec.services, asked, strict=True))
    }
    return Spec.model_validate(data | {"nodes": nodes, "services": services}), lock


def seats(found: dict[str, Solution] | tuple[Problem, ...]) -> dict[str, list[str]]:
    assert isinstance(found, dict), found
    return {name: sorted(server.demand.service for server in solution.servers) for name, solution in found.items()}


def problem(found: dict[str, Solution] | tuple[Problem, ...]) -> Problem:
    assert not isinstance(found, dict)
    return found[0]


def test_a_service_goes_where_the_gpus_can_run_it() -> None:
    """Turing has no fp8 KV cache, so the larger card is not the one."""
    asked = {"kv_cache_dtype": "fp8"}
    found = attempt_stack(*on({"old": gpus(80, "7.5"), "new": gpus(24, "8.9")}, asked), PINNED)
    assert seats(found) == {"new": ["s0"]}


def test_what_no_node_can_run_is_refused_for_that() -> None:
    found = attempt_stack(*on({"a": gpus(80, "7.5"), "b": gpus(24, "7.5")}, {"kv_cache_dtype": "fp8"}), PINNED)
    assert problem(found).code == "E0308"


def test_ranks_stay_together() -> None:
    found = attempt_stack(*on({"one": gpus(80), "four": gpus(24, count=4)}, {"tensor_parallel_size": 4}, {}), PINNED)
    assert seats(found) == {"four": ["s0"], "one": ["s1"]}


def test_equal_services_spread_over_equal_nodes() -> None:
    found = attempt_stack(*on({"a": gpus(40), "b": gpus(40)}, {}, {}, {}, {}), PINNED)
    assert {node: len(names) for node, names in seats(found).items()} == {"a": 2, "b": 2}


def test_a_taken_port_sends_a_service_to_another_node() -> None:
    nodes = {"large": gpus(80), "small": gpus(24)}
    both = attempt_stack(*on(nodes, {}, {}), PINNED)
    assert seats(both) == {"large": ["s0", "s1"]}
    apart = attempt_stack(*on(nodes, {"port": 9000}, {"port": 9000}), PINNED)
    assert {len(names) for names in seats(apart).values()} == {1}


def test_earlier_services_move_on_for_later_ones() -> None:
    """The heavy one would take the emptier node, which is the only one that can run the light one."""
    nodes = {"new": gpus(26, "8.9"), "old": gpus(24, "7.5")}
    heavy, light = {"context": "64K"}, {"kv_cache_dtype": "fp8", "context": "64K"}
    found = attempt_stack(*on(nodes, heavy, light, model=(config(32, 4096, 32, 8, 32), 8, 1, 1)), PINNED)
    assert seats(found) == {"new": ["s1"], "old": ["s0"]}


@pytest.mark.parametrize(("pinned", "code"), [("b", "E0401"), (None, None)])
def test_a_named_node_is_binding(pinned: str | None, code: str | None) -> None:
    model = (config(32, 4096, 32, 8, 32), 8, 1, 1)
    found = attempt_stack(*on({"a": gpus(40), "b": gpus(8)}, {"node": pinned}, model=model), PINNED)
    if code is None:
        assert seats(found) == {"a": ["s0"]}
        return
    assert problem(found).code == code
    assert any("remove `node: b`" in remedy.text for remedy in problem(found).remedies)
    assert "node `a`: the spec asks for `b`" in problem(found).notes
    assert any("bytes) short" in note and "node `b`" in note for note in problem(found).notes)


def test_every_node_is_told_when_none_has_room() -> None:
    model = (config(80, 8192, 64, 8, 128), 8, 1, 1)
    told = problem(attempt_stack(*on({"a": gpus(40), "b": gpus(24, count=2)}, {}, model=model), PINNED))
    assert told.code == "E0401"
    assert "does not fit on any of 2 nodes" in told.message
    assert {"a", "b"} <= {note.split("`")[1] for note in told.notes if note.startswith("node `")}


def test_a_service_runs_on_any_machine_of_the_entry_that_it_names() -> None:
    nodes = {"big": gpus(80), "small": gpus(24) | {"count": 2}}
    found = attempt_stack(*on(nodes, {"node": "small"}, {"node": "small"}, {}), PINNED)
    assert seats(found) == {"big": ["s2"], "small-01": ["s0"], "small-02": ["s1"]}


def test_entries_that_have_the_same_cards_are_told_apart() -> None:
    nodes = {"a": gpus(24) | {"count": 2}, "b": gpus(24) | {"count": 2}}
    asked = [{"node": "b"}, {"node": "b"}, {"node": "a-02"}, {}]
    found = attempt_stack(*on(nodes, *asked), PINNED)
    assert seats(found) == {"a-01": ["s3"], "a-02": ["s2"], "b-01": ["s0"], "b-02": ["s1"]}


def test_what_no_machine_of_an_entry_takes_is_counted_over_that_entry() -> None:
    nodes = {"big": gpus(80), "small": gpus(4) | {"count": 2}}
    found = attempt_stack(*on(nodes, {"node": "small", "concurrency": 64}), PINNED)
    assert "does not fit on any of 2 nodes" in problem(found).message
    assert any("remove `node: small`" in remedy.text for remedy in problem(found).remedies)


def test_nodes_that_are_alike_may_differ_in_who_is_named_there() -> None:
    for name in ("a", "b"):
        found = attempt_stack(*on({"a": gpus(24), "b": gpus(24)}, {"node": name}), PINNED)
        assert seats(found) == {name: ["s0"]}
        full = attempt_stack(*on({"a": gpus(4), "b": gpus(4)}, {"node": name, "concurrency": 64}), PINNED)
        assert problem(full).code == "E0401"
