"""What a server will do under a load: `predict`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.speed.cards import Card
from compiler.speed.constants import FITTED, Constants
from compiler.speed.estimate import Estimate, Ground, Mark, Spread
from compiler.speed.grounds import ground
from compiler.speed.load import Load, Pool, Regime
from compiler.speed.server import Server
from compiler.speed.shape import Arithmetic, Shape
from compiler.speed.traffic import Times, times

# About the quantiles (4 and 96 %) of measured / predicted times on cases that were left out of the fit, each source,
# family and card with the same weight: `python -m benchmarks.speed_model --held-out unit` counts 95 of 100 rows inside.
_SPREADS: Mapping[Regime, Spread] = {
    Regime.SINGLE: Spread(0.5, 1.6),
    Regime.CLOSED: Spread(0.57, 1.8),
    Regime.BATCH: Spread(0.35, 2.2),
    Regime.BURST: Spread(0.35, 2.4),
    Regime.OPEN: Spread(0.3, 2.75),
}
_TTFT_ALONE, _TTFT = Spread(0.3, 3.2), Spread(0.25, 4.0)
# From token to token where all requests come at once: what publishers of bursts count as such differs.
_BURST_STEP = Spread(0.25, 4.0)
_WIDENED = 1.3
# Beyond so many at once measurements are few, and far from what is said of them.
_MANY, _OF_MANY = 128, Spread(0.4, 2.2)


@dataclass(frozen=True, slots=True)
class Speed:
    """What clients see on average, and what the server does in all.

    Attributes:
        ttft, tpot, request: seconds to the first token, from token to token after it, and to the last one.
        request_rate, output_rate: tokens a second that one request gets after its first token, and that all get.
        at_once: requests that run; fewer than ask where memory or seats are too few.
    """

    ttft: Estimate
    tpot: Estimate
    request: Estimate
    request_rate: Estimate
    output_rate: Estimate
    at_once: float
    ground: Ground


def predict(
    shape: Shape, card: Card, tensor_parallel: int, load: Load, pool: Pool, *, constants: Constants = FITTED
) -> Speed | None:
    """The speed of one replica under a load.

    Args:
        pool: of one rank.

    Returns:
        None where nothing can be said: of a GGUF model only what one request sees can.
    """
    if shape.arithmetic is Arithmetic.GGUF and load.regime is not Regime.SINGLE:
        return None
    found = times(Server(shape, card, tensor_parallel, pool, constants), load)
    rests_on = ground(shape, card, tensor_parallel, load, found.at_once)
    return _speed(found, load, rests_on)


def _speed(found: Times, load: Load, rests_on: Ground) -> Speed:
    power = 1.0 if rests_on.mark is Mark.MEASURED else _WIDENED
    spread = _SPREADS[load.regime].widened(power)
    if found.at_once > _MANY:
        spread = Spread(min(spread.low, _OF_MANY.low), max(spread.high, _OF_MANY.high))
    first = _TTFT_ALONE if load.regime is Regime.SINGLE else _TTFT
    tpot = (_BURST_STEP.widened(power) if load.regime is Regime.BURST else spread).around(found.tpot / 1000)
    return Speed(
        ttft=first.widened(power).around(found.ttft / 1000),
        tpot=tpot,
        request=spread.around(found.request / 1000),
        request_rate=tpot.inverse,
        output_rate=spread.around_rate(found.output_rate),
        at_once=found.at_once,
        ground=rests_on,
    )
