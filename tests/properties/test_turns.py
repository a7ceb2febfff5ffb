"""Services that take turns: each turn fits by the ledger, and none with a further service."""

from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.solver import PINNED
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.solve.attempt import machine_of_stack
from compiler.solve.place import room
from compiler.solve.turns.sets import Turns, attempt_turns
from compiler.spec.models import Spec
from tests.examples import examples
from tests.properties.test_solver import config

SIZES = {
    "small": config(24, 896, 14, 2, 152),
    "medium": config(28, 3584, 28, 4, 152),
    "large": config(36, 4096, 32, 8, 152),
}
members = st.lists(st.tuples(st.sampled_from(sorted(SIZES)), st.integers(1, 16)), min_size=2, max_size=5)


def stack(asked: list[tuple[str, int]], count: int) -> tuple[Spec, Lock]:
    """A stack of which the first service is always up."""
    services = {
        f"s{at}": {
            "model": f"a/{size}",
            "quantization": "none",
            "context": "4K",
            "concurrency": concurrency,
            "port": 8000 + at,
        }
        for at, (size, concurrency) in enumerate(asked)
    }
    spec = Spec.model_validate(
        {
            "stack": "x",
            "engine": {"vllm": "0.33.0"},
            "nodes": {"n": {"gpus": {"model": "rtx-4090", "count": count}}},
            "services": services,
        }
    )
    facts = {
        f"a/{name}": ModelFacts(source=HUB, chat_template="x", config=SIZES[name]) for name in {one for one, _ in asked}
    }
    locked = {
        name: LockedService(model=one.model, quantization=("none",), candidates=(one.model,))
        for name, one in spec.services.items()
    }
    return spec, Lock(schema=1, services=locked, models=facts)


def attempted(asked: list[tuple[str, int]], count: int) -> object:
    spec, lock = stack([("small", 1), *asked], count)
    names = tuple(name for name in spec.services if name != "s0")
    return attempt_turns(machine_of_stack(spec), spec, names, lock, PINNED)


@examples(10)
@given(members, st.integers(1, 2))
def test_every_turn_fits_by_the_ledger_and_no_further_service_fits_into_it(
    asked: list[tuple[str, int]], count: int
) -> None:
    turns = attempted(asked, count)
    if not isinstance(turns, Turns):
        assert turns  # there are reasons
        return
    assert set(chain.from_iterable(turns.sets)) == set(turns.members)
    for names in turns.sets:
        assert turns.left(names) >= 0
        for other in turns.members.keys() - set(names):
            assert room(turns.choice, turns.up((*names, other))) < 0


@examples(5)
@given(members)
def test_each_service_has_what_it_asked_for_in_every_turn(asked: list[tuple[str, int]]) -> None:
    turns = attempted(asked, 1)
    if isinstance(turns, Turns):
        for each in turns.up(turns.members):
            assert turns.units[each.demand.service] >= each.demand.least_units


def test_a_member_that_does_not_fit_alone_is_named() -> None:
    found = attempted([("small", 1), ("large", 200)], 1)
    assert isinstance(found, tuple)
    assert {problem.service for problem in found} == {"s2"}


def test_two_that_do_not_fit_together_are_up_in_turn() -> None:
    turns = attempted([("large", 1), ("large", 1)], 1)
    assert isinstance(turns, Turns)
    assert turns.sets == (("s1",), ("s2",))


def test_of_three_every_two_may_fit_and_not_all() -> None:
    """What no list of pairs that exclude each other could say."""
    turns = attempted([("medium", 1), ("medium", 1), ("medium", 1)], 1)
    assert isinstance(turns, Turns)
    assert turns.sets == (("s1", "s2"), ("s1", "s3"), ("s2", "s3"))
    assert len({turns.units[name] for name in turns.members}) == 1
