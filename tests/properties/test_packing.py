"""Small stacks are placed as well as by trying everything, and a neighbour that grows costs nobody a place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.packing import GOOD_ENOUGH, judged
from benchmarks.solver import PINNED
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.spec.models import Spec
from tests.examples import examples
from tests.properties.test_solver import config

SMALL, LARGE = config(28, 3584, 28, 4, 152), config(48, 5120, 40, 8, 152)
HUGE = config(80, 8192, 64, 8, 128) | {"vocab_size": 128256}


@examples(10)
@given(st.integers(0, 10**9))
def test_nothing_is_refused_lowered_divided_or_starved_that_a_search_of_everything_places_better(seed: int) -> None:
    outcome = judged(0, seed)
    if outcome is not None:
        assert (outcome.refused, outcome.steps, outcome.ranks) == (False, 0, 0)
        assert outcome.kv is not None
        assert outcome.kv >= GOOD_ENOUGH


@pytest.mark.parametrize("number", [8, 33, 112, 133])
def test_stacks_that_the_heaviest_first_gets_wrong(number: int) -> None:
    """A better variant, fewer GPUs, any place at all, and twice the cache are there for who looks."""
    outcome = judged(number, 11)
    assert outcome is not None
    assert (outcome.refused, outcome.steps, outcome.ranks) == (False, 0, 0)
    assert outcome.kv is not None
    assert outcome.kv >= GOOD_ENOUGH


def placed(count: int, **services: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The GPUs of each service, on so many H100s."""
    asked = {
        name: {"quantization": "none", "port": 8000 + at, **keys} for at, (name, keys) in enumerate(services.items())
    }
    gpus = {"model": "h100-80gb", "count": count}
    spec = Spec.model_validate(
        {"stack": "x", "engine": {"vllm": "0.33.0"}, "nodes": {"n": {"gpus": gpus}}, "services": asked}
    )
    models = {
        "a/small": ModelFacts(source=HUB, chat_template="x", config=SMALL),
        "a/large": ModelFacts(source=HUB, chat_template="x", config=LARGE),
        "a/huge": ModelFacts(source=HUB, chat_template="x", config=HUGE),
    }
    locked = {
        name: LockedService(model=each.model, quantization=("none",), candidates=(each.model,))
        for name, each in spec.services.items()
    }
    found = attempt(spec, Lock(schema=1, services=locked, models=models), PINNED)
    assert isinstance(found, Solution), found
    return {server.demand.service: server.devices for server in found.servers}


def test_a_service_that_grows_does_not_cut_its_neighbour_over_several_gpus() -> None:
    grown = {"model": "a/large", "context": "2K", "concurrency": "max"}
    found = placed(2, grown=grown, beside={"model": "a/small", "context": "4K", "concurrency": 2})
    assert len(found["beside"]) == 1


def test_sequences_that_nobody_asked_for_take_no_more_gpus() -> None:
    found = placed(
        4,
        huge={"model": "a/huge", "context": "8K", "concurrency": 2},
        large={"model": "a/large", "context": "8K"},
        small={"model": "a/small", "context": "8K"},
    )
    assert {name: len(devices) for name, devices in found.items()} == {"huge": 2, "large": 1, "small": 1}
