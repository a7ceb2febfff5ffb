"""What must hold wherever services find their node by themselves."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.lock.models import Lock
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.solve.stack import attempt_stack
from compiler.spec.models import Spec
from compiler.units import GIB
from tests.properties.test_solver import RELEASE, configs, stack

few_services = st.lists(st.tuples(configs, st.integers(1, 64), st.integers(1, 16), st.just(1)), min_size=1, max_size=4)


def on_nodes(given_services: list[Any], gib: int, count: int, nodes: int) -> tuple[Spec, Lock]:
    spec, lock = stack(given_services, gib * GIB, count)
    return spec.model_copy(update={"nodes": {f"n{index}": spec.nodes["n"] for index in range(nodes)}}), lock


@settings(max_examples=15)
@given(few_services, st.integers(16, 200), st.integers(1, 2), st.integers(0, 15))
def test_what_fits_when_it_is_split_by_hand_fits(given_services: list[Any], gib: int, count: int, split: int) -> None:
    spec, lock = on_nodes(given_services, gib, count, 2)
    halves = [[name for index, name in enumerate(spec.services) if split >> index & 1 == side] for side in (0, 1)]
    by_hand = [attempt(spec.on(f"n{side}", half), lock, RELEASE) for side, half in enumerate(halves) if half]
    if all(isinstance(found, Solution) for found in by_hand):
        assert isinstance(attempt_stack(spec, lock, RELEASE), dict)


@settings(max_examples=15)
@given(few_services, st.integers(16, 200), st.integers(1, 2), st.integers(2, 3))
def test_every_service_runs_once_and_no_node_is_over_full(
    given_services: list[Any], gib: int, count: int, nodes: int
) -> None:
    spec, lock = on_nodes(given_services, gib, count, nodes)
    found = attempt_stack(spec, lock, RELEASE)
    if not isinstance(found, dict):
        return
    placed = [server.demand.service for solution in found.values() for server in solution.servers]
    assert sorted(placed) == sorted(spec.services)
    for name, solution in found.items():
        gpus = spec.nodes[name].gpus
        assert gpus is not None
        assert len(solution.ledgers) == gpus.count
        for ledger in solution.ledgers:
            assert ledger.reserve + sum(server.bytes.high for server in ledger.servers) + ledger.slack == ledger.total
            assert ledger.slack >= 0


@settings(max_examples=12)
@given(few_services, st.integers(16, 120), st.integers(0, 3))
def test_a_service_stays_on_the_node_that_the_spec_names(given_services: list[Any], gib: int, which: int) -> None:
    spec, lock = on_nodes(given_services, gib, 1, 2)
    name = sorted(spec.services)[which % len(spec.services)]
    pinned = spec.services[name].model_copy(update={"node": "n1"})
    spec = spec.model_copy(update={"services": {**spec.services, name: pinned}})
    found = attempt_stack(spec, lock, RELEASE)
    if isinstance(found, dict):
        assert name in {server.demand.service for server in found["n1"].servers}
