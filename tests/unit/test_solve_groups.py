"""One server over several machines: which nodes it gets, and what each of them holds."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.engines.vllm.degrees import Degrees
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.solve.budget import Server, Solution
from compiler.solve.stack import attempt_stack, compiles
from tests.properties.test_solver import RELEASE, config
from tests.unit.test_solve_nodes import gpus, on, problem, seats

PINNED = pinned(RELEASE)
# 36 layers, about 31 GiB in 16 bits: too much for one of these machines and enough for two.
LARGE = (config(36, 6144, 48, 8, 128), 8, 1, 1)


FIND = [{"address": f"10.0.0.{number}", "interface": "eth1"} for number in (1, 2)]


def nodes(*counts: int, gib: int = 12) -> dict[str, Any]:
    """Machines that find each other, each with so many GPUs."""
    return {
        f"n{number}": gpus(gib, "8.9", count) | {"address": f"10.0.0.{number}", "interface": "eth1"}
        for number, count in enumerate(counts, start=1)
    }


def solved(found: object) -> dict[str, Solution]:
    assert isinstance(found, dict), found
    return found


def only(solution: Solution) -> Server:
    (server,) = solution.servers
    return server


def test_what_is_too_large_for_a_machine_runs_on_two() -> None:
    spec, lock = on(nodes(2, 2), {}, model=LARGE)
    lacking = problem(attempt_stack(spec.model_copy(update={"targets": ("systemd",)}), lock, PINNED))
    assert lacking.code == "E0401"
    assert any(remedy.text.startswith("`machines: 2` for `s0`") for remedy in lacking.remedies)
    found = solved(attempt_stack(*on(nodes(2, 2), {"machines": 2}, model=LARGE), PINNED))
    assert seats(found) == {"n1": ["s0"], "n2": ["s0"]}
    for solution in found.values():
        assert only(solution).nodes == ("n1", "n2")
        assert only(solution).devices == (0, 1)
        assert [ledger.index for ledger in solution.ledgers] == [0, 1]


def test_each_machine_has_the_ledger_of_its_own_stage_and_all_have_as_many_blocks() -> None:
    """The first stage holds the embeddings, the last one the output head: their bytes differ, their blocks do not."""
    found = solved(attempt_stack(*on(nodes(2, 2), {"machines": 2}, model=LARGE), PINNED))
    first, last = found["n1"], found["n2"]
    assert only(first).units == only(last).units > 0
    assert first.ledgers[0].servers != last.ledgers[0].servers
    assert all(ledger.slack >= 0 for solution in found.values() for ledger in solution.ledgers)


def test_layers_are_split_inside_a_machine_and_stages_are_machines() -> None:
    found = solved(attempt_stack(*on(nodes(4, 4), {"machines": 2}, model=LARGE), PINNED))
    assert only(found["n1"]).demand.division == Degrees(4, 2, 2)
    assert str(only(found["n1"]).demand.division) == "8 GPUs in 2 pipeline stages of 2 machines"


@pytest.mark.parametrize(
    ("asked", "division"),
    [
        ({"tensor_parallel_size": 2}, Degrees(2, 4, 2)),
        ({"pipeline_parallel_size": 4}, Degrees(2, 4, 2)),
        ({"tensor_parallel_size": 8, "split_over_network": True}, Degrees(8, 1, 2)),
        ({"gpus": [1, 3]}, Degrees(2, 2, 2)),
    ],
)
def test_the_spec_decides_how_a_model_is_divided(asked: dict[str, Any], division: Degrees) -> None:
    found = solved(attempt_stack(*on(nodes(4, 4, gib=16), {"machines": 2, "node": "n1"} | asked, model=LARGE), PINNED))
    assert only(found["n1"]).demand.division == division
    assert len(only(found["n2"]).devices) == division.gpus_each
    if "gpus" in asked:
        assert only(found["n2"]).devices == tuple(asked["gpus"])


def test_parts_of_a_layer_cross_the_network_only_where_the_spec_says_so() -> None:
    found = attempt_stack(*on(nodes(4, 4), {"machines": 2, "tensor_parallel_size": 8}, model=LARGE), PINNED)
    assert problem(found).code == "E0404"
    assert "split_over_network" in " ".join(problem(found).notes)


def test_messages_over_the_network_have_a_row() -> None:
    titles = {}
    for asked in ({"machines": 2}, {"machines": 2, "tensor_parallel_size": 8, "split_over_network": True}):
        solution = solved(attempt_stack(*on(nodes(4, 4), asked, model=LARGE), PINNED))["n1"]
        rows = {row.title: row for row in solution.ledgers[0].servers[0].rows}
        titles[len(asked)] = rows["network buffers"].bytes.high
    assert 0 < titles[1] < titles[3]


def test_a_server_has_its_machines_to_itself() -> None:
    spec, lock = on(nodes(2, 2, 2), {"machines": 2}, {}, {})
    assert seats(attempt_stack(spec, lock, PINNED)) == {"n1": ["s0"], "n2": ["s0"], "n3": ["s1", "s2"]}
    crowded, lock = on(nodes(2, 2), {"machines": 2}, {})
    assert problem(attempt_stack(crowded, lock, PINNED)).code == "E0209"
    assert not compiles(crowded, lock, PINNED)


def test_nodes_that_others_name_are_theirs() -> None:
    spec, lock = on(nodes(2, 2, 2), {"machines": 2}, {"node": "n1"})
    assert seats(attempt_stack(spec, lock, PINNED)) == {"n1": ["s1"], "n2": ["s0"], "n3": ["s0"]}


def test_the_node_that_a_server_names_answers() -> None:
    found = solved(attempt_stack(*on(nodes(2, 2, 2), {"machines": 2, "node": "n3"}), PINNED))
    assert only(found["n3"]).nodes == ("n3", "n1")


def test_two_servers_do_not_share_a_machine() -> None:
    spec, lock = on(nodes(2, 2, 2, 2), {"machines": 2}, {"machines": 2})
    assert seats(attempt_stack(spec, lock, PINNED)) == {"n1": ["s0"], "n2": ["s0"], "n3": ["s1"], "n4": ["s1"]}
    too_many, lock = on(nodes(2, 2, 2), {"machines": 2}, {"machines": 2})
    assert problem(attempt_stack(too_many, lock, PINNED)).code == "E0209"


def test_machines_that_differ_are_no_group() -> None:
    """Nodes of another kind are tried where those of the first are too small."""
    small, large = nodes(1, 1, gib=6), nodes(2, 2, 2, 2)
    mixed = small | {name: large[name] for name in ("n3", "n4")}
    found = attempt_stack(*on(mixed, {"machines": 2}, model=LARGE), PINNED)
    assert seats(found) == {"n3": ["s0"], "n4": ["s0"]}


def test_nodes_without_an_address_are_left_out() -> None:
    lonely = {"a": gpus(12, "8.9", 2)} | nodes(2, 2)
    assert seats(attempt_stack(*on(lonely, {"machines": 2}), PINNED)) == {"n1": ["s0"], "n2": ["s0"]}


def test_a_group_of_ten_follows_the_numbers_of_its_machines() -> None:
    spec, lock = on(nodes(*[1] * 11), {"machines": 3})
    reversed_spec = spec.model_copy(update={"nodes": dict(reversed(spec.nodes.items()))})
    for each in (spec, reversed_spec):
        assert only(next(iter(solved(attempt_stack(each, lock, PINNED)).values()))).nodes == ("n1", "n2", "n3")


def test_what_fits_on_no_two_machines_says_by_how_much() -> None:
    spec, lock = on(nodes(2, 2, gib=6), {"machines": 2}, model=LARGE)
    found = problem(attempt_stack(spec, lock, PINNED))
    assert found.code == "E0401"
    assert any("bytes) short" in note for note in found.notes)


def test_stages_on_cpus_do_not_run_eagerly() -> None:
    """vLLM 0.32.0 would turn healthy and die of the first request."""
    machines = {f"n{number}": {"cpu": {"memory": "8GiB"}} | find for number, find in enumerate(FIND, start=1)}
    asked = {"machines": 2, "engine_args": {"enforce_eager": True}}
    spec, lock = on(machines, asked)
    cpu = pinned(RELEASES["0.32.0"])
    found = problem(attempt_stack(spec, lock, cpu))
    assert (found.code, "enforce_eager" in " ".join((found.message, *found.notes))) == ("E0404", True)
    compiled = spec.model_copy(update={"services": {"s0": spec.services["s0"].model_copy(update={"engine_args": {}})}})
    assert seats(attempt_stack(compiled, lock, cpu)) == {"n1": ["s0"], "n2": ["s0"]}
