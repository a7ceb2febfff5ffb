"""What must hold for every stack, not only for the shipped ones."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.ledger import Verdict
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.solve.attempt import attempt
from compiler.solve.budget import UTILIZATION_STEPS, Solution
from compiler.spec.models import Spec
from compiler.units import GIB
from tests.examples import examples

RELEASE = RELEASES["0.33.0"]


def config(layers: int, hidden: int, heads: int, kv_heads: int, vocab: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": 3 * hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": 128, "vocab_size": vocab, "max_position_embeddings": 131072,
        "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    }  # fmt: skip


configs = st.builds(
    lambda layers, heads, ratio, vocab: config(layers, heads * 128, heads, max(1, heads // ratio), vocab * 1000),
    st.integers(4, 80),
    st.sampled_from([8, 16, 32, 64]),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(10, 260),
)
services = st.lists(
    st.tuples(configs, st.integers(1, 128), st.integers(1, 32), st.integers(0, 3)), min_size=1, max_size=3
)


def stack(
    given_services: list[tuple[dict[str, Any], int, int, int]], memory: int, count: int = 1, reserve: int = 0
) -> tuple[Spec, Lock]:
    asked = {
        f"s{index}": {
            "model": f"example/m{index}", "quantization": "none", "context": context * 1024,
            "concurrency": concurrency, "port": 8000 + index, "share": share,
        }
        for index, (_, context, concurrency, share) in enumerate(given_services)
    }  # fmt: skip
    gpus = {"memory": f"{memory}B", "compute_capability": "9.0", "count": count}
    spec = Spec.model_validate(
        {
            "stack": "x",
            "engine": {"vllm": "0.33.0"},
            "nodes": {"n": {"gpus": gpus, "reserve": f"{reserve}B"}},
            "services": asked,
        }
    )
    models = {
        f"example/m{index}": ModelFacts(source=HUB, chat_template="x", config=found[0])
        for index, found in enumerate(given_services)
    }
    locked = {
        name: LockedService(model=service.model, quantization=("none",), candidates=(service.model,))
        for name, service in spec.services.items()
    }
    return spec, Lock(schema=1, services=locked, models=models)


def solve(*arguments: Any, **named: Any) -> Solution | None:
    spec, lock = stack(*arguments, **named)
    found = attempt(spec, lock, pinned(RELEASE))
    return found if isinstance(found, Solution) else None


@examples(10)
@given(services, st.integers(16, 200), st.integers(1, 4), st.integers(0, 4))
def test_no_device_exceeds_its_memory_and_every_ledger_adds_up(
    given_services: list[Any], gib: int, count: int, reserve: int
) -> None:
    solution = solve(given_services, gib * GIB, count, reserve * GIB)
    assume(solution is not None)
    assert solution is not None
    assert solution.verdict is Verdict.FITS
    for ledger in solution.ledgers:
        rows = [row.bytes.high for server in ledger.servers for row in server.rows]
        assert ledger.total == ledger.reserve + sum(rows) + ledger.slack
        assert ledger.slack >= 0


@examples(10)
@given(services, st.integers(16, 200), st.integers(1, 4))
def test_every_promise_is_kept_and_every_server_finds_its_share_free(
    given_services: list[Any], gib: int, count: int
) -> None:
    solution = solve(given_services, gib * GIB, count)
    assume(solution is not None)
    assert solution is not None
    for server in solution.servers:
        assert server.units >= server.demand.least_units
        needed = max(server.demand.useful_units, server.demand.least_units)
        assert server.units <= needed or server.demand.keeps_prefixes
    utilization = {server.demand.service: server.utilization for server in solution.servers}
    for ledger in solution.ledgers:
        free = ledger.total - ledger.reserve
        for server_ledger in ledger.servers:
            outside = server_ledger.bytes.high - server_ledger.budget.high
            asked = -(-ledger.total * utilization[server_ledger.service] // UTILIZATION_STEPS)
            assert asked <= free - outside
            free -= server_ledger.bytes.high


@examples(10)
@given(services, st.integers(16, 120), st.integers(1, 40))
def test_more_memory_never_makes_one_gpu_s_stack_unfit(given_services: list[Any], gib: int, more: int) -> None:
    # Batch defaults grow with the device (70 and 160 GiB); within a class nothing else may.
    assume((gib < 70) == (gib + more < 70) and (gib < 160) == (gib + more < 160))
    if solve(given_services, gib * GIB) is not None:
        assert solve(given_services, (gib + more) * GIB) is not None


@examples(10)
@given(services, st.integers(16, 120))
def test_less_concurrency_never_makes_a_stack_unfit(given_services: list[Any], gib: int) -> None:
    if solve(given_services, gib * GIB) is not None:
        fewer = [(c, context, max(1, concurrency // 2), share) for c, context, concurrency, share in given_services]
        assert solve(fewer, gib * GIB) is not None


@given(configs, st.sampled_from([2, 4, 8]))
def test_ranks_together_hold_at_least_the_whole_model(model: dict[str, Any], ranks: int) -> None:
    architecture = read_architecture(model)
    try:
        check_split(architecture, None, Parallelism(ranks))
    except SplitError:
        return
    whole, part = (
        rank_weights(architecture, None, Parallelism(degree), served_dtype="bfloat16") for degree in (1, ranks)
    )
    assert part * ranks >= whole
    assert part <= whole


@given(configs, st.integers(1, 10**6), st.integers(1, 131072), st.integers(1, 131072))
def test_capacity_falls_as_requests_grow(model: dict[str, Any], blocks: int, length: int, longer: int) -> None:
    layout = rank_kv_layout(
        read_architecture(model), Parallelism(), dtype="bfloat16", block_size=16, max_num_batched_tokens=8192
    )
    assert layout.max_concurrency(blocks, length + longer) <= layout.max_concurrency(blocks, length)
