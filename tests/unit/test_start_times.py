"""What a start usually takes stands beside when it is given up, and is what public starts took."""

from __future__ import annotations

import re

import pytest

from compiler.engines.vllm.host.start_times import BESIDE_LOADING, SLOWEST, STARTS, TimedStart, start_speed
from compiler.units import GIB
from tests.conftest import ROOT


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.source)
def test_starts_that_were_told_lie_within_the_estimate(start: TimedStart) -> None:
    weights = int((start.gib or 0) * GIB)
    _, most = start_speed("gpu").usual_start(weights)
    assert (start.loading or 0) + (start.rest or 0) <= most
    if start.loading is not None:
        assert start.loading <= weights / SLOWEST
    if start.rest is not None:
        assert start.rest <= BESIDE_LOADING["gpu"][1]


def test_more_weights_take_longer() -> None:
    starts = [start_speed(build).usual_start(gib * GIB) for build in BESIDE_LOADING for gib in (0, 1, 20, 500)]
    assert all(least < most for least, most in starts)
    assert starts[:4] == sorted(starts[:4])
    assert starts[4:] == sorted(starts[4:])


def test_a_deadline_is_later_than_what_a_start_takes() -> None:
    found = []
    for page in sorted((ROOT / "generated").glob("*/README.md")):
        found += re.findall(r"\| (\d+) to (\d+) min \| (\d+) min \|", page.read_text())
    assert len(found) >= 10
    assert all(int(least) < int(most) < int(deadline) for least, most, deadline in found)
