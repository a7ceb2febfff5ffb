"""What the solver finds where a spec says `max`: as much as fits, and not a block more."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from compiler.engines.vllm.pinned import pinned
from compiler.ledger import Verdict
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.spec.models import Spec
from compiler.spec.ranges import ConcurrencyRange, ContextRange
from compiler.units import GIB
from tests.examples import examples
from tests.properties.test_solver import RELEASE, configs, services, stack


def asking(spec: Spec, name: str, **changes: Any) -> Spec:
    service = spec.services[name].model_copy(update=changes)
    return spec.model_copy(update={"services": {**spec.services, name: service}})


def context(number: int) -> ContextRange:
    return ContextRange(min=number, max=number)


def concurrency(number: int) -> ConcurrencyRange:
    return ConcurrencyRange(min=number, max=number)


def shape(solution: Solution, name: str) -> tuple[int, int]:
    demand = next(server.demand for server in solution.servers if server.demand.service == name)
    return demand.shape.max_model_len, demand.terms.concurrency


def as_divided(spec: Spec, solution: Solution) -> Spec:
    """With every service but the first on as many GPUs as it has: none is divided further for another's growth."""
    for server in solution.servers:
        if server.demand.service != "s0":
            degrees = server.demand.division
            divided = {"tensor_parallel_size": degrees.tensor, "pipeline_parallel_size": degrees.pipeline}
            spec = asking(spec, server.demand.service, **divided)
    return spec


@examples(6)
@given(services, st.integers(16, 160), st.integers(1, 3))
def test_the_found_context_fits_and_a_block_more_does_not(given_services: list[Any], gib: int, count: int) -> None:
    spec, lock = stack(given_services, gib * GIB, count)
    found = attempt(asking(spec, "s0", context=ContextRange()), lock, pinned(RELEASE))
    assume(isinstance(found, Solution))
    assert isinstance(found, Solution)
    length, _ = shape(found, "s0")
    assert isinstance(attempt(asking(spec, "s0", context=context(length)), lock, pinned(RELEASE)), Solution)
    if length < 131072:
        longer = attempt(asking(as_divided(spec, found), "s0", context=context(length + 16)), lock, pinned(RELEASE))
        assert not isinstance(longer, Solution)


@examples(6)
@given(services, st.integers(16, 160))
def test_the_found_concurrency_fits_and_one_more_does_not(given_services: list[Any], gib: int) -> None:
    spec, lock = stack(given_services, gib * GIB)
    found = attempt(asking(spec, "s0", concurrency=ConcurrencyRange()), lock, pinned(RELEASE))
    assume(isinstance(found, Solution))
    assert isinstance(found, Solution)
    _, requests = shape(found, "s0")
    assert isinstance(attempt(asking(spec, "s0", concurrency=concurrency(requests)), lock, pinned(RELEASE)), Solution)
    limit = RELEASE.batch_limits(gib * GIB, found.ledgers[0].total_source).max_num_seqs
    if requests < limit:
        more = attempt(asking(spec, "s0", concurrency=concurrency(requests + 1)), lock, pinned(RELEASE))
        assert not isinstance(more, Solution)


@examples(5)
@given(services, st.integers(20, 120), st.integers(1, 30))
def test_more_memory_never_shortens_what_is_found(given_services: list[Any], gib: int, more: int) -> None:
    # Batch defaults grow with the device (70 and 160 GiB); within a class nothing else may.
    assume((gib < 70) == (gib + more < 70) and (gib < 160) == (gib + more < 160))
    lengths = []
    for memory in (gib, gib + more):
        spec, lock = stack(given_services, memory * GIB)
        found = attempt(asking(spec, "s0", context=ContextRange()), lock, pinned(RELEASE))
        assume(isinstance(found, Solution))
        assert isinstance(found, Solution)
        lengths.append(shape(found, "s0")[0])
    assert lengths[0] <= lengths[1]


@examples(6)
@given(services, st.integers(16, 200), st.integers(1, 4))
def test_open_stacks_keep_their_promises_and_their_ledgers(given_services: list[Any], gib: int, count: int) -> None:
    spec, lock = stack(given_services, gib * GIB, count)
    for name in spec.services:
        spec = asking(spec, name, context=ContextRange(min=1024), concurrency=ConcurrencyRange(max=32))
    found = attempt(spec, lock, pinned(RELEASE))
    assume(isinstance(found, Solution))
    assert isinstance(found, Solution)
    assert found.verdict is Verdict.FITS
    for server in found.servers:
        length, requests = shape(found, server.demand.service)
        assert 1024 <= length <= 131072
        assert 1 <= requests <= 32
        assert server.demand.layout.max_concurrency(server.units, length) >= requests
    for ledger in found.ledgers:
        rows = sum(row.bytes.high for server in ledger.servers for row in server.rows)
        assert ledger.total == ledger.reserve + rows + ledger.slack
        assert ledger.slack >= 0


@examples(5)
@given(services, st.integers(16, 80), st.integers(2, 4), st.integers(1, 16))
def test_more_memory_never_makes_several_gpus_unfit(given_services: list[Any], gib: int, count: int, more: int) -> None:
    assume((gib < 70) == (gib + more < 70))
    if isinstance(attempt(*stack(given_services, gib * GIB, count), pinned(RELEASE)), Solution):
        assert isinstance(attempt(*stack(given_services, (gib + more) * GIB, count), pinned(RELEASE)), Solution)


@examples(5)
@given(configs, st.integers(20, 80), st.sampled_from([2, 3, 4]))
def test_stages_together_hold_every_layer_once(model: dict[str, Any], gib: int, stages: int) -> None:
    spec, lock = stack([(model, 4, 1, 1)], gib * GIB, stages)
    found = attempt(asking(spec, "s0", tensor_parallel_size=1, pipeline_parallel_size=stages), lock, pinned(RELEASE))
    whole = attempt(*stack([(model, 4, 1, 1)], 1000 * GIB), pinned(RELEASE))
    assume(isinstance(found, Solution) and isinstance(whole, Solution))
    assert isinstance(found, Solution)
    assert isinstance(whole, Solution)
    weights = [row.bytes.high for ledger in found.ledgers for row in ledger.servers[0].rows if row.kind == "weights"]
    assert len(weights) == stages
    assert sum(weights) == sum(row.bytes.high for row in whole.ledgers[0].servers[0].rows if row.kind == "weights")
    assert {server.units for server in found.servers} == {found.servers[0].units}
