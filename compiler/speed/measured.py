"""What a client measured of a server, and what that says of other loads of it: one factor for all its times.

Machines that are alike by their data sheets differ, as do releases: what one load took in place of what was said of it
holds for others of the same server as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from compiler.speed.estimate import Ground, Mark, Spread
from compiler.speed.load import Load, Regime
from compiler.speed.speed import Speed


@dataclass(frozen=True, slots=True)
class Served:
    """What must be alike for a measurement of one server to hold for another.

    Attributes:
        model: repository, or folder.
        quantization: method, or `none`.
        gpus: that it is divided over.
    """

    model: str
    quantization: str
    gpus: int


@dataclass(frozen=True, slots=True)
class MeasuredSpeed:
    """Medians of requests of one length, a fixed number of them open.

    Attributes:
        service: as it was called.
        served: which servers it holds for.
        concurrency: requests that were open.
        prompt, answer: tokens of each.
        ttft_ms, tpot_ms: to the first token, and from token to token after it.
        output_rate: tokens a second of all together.
        recorded: when, in UTC.
    """

    service: str
    served: Served
    concurrency: int
    prompt: int
    answer: int
    ttft_ms: float
    tpot_ms: float
    output_rate: float
    recorded: str

    @property
    def load(self) -> Load:
        """As clients made it: all requests have one length, so that they move in step."""
        regime = Regime.SINGLE if self.concurrency == 1 else Regime.CLOSED
        return Load(regime, self.prompt, self.answer, self.concurrency, lockstep=self.concurrency > 1)


@dataclass(frozen=True, slots=True)
class Correction:
    """How much longer than was said a server takes, as factors on times."""

    ttft: float
    rest: float


# Quantiles (4 and 96 %) of what is left, measured / corrected, on cases that nothing was fitted to, rounded outward:
# `python -m benchmarks.speed_model --cases FILE --held-out` prints them.
_AFTER, _FIRST_AFTER = Spread(0.7, 1.45), Spread(0.35, 2.3)
# Loads that differ by more from the measured one are less sure.
_ALIKE, _WIDENED = 4.0, 1.3


def nearest(measured: Sequence[MeasuredSpeed], load: Load) -> MeasuredSpeed | None:
    """The one whose load is most alike, the newest of those; None where there is none."""
    newest_first = sorted(measured, key=lambda one: one.recorded, reverse=True)
    return min(newest_first, key=lambda one: _apart(one.load, load), default=None)


def _apart(one: Load, other: Load) -> float:
    """By which factor loads differ, in requests at once or in tokens."""
    pairs = ((one.concurrency, other.concurrency), (one.input, other.input), (one.output, other.output))
    return max(max(a / b, b / a) for a, b in pairs)


def correction(one: MeasuredSpeed, said: Speed) -> Correction:
    """What a measurement took in place of what was said of its load."""
    steps = one.tpot_ms / 1000 / said.tpot.expected
    whole = said.output_rate.expected / one.output_rate
    return Correction(one.ttft_ms / 1000 / said.ttft.expected, math.sqrt(steps * whole))


def corrected(
    said: Speed, load: Load, measured: Sequence[MeasuredSpeed], predicted: Callable[[Load], Speed | None]
) -> Speed:
    """What is said of a load, by what was measured of the same server; as it is where nothing was.

    Args:
        predicted: what is said of other loads of it.
    """
    one = nearest(measured, load)
    reference = None if one is None else predicted(one.load)
    if one is None or reference is None:
        return said
    by = correction(one, reference)
    power = 1.0 if _apart(one.load, load) <= _ALIKE else _WIDENED
    spread = _AFTER.widened(power)
    tpot = spread.around(said.tpot.expected * by.rest)
    return replace(
        said,
        ttft=_FIRST_AFTER.widened(power).around(said.ttft.expected * by.ttft),
        tpot=tpot,
        request=spread.around(_request(said, by)),
        request_rate=tpot.inverse,
        output_rate=spread.around_rate(said.output_rate.expected / by.rest),
        ground=Ground(Mark.CALIBRATED, (f"{one.concurrency} at once, {one.recorded[:10]}",)),
    )


def _request(said: Speed, by: Correction) -> float:
    first = said.ttft.expected
    return first * by.ttft + max(0.0, said.request.expected - first) * by.rest
