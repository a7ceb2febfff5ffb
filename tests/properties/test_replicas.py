"""What must hold of services with replicas, wherever their servers find a place."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from compiler.engines.vllm.pinned import pinned
from compiler.lock.models import Lock
from compiler.solve.replicas.alike import Solved
from compiler.solve.replicas.counts import attempt_servers, servers_compile
from compiler.spec.models import Spec
from compiler.spec.replicas import most_replicas
from compiler.units import GIB
from tests.examples import examples
from tests.properties.test_solver import RELEASE, config, stack

PINNED = pinned(RELEASE)

small_configs = st.builds(
    lambda layers, heads, ratio: config(layers, heads * 128, heads, max(1, heads // ratio), 32_000),
    st.integers(8, 48),
    st.sampled_from([8, 16, 32]),
    st.sampled_from([1, 4, 8]),
)
few_services = st.lists(st.tuples(small_configs, st.integers(1, 32), st.just(1), st.just(1)), min_size=1, max_size=2)
counts = st.one_of(
    st.integers(1, 6),
    st.just("max"),
    st.tuples(st.integers(1, 3), st.integers(0, 4)).map(lambda ends: {"min": ends[0], "max": sum(ends)}),
)


# GiB of a GPU, GPUs of a node, nodes.
machines = st.tuples(st.integers(16, 60), st.integers(1, 3), st.integers(1, 2))


def asking(given_services: list[Any], machine: tuple[int, int, int], *replicas: object) -> tuple[Spec, Lock]:
    """Services far apart in their ports, each with so many replicas."""
    gib, gpus, nodes = machine
    spec, lock = stack(given_services, gib * GIB, gpus)
    data = spec.model_dump(mode="json", exclude_unset=True)
    for index, (name, asked) in enumerate(zip(spec.services, replicas, strict=False)):
        data["services"][name] |= {"port": 8000 + 100 * index, "replicas": asked}
        data["services"][name].pop("engine", None)
    data["nodes"] = {f"n{index}": {"gpus": {"memory": f"{gib}GiB", **_card(gpus)}} for index in range(nodes)}
    return Spec.model_validate(data), lock


def _card(count: int) -> dict[str, Any]:
    return {"compute_capability": "9.0", "count": count}


@examples(8)
@given(few_services, machines, counts, counts)
def test_each_replica_is_a_server_of_its_own(
    given_services: list[Any], machine: tuple[int, int, int], first: object, second: object
) -> None:
    spec, lock = asking(given_services, machine, first, second)
    found = attempt_servers(spec, lock, PINNED)
    # A change that is offered as a help was asked about in this way.
    assert isinstance(found, Solved) == servers_compile(spec, lock, PINNED)
    if not isinstance(found, Solved):
        return
    placed = [server.demand.service for solution in found.solutions.values() for server in solution.servers]
    assert sorted(placed) == sorted(found.spec.services)
    for name, service in spec.services.items():
        count = found.spec.servers_of(name)
        assert service.replicas.least <= count <= most_replicas(spec, name)
        assert sum(found.spec.service_of(server) == name for server in placed) == count
    for node, solution in found.solutions.items():
        ports = [found.spec.services[server.demand.service].port for server in solution.servers]
        assert len(set(ports)) == len(ports), node
        for ledger in solution.ledgers:
            assert ledger.reserve + sum(server.bytes.high for server in ledger.servers) + ledger.slack == ledger.total
            assert ledger.slack >= 0


@examples(6)
@given(few_services, machines, st.integers(2, 5))
def test_a_stack_that_fits_fits_with_fewer_replicas(
    given_services: list[Any], machine: tuple[int, int, int], count: int
) -> None:
    fits = [servers_compile(*asking(given_services, machine, number), PINNED) for number in range(1, count + 1)]
    assert all(fewer or not more for fewer, more in pairwise(fits))


@examples(6)
@given(few_services, machines, st.integers(1, 3), st.integers(1, 24))
def test_max_is_the_largest_number_that_compiles(
    given_services: list[Any], machine: tuple[int, int, int], least: int, together: int
) -> None:
    """Also where what is promised together is so much that a few servers cannot hold it, and more can."""
    model, context, _, share = given_services[0]
    given_services = [(model, context, together, share), *given_services[1:]]
    most = 6
    spec, lock = asking(given_services, machine, {"min": least, "max": most})
    found = attempt_servers(spec, lock, PINNED)
    fits = [
        number for number in range(least, most + 1) if servers_compile(*asking(given_services, machine, number), PINNED)
    ]
    if isinstance(found, Solved):
        assert found.spec.servers_of("s0") == max(fits)
    else:
        assert not fits


@examples(5)
@given(small_configs, st.integers(20, 60), st.integers(1, 3), st.integers(2, 3), st.integers(2, 6))
def test_replicas_are_alike_and_spread_over_nodes(
    model: dict[str, Any], gib: int, gpus: int, nodes: int, count: int
) -> None:
    spec, lock = asking([(model, 2, 1, 1)], (gib, gpus, nodes), count)
    service = spec.services["s0"].model_copy(update={"context": type(spec.services["s0"].context)()})
    found = attempt_servers(spec.model_copy(update={"services": {"s0": service}}), lock, PINNED)
    if not isinstance(found, Solved):
        return
    demands = [server.demand for solution in found.solutions.values() for server in solution.servers]
    assert len({(each.terms.context, each.variant.name) for each in demands}) == 1
    here = [len(solution.servers) for solution in found.solutions.values()]
    assert len(here) == min(count, nodes)
    assert max(here) - min(here) <= 1
