"""What one measured point of a server is worth: its other loads, as said and as corrected by that point."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.speeds.cases import SpeedCase
from compiler.speed.estimate import Estimate
from compiler.speed.load import Load, Regime
from compiler.speed.measured import MeasuredSpeed, Served, corrected
from compiler.speed.speed import Speed

Said = tuple[SpeedCase, Speed]
_RATE, _STEP, _FIRST = "output_tok_s", "tpot_ms", "ttft_ms"
_SERVED = Served("", "", 0)


@dataclass(frozen=True, slots=True)
class Corrected:
    """A target of a load that was not the measured one: what was said and measured, before and after."""

    target: str
    before: float
    after: float
    inside: bool


def correct(said: Iterable[Said]) -> Iterator[Corrected]:
    """Every server of which several loads were measured, by the one in the middle that has what `bin/bench` keeps."""
    servers: dict[object, list[Said]] = defaultdict(list)
    for case, speed in said:
        if case.load.regime in (Regime.SINGLE, Regime.CLOSED):
            servers[case.group, case.shape, case.ranks].append((case, speed))
    for loads in servers.values():
        yield from _of_server(loads)


def _of_server(loads: Sequence[Said]) -> Iterator[Corrected]:
    whole = [each for each in loads if {_RATE, _STEP} <= each[0].measured.keys()]
    if len(loads) < 2 or not whole:
        return
    whole.sort(key=lambda each: (each[0].load.concurrency, each[0].load.input))
    point, reference = whole[len(whole) // 2]
    measured = _measured(point, reference)
    for case, speed in loads:
        if case is not point:
            after = corrected(speed, case.load, (measured,), lambda _: reference)
            yield from _targets(case, speed, after, first=_FIRST in point.measured)


def _measured(point: SpeedCase, said: Speed) -> MeasuredSpeed:
    load: Load = point.load
    return MeasuredSpeed(
        service="",
        served=_SERVED,
        concurrency=load.concurrency,
        prompt=round(load.input),
        answer=round(load.output),
        ttft_ms=point.measured.get(_FIRST, said.ttft.expected * 1000),
        tpot_ms=point.measured[_STEP],
        output_rate=point.measured[_RATE],
        recorded="",
    )


def _targets(case: SpeedCase, before: Speed, after: Speed, *, first: bool) -> Iterator[Corrected]:
    old, new = estimates(before), estimates(after)
    for target, value in case.measured.items():
        if target != _FIRST or first:
            inside = new[target].low <= value <= new[target].high
            yield Corrected(target, old[target].expected / value, new[target].expected / value, inside)


def estimates(speed: Speed) -> Mapping[str, Estimate]:
    """By target of the cases, in its unit."""
    scaled = {_STEP: speed.tpot, "e2e_ms": speed.request, _FIRST: speed.ttft}
    in_ms = {name: Estimate(each.low * 1e3, each.expected * 1e3, each.high * 1e3) for name, each in scaled.items()}
    return {**in_ms, _RATE: speed.output_rate}


def point_figures(found: Sequence[Corrected]) -> dict[str, float]:
    """Number, medians of errors before and after, and share of measurements within the corrected interval."""
    if not found:
        return {"n": 0, "before": 0.0, "after": 0.0, "coverage": 0.0}
    return {
        "n": len(found),
        "before": round(statistics.median(abs(each.before - 1) * 100 for each in found), 2),
        "after": round(statistics.median(abs(each.after - 1) * 100 for each in found), 2),
        "coverage": round(100 * statistics.mean(each.inside for each in found), 2),
    }
