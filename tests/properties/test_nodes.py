"""What must hold wherever services find their node by themselves."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from compiler.engines.vllm.pinned import pinned
from compiler.lock.models import Lock
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.solve.stack import attempt_stack, compiles
from compiler.spec.models import Spec
from compiler.units import GIB
from tests.examples import examples
from tests.properties.test_solver import RELEASE, configs, stack

few_services = st.lists(st.tuples(configs, st.integers(1, 64), st.integers(1, 16), st.just(1)), min_size=1, max_size=4)


def on_nodes(given_services: list[Any], gib: int, count: int, nodes: int) -> tuple[Spec, Lock]:
    spec, lock = stack(given_services, gib * GIB, count)
    return spec.model_copy(update={"nodes": {f"n{index}": spec.nodes["n"] for index in range(nodes)}}), lock


@examples(6)
@given(few_services, st.integers(16, 200), st.integers(1, 2), st.integers(0, 15))
def test_what_fits_when_it_is_split_by_hand_fits(given_services: list[Any], gib: int, count: int, split: int) -> None:
    spec, lock = on_nodes(given_services, gib, count, 2)
    halves = [[name for index, name in enumerate(spec.services) if split >> index & 1 == side] for side in (0, 1)]
    by_hand = [attempt(spec.on(f"n{side}", half), lock, pinned(RELEASE)) for side, half in enumerate(halves) if half]
    if all(isinstance(found, Solution) for found in by_hand):
        assert isinstance(attempt_stack(spec, lock, pinned(RELEASE)), dict)


@examples(6)
@given(few_services, st.integers(16, 200), st.integers(1, 2), st.integers(2, 3))
def test_every_service_runs_once_and_no_node_is_over_full(
    given_services: list[Any], gib: int, count: int, nodes: int
) -> None:
    spec, lock = on_nodes(given_services, gib, count, nodes)
    found = attempt_stack(spec, lock, pinned(RELEASE))
    if not isinstance(found, dict):
        # A change that is offered as a help was asked about in this way.
        assert not compiles(spec, lock, pinned(RELEASE))
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


@examples(5)
@given(few_services, st.integers(16, 120), st.integers(0, 3))
def test_a_service_stays_on_the_node_that_the_spec_names(given_services: list[Any], gib: int, which: int) -> None:
    spec, lock = on_nodes(given_services, gib, 1, 2)
    name = sorted(spec.services)[which % len(spec.services)]
    named = spec.services[name].model_copy(update={"node": "n1"})
    spec = spec.model_copy(update={"services": {**spec.services, name: named}})
    found = attempt_stack(spec, lock, pinned(RELEASE))
    if isinstance(found, dict):
        assert name in {server.demand.service for server in found["n1"].servers}


@examples(10)
@given(few_services, st.integers(16, 120), st.lists(st.sampled_from(("a", "b", "a-01", None)), min_size=4, max_size=4))
def test_services_find_any_machine_of_the_entry_that_they_name(
    given_services: list[Any], gib: int, named: list[str | None]
) -> None:
    spec, lock = stack(given_services, gib * GIB, 1)
    data = spec.model_dump(mode="json", exclude_unset=True, by_alias=True, exclude={"services", "nodes"})
    gpus = {"memory": f"{gib}GiB", "compute_capability": "9.0"}
    services = {
        name: {
            "model": f"example/m{index}", "quantization": "none", "context": given_services[index][1] * 1024,
            "concurrency": given_services[index][2], "port": 8000 + index,
        } | ({} if named[index] is None else {"node": named[index]})
        for index, name in enumerate(spec.services)
    }  # fmt: skip
    nodes = {"a": {"count": 2, "gpus": gpus}, "b": {"count": 2, "gpus": gpus}}
    asked = Spec.model_validate(data | {"nodes": nodes, "services": services})
    found = attempt_stack(asked, lock, pinned(RELEASE))
    members = asked.members()
    allowed = [members.get(word or "", tuple(asked.nodes)) for word in named[: len(services)]]
    held: dict[tuple[str, ...], bool] = {}

    def holds(names: tuple[str, ...]) -> bool:
        if names not in held:
            held[names] = isinstance(attempt(asked.on("a-01", names), lock, pinned(RELEASE)), Solution)
        return held[names]

    by_hand = any(
        all(holds(tuple(n for n, where in zip(services, seats, strict=True) if where == node)) for node in {*seats})
        for seats in itertools.product(*allowed)
    )
    assert isinstance(found, dict) == by_hand
    if isinstance(found, dict):
        runs = {server.demand.service: node for node, each in found.items() for server in each.servers}
        assert all(runs[name] in where for name, where in zip(services, allowed, strict=True))
