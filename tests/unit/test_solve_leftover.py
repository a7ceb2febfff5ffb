"""Memory that no request needs keeps prefixes of earlier ones, where vLLM caches those and nobody else uses it."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.ledger import RowKind, Verdict
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.solve.attempt import attempt
from compiler.solve.budget import HEADROOM_PERMILLE, Server, Solution
from compiler.spec.models import Spec
from compiler.units import GIB
from tests.unit.test_hybrid import FALCON_MAMBA
from tests.unit.test_memory import QWEN3_8B
from tests.unit.test_solve_seats import HYBRID

RELEASE, CPU_RELEASE = RELEASES["0.33.0"], RELEASES["0.32.0"]
# Sixteen requests of 4 Ki tokens: 9 GiB of KV cache at most.
SMALL = {"context": "4K", "max_num_seqs": 16}
OFF = {"engine_args": {"enable-prefix-caching": False}}
CARD = {"memory": "80GiB", "compute_capability": "9.0"}


def solved(
    node: dict[str, Any], services: dict[str, dict[str, Any]], config: dict[str, Any] = QWEN3_8B, **policy: Any
) -> Solution:
    asked = {
        name: {"model": "a/m", "quantization": "none", "port": 8000 + index, **SMALL, **keys}
        for index, (name, keys) in enumerate(services.items())
    }
    release = CPU_RELEASE if "cpu" in node else RELEASE
    spec = Spec.model_validate(
        {
            "stack": "x",
            "engine": {"vllm": release.version},
            "nodes": {"n": node},
            "services": asked,
            "policy": policy,
        }
    )
    answer = LockedService(model="a/m", quantization=("none",), candidates=("a/m",))
    facts = ModelFacts(source=HUB, commit="a" * 40, chat_template="x", config=config)
    lock = Lock(services=dict.fromkeys(services, answer), models={"a/m": facts})
    solution = attempt(spec, lock, pinned(release))
    assert isinstance(solution, Solution), solution
    return solution


def alone(config: dict[str, Any] = QWEN3_8B, card: dict[str, Any] = CARD, **keys: Any) -> Server:
    return solved({"gpus": {**card, "count": 1}}, {"s": keys}, config).servers[0]


def free(solution: Solution) -> int:
    """Bytes of the only device that nobody has, beyond what is left free on every device."""
    (ledger,) = solution.ledgers
    return ledger.total - ledger.reserve - ledger.used.high - ledger.total * HEADROOM_PERMILLE // 1000


def test_a_cache_goes_on_growing_where_prefixes_are_kept() -> None:
    solution = solved({"gpus": {**CARD, "count": 1}}, {"s": {}})
    (server,) = solution.servers
    assert server.units > 4 * server.demand.useful_units
    assert 0 <= free(solution) < server.demand.layout.bytes_per_block
    row = next(row for row in solution.ledgers[0].servers[0].rows if row.kind is RowKind.KV_CACHE)
    assert f"; {server.units - server.demand.useful_units} of them are more than all requests fill" in row.source


@pytest.mark.parametrize("config", [QWEN3_8B, HYBRID])
def test_it_stops_at_what_requests_fill_where_they_are_not(config: dict[str, Any]) -> None:
    server = alone(config, **OFF)
    assert server.units == max(server.demand.useful_units, server.demand.least_units)
    assert alone(config).units > alone(config).demand.useful_units


def test_without_a_share_it_is_what_was_asked_for() -> None:
    server = alone(share=0)
    assert server.units == server.demand.least_units


def test_states_alone_are_kept_for_nobody_unless_the_user_says_so() -> None:
    server = alone(FALCON_MAMBA, context="2K")
    assert server.units <= max(server.demand.useful_units, server.demand.least_units)
    told = alone(FALCON_MAMBA, context="2K", engine_args={"enable-prefix-caching": True})
    assert told.units > told.demand.useful_units


def test_embeddings_keep_no_prefixes_that_are_counted_on() -> None:
    server = alone(task="embed", max_num_seqs=4)
    assert server.units == max(server.demand.useful_units, server.demand.least_units)


@pytest.mark.parametrize(
    "node", [{"cpu": {"memory": "512GiB"}}, {"gpus": {"memory": "480GiB", "compute_capability": "12.1", "count": 1}}]
)
def test_a_memory_that_the_system_uses_too_is_left_to_it(node: dict[str, Any]) -> None:
    solution = solved(node, {"s": {}})
    assert solution.servers[0].units == solution.servers[0].demand.useful_units
    assert free(solution) > 100 * GIB


def test_requests_of_all_services_come_before_prefixes_of_any() -> None:
    """What is left for the second is not enough for its own requests: the first gets none of it for prefixes."""
    long = {"context": "32K", "max_num_seqs": 64}
    solution = solved({"gpus": {**CARD, "count": 1}}, {"short": {}, "long": long})
    servers = {server.demand.service: server for server in solution.servers}
    assert servers["long"].units < servers["long"].demand.useful_units
    assert servers["short"].units == servers["short"].demand.useful_units


def test_prefixes_of_several_get_it_by_their_share() -> None:
    solution = solved({"gpus": {**CARD, "count": 1}}, {"one": {"share": 1}, "three": {"share": 3}})
    more = {each.demand.service: each.units - each.demand.useful_units for each in solution.servers}
    assert more["three"] == pytest.approx(3 * more["one"], rel=0.01)


def test_what_one_does_not_keep_goes_to_the_others() -> None:
    solution = solved({"gpus": {**CARD, "count": 1}}, {"off": OFF, "on": {}})
    servers = {server.demand.service: server for server in solution.servers}
    assert servers["off"].units == servers["off"].demand.useful_units
    assert 0 <= free(solution) < servers["on"].demand.layout.bytes_per_block


def test_what_is_only_expected_to_be_free_keeps_no_prefixes() -> None:
    """A server within the margin gets what its one request needs, and nothing of what may not be there."""
    least = alone(card={**CARD, "memory": "24GiB"}, max_num_seqs=1).demand
    memory = (least.required.expected + least.required.high) // 2
    solution = solved(
        {"gpus": {**CARD, "memory": f"{memory}B", "count": 1}}, {"s": {"max_num_seqs": 1}}, margin="allow"
    )
    assert solution.verdict is Verdict.MARGIN
    assert memory - solution.ledgers[0].used.expected > memory * HEADROOM_PERMILLE // 1000
    assert solution.servers[0].units == least.useful_units == least.least_units


def test_every_rank_gets_what_the_fullest_device_can_hold() -> None:
    services = {"wide": {"tensor_parallel_size": 2}, "one": {"gpus": [0]}}
    solution, again = (solved({"gpus": {**CARD, "count": 2}}, services) for _ in range(2))
    for ledger in solution.ledgers:
        assert ledger.used.high <= ledger.total - ledger.reserve - ledger.total * HEADROOM_PERMILLE // 1000
    assert [server.units for server in solution.servers] == [server.units for server in again.servers]
