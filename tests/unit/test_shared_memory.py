"""GB10 and its kind: one memory for CPU and GPU. A server that takes too much of it hangs the whole machine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.catalog.hardware.gpus import GPUS, shares_memory
from compiler.checks.stack import check_spec
from compiler.diagnostics import SourceText
from compiler.engines.registry import ENGINES
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.ledger import RowKind, Verdict
from compiler.solve.attempt import attempt
from compiler.solve.budget import UTILIZATION_STEPS, Solution
from compiler.solve.solve import apply_edits
from compiler.spec.reading.load import load_spec
from compiler.targets.readme.tables import device_table
from compiler.units import GIB
from tests.unit.test_memory import QWEN_32B
from tests.unit.test_solve_pipeline import RELEASE, TEXT, codes, problems, question, solved

GB10 = GPUS["gb10"]
# What was still said to be free when vLLM first looked, of 121.69 GiB.
FREE_AT_START = 101.3 / 121.69
ROWS = ("processes of the server", "page cache of the weights")


def deep(layers: int) -> dict[str, Any]:
    """Some 0.9 GiB of weights a layer, and 2.9 besides."""
    return QWEN_32B | {"num_hidden_layers": layers}


def within_margin(card: dict[str, Any], config: dict[str, Any], **service: Any) -> Solution:
    spec, lock = question(card, config, **service)
    policy = spec.policy.model_copy(update={"margin": "allow"})
    found = attempt(spec.model_copy(update={"policy": policy}), lock, pinned(RELEASE))
    assert isinstance(found, Solution), found
    return found


def kv_bytes(solution: Solution) -> int:
    (server,) = solution.servers
    return server.units * server.demand.ranks[0].unit_bytes


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 34))
def test_what_is_proven_leaves_room_for_the_weights_twice(layers: int) -> None:
    """Mapped files of the weights, the server's processes and the system lie in the same memory."""
    solution, _ = solved({"model": "gb10"}, deep(layers))
    (ledger,) = solution.ledgers
    rows = {row.title: row for row in ledger.servers[0].rows}
    assert ledger.reserve >= GB10.memory * (1 - FREE_AT_START)
    assert rows[ROWS[0]].bytes.high >= 6.7 * GIB - 1
    assert rows[ROWS[1]].bytes.high >= rows["weights"].bytes.high
    assert all(rows[title].source and rows[title].kind is RowKind.OUTSIDE for title in ROWS)
    assert ledger.used.high <= ledger.total


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 34))
def test_no_proof_goes_beyond_what_served_in_every_report(layers: int) -> None:
    solution, _ = solved({"model": "gb10"}, deep(layers))
    assert solution.verdict is Verdict.FITS
    assert solution.servers[0].utilization <= 0.6 * UTILIZATION_STEPS


def test_a_model_of_half_the_memory_is_not_proven_to_fit() -> None:
    """A GB10 hung with 48 GiB of weights at a utilization of 0.70; a card of its own serves the same easily."""
    weights = deep(48)
    assert [problem.code for problem in problems({"model": "gb10"}, weights)] == ["E0402"]
    solution, _ = solved({"model": "rtx-pro-6000"}, weights)
    assert solution.verdict is Verdict.FITS


def test_within_the_margin_the_cache_is_no_larger_than_asked_for() -> None:
    weights = deep(48)
    solution = within_margin({"model": "gb10"}, weights)
    demand = solution.servers[0].demand
    assert solution.verdict is Verdict.MARGIN
    assert kv_bytes(solution) == demand.least_units * demand.layout.bytes_per_block


@pytest.mark.parametrize(
    "card",
    [
        {"model": "gb10"},
        {"model": "gb10", "memory": "121.69GiB"},
        {"model": "my-spark", "memory": "119.63GiB", "compute_capability": "12.1"},
        {"model": "my-orin", "memory": "59.9GiB", "compute_capability": "8.7"},
    ],
)
def test_it_is_known_by_its_compute_capability(card: dict[str, Any]) -> None:
    solution, _ = solved(card, deep(4))
    (ledger,) = solution.ledgers
    assert {row.title for row in ledger.servers[0].rows} >= set(ROWS)
    assert ledger.reserve > 0.17 * ledger.total


def test_the_reserve_is_not_said_to_be_the_spec_s_alone() -> None:
    for card, source in (("gb10", "the spec, and what the system holds"), ("l4", "the spec")):
        _, plan = solved({"model": card}, deep(4))
        table = device_table(plan, plan.devices[0])
        said = table.notes[int(str(table.rows[0][-1])) - 1]
        assert said.startswith(source)
        assert ("system" in said) == (card == "gb10")


def test_a_larger_reserve_wins_and_a_smaller_one_does_not() -> None:
    spec, lock = question({"model": "gb10"}, deep(4))
    for asked, kept in ((40 * GIB, 40 * GIB), (GIB, GB10.system_memory)):
        node = spec.nodes["n"].model_copy(update={"reserve": asked})
        found = attempt(spec.model_copy(update={"nodes": {"n": node}}), lock, pinned(RELEASE))
        assert isinstance(found, Solution)
        assert found.ledgers[0].reserve == kept


def test_cards_with_memory_of_their_own_have_none_of_it() -> None:
    assert [gpu.name for gpu in GPUS.values() if gpu.system_memory] == ["gb10"]
    for card in ("gh200-96gb", "rtx-pro-6000", "l4"):
        assert not shares_memory(GPUS[card].compute_capability)
        solution, _ = solved({"model": card}, deep(4))
        assert solution.ledgers[0].reserve == 0
        assert not {row.title for row in solution.ledgers[0].servers[0].rows} & set(ROWS)


def test_batches_are_as_small_as_the_engine_s() -> None:
    """GB10 has the memory of a large GPU and not its speed (vllm/engine/arg_utils.py:get_batch_defaults)."""
    limits = RELEASES["0.33.0"].batch_limits(GB10.memory, GB10.title, GB10.compute_capability)
    assert (limits.max_num_batched_tokens, limits.max_num_seqs) == (2048, 256)
    solution, _ = solved({"model": "gb10"}, deep(4))
    assert solution.servers[0].demand.shape.max_num_batched_tokens == 2048
    discrete, _ = solved({"model": "rtx-pro-6000"}, deep(4))
    assert discrete.servers[0].demand.shape.max_num_batched_tokens == 8192


def test_whoever_names_such_a_machine_is_told() -> None:
    for gpus in ("{model: gb10}", '{model: spark, memory: 119.63GiB, compute_capability: "12.1"}'):
        assert [code for code, _ in codes(gpus) if code.startswith("W")] == ["W0203"]
    assert [code for code, _ in codes("{model: rtx-pro-6000}") if code.startswith("W")] == []


@pytest.mark.parametrize(
    ("memory", "warned"),
    [("16GiB", True), ("24576MiB", True), ("1TiB", True), ("15.67GiB", False), ("16GB", False), ("16376MiB", False)],
)
def test_a_round_memory_is_the_number_on_the_box(memory: str, warned: bool) -> None:
    found = codes(f'{{model: my-card, memory: {memory}, compute_capability: "8.9"}}')
    assert [code for code, _ in found if code == "W0202"] == ["W0202"] * warned


def test_the_number_on_the_box_of_a_known_card_can_be_taken_away() -> None:
    text = TEXT.format(gpus="{model: rtx-4090, memory: 24GiB}", service="")
    file, _ = load_spec(SourceText("x.yaml", text), ENGINES)
    assert file is not None
    (warning,) = (found for found in check_spec(file, ENGINES) if found.code == "W0202")
    (help_,) = warning.helps
    changed = json.dumps(apply_edits(file.document.data, help_.edits))
    mended, _ = load_spec(SourceText("x.yaml", changed), ENGINES)
    assert mended is not None
    assert mended.spec.nodes["n"].gpus is not None
    assert mended.spec.nodes["n"].gpus.memory is None
    assert not [found for found in check_spec(mended, ENGINES) if found.code == "W0202"]
