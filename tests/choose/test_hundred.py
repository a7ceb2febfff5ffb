"""A hundred recommendations over random wishes lock and compile as written, if the Hub is as the registry says."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from compiler.choose.recommend.candidates import checkpoints
from compiler.choose.recommend.choice import Choice
from compiler.choose.recommend.constraints import constraints
from compiler.choose.recommend.recommend import Recommendation, recommend
from compiler.choose.recommend.wish import Cards, Wish
from compiler.choose.recommend.written import Part, spec_text
from compiler.cli.run.lock import lock_spec
from compiler.diagnostics import has_errors
from compiler.pipeline import compile_stack
from compiler.prices.user import UserPrices
from compiler.registry.entry import Task
from compiler.registry.read import registry
from compiler.resolve.transport.hub import Hub
from tests.choose.hub import UnrecordedError, recording_of
from tests.hub.recordings import Recording
from tests.hub.server import serve

_CARDS = ("t4", "rtx-3070", "rtx-4090", "rtx-5090", "l40s", "a100-80gb", "h100-80gb", "rtx-pro-6000")
_PARTS, _EACH = 10, 10


def wish_of(chance: random.Random) -> Wish:
    return Wish(
        task=chance.choice(get_args(Task)),
        context=chance.choice((None, 2048, 16384, 65536)),
        concurrency=chance.choice((None, 4, 16)),
        commercial=chance.random() < 0.5,
        languages=chance.choice(((), (), ("de",), ("fr",))),
        needs=chance.choice(((), (), ("tools",), ("reasoning",))),
        min_rate=chance.choice((None, None, 20.0)),
        most_parameters=chance.choice((None, 4 * 10**9, 15 * 10**9)),
    )


@cache
def recorded(model: str, repository: str) -> Recording | None:
    """None where nobody can make its headers up."""
    known = checkpoints(registry().models[model])
    assert isinstance(known, tuple)
    try:
        return recording_of(next(each for each in known if each.repository == repository))
    except UnrecordedError:
        return None


def is_right(result: Recommendation) -> bool:
    met = constraints(result.wish, result.grades)
    return all(each.lacks(choice.entry) is None for choice in result.rows for each in met)


def compiles(result: Recommendation, choice: Choice, recording: Recording, cards: Cards, path: Path) -> bool:
    path.write_text(spec_text(path.stem, (Part("service", choice, result.wish, "Because."),), cards, "# mode"))
    with serve([recording]) as hub:
        found, _ = lock_spec(path, str(path), Hub(hub.url, pause=0))
    compiled, problems = compile_stack(path, str(path))
    assert not has_errors(found), (choice.checkpoint.repository, cards, found)
    assert compiled is not None, (choice.checkpoint.repository, cards, [each.message for each in problems])
    return compiled.plan.services[0].model.repository == choice.checkpoint.repository


@pytest.mark.parametrize("part", range(_PARTS))
def test_what_is_recommended_locks_and_compiles(part: int, tmp_path: Path) -> None:
    chance = random.Random(part)
    count = unrecorded = 0
    while count < _EACH:
        cards = Cards(chance.choice(_CARDS), chance.choice((1, 1, 1, 2)))
        result = recommend(registry(), wish_of(chance), cards, UserPrices())
        assert is_right(result)
        if not result.lists:
            continue
        choice = chance.choice(result.lists).choices[0]
        recording = recorded(choice.entry.id, choice.checkpoint.repository)
        if recording is None:
            unrecorded += 1
            continue
        count += 1
        assert compiles(result, choice, recording, cards, tmp_path / f"mine-{count}.yaml")
    assert unrecorded <= _EACH
