"""A model with recurrent states gets no more sequences than blocks: vLLM would not start with its graphs of decodes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.engines.interface.problem import Problem
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.solve.attempt import attempt
from compiler.solve.budget import Server, Solution
from compiler.spec.models import Spec
from compiler.units import GIB
from tests.unit.test_hybrid import QWEN3_NEXT
from tests.unit.test_memory import QWEN3_8B

# A few gigabytes of weights, and blocks of many tokens.
HYBRID = QWEN3_NEXT | {"num_experts": 16, "vocab_size": 100_000, "linear_num_value_heads": 64}


def solved(
    memory: int, models: dict[str, dict[str, Any]], count: int = 1, **keys: Any
) -> Solution | tuple[Problem, ...]:
    """One service for each model, all on cards of that many GiB."""
    services = {
        name: {"model": f"a/{name}", "quantization": "none", "context": "8K", "port": 8000 + index, **keys}
        for index, name in enumerate(models)
    }
    gpus = {"memory": f"{memory}B", "compute_capability": "9.0", "count": count}
    spec = Spec.model_validate(
        {"stack": "x", "engine": {"vllm": "0.33.0"}, "nodes": {"n": {"gpus": gpus}}, "services": services}
    )
    answers = {
        name: LockedService(model=f"a/{name}", quantization=("none",), candidates=(f"a/{name}",)) for name in models
    }
    facts = {
        f"a/{name}": ModelFacts(source=HUB, commit="a" * 40, chat_template="x", config=config)
        for name, config in models.items()
    }
    return attempt(spec, Lock(services=answers, models=facts), pinned(RELEASES["0.33.0"]))


def server(memory: int, **keys: Any) -> Server:
    solution = solved(memory, {"hybrid": HYBRID}, **keys)
    assert isinstance(solution, Solution)
    return solution.servers[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(14 * GIB, 40 * GIB))
def test_there_is_a_block_for_every_sequence_that_nobody_asked_for(memory: int) -> None:
    found = server(memory)
    assert found.demand.shape.max_num_seqs <= found.units


def test_a_small_card_seats_fewer_than_a_large_one() -> None:
    assert server(14 * GIB).demand.shape.max_num_seqs < server(80 * GIB).demand.shape.max_num_seqs == 256


def test_more_sequences_than_blocks_are_an_error_at_their_key() -> None:
    found = solved(24 * GIB, {"hybrid": HYBRID}, max_num_seqs=1024)
    assert isinstance(found, tuple)
    assert (found[0].code, found[0].path) == ("E0401", ("max_num_seqs",))
    assert any("max_num_seqs (1024) exceeds available Mamba cache blocks" in note for note in found[0].notes)


def test_without_graphs_blocks_limit_nobody() -> None:
    found = server(24 * GIB, max_num_seqs=512, engine_args={"enforce-eager": True})
    assert found.units < found.demand.shape.max_num_seqs == 512


@pytest.mark.parametrize("config", [QWEN3_8B])
def test_attention_alone_wants_no_block_for_a_sequence(config: dict[str, Any]) -> None:
    solution = solved(24 * GIB, {"dense": config})
    assert isinstance(solution, Solution)
    assert solution.servers[0].demand.seat_blocks == 0


def test_a_full_card_does_not_hold_down_the_servers_of_another() -> None:
    alone = solved(22 * GIB, {"dense": QWEN3_8B})
    both = solved(22 * GIB, {"dense": QWEN3_8B, "hybrid": HYBRID | {"num_experts": 32}}, count=2)
    assert isinstance(alone, Solution)
    assert isinstance(both, Solution)
    seats = {each.demand.service: each.demand.shape.max_num_seqs for each in both.servers}
    assert seats["hybrid"] < seats["dense"] == alone.servers[0].demand.shape.max_num_seqs
