"""What others say of speed without measurements: bytes by bandwidth, and a roofline at the data sheet's peaks."""

from __future__ import annotations

from benchmarks.speeds.cases import SpeedCase
from compiler.speed.load import most_at_once
from compiler.speed.shape import Arithmetic

_FLAT = 0.6


def flat_bandwidth(case: SpeedCase) -> dict[str, float]:
    """Every request at once gets a token in the time in which the active weights are read at 60 % of the bandwidth."""
    step = _active(case)[1] / (case.ranks * case.card.bandwidth * 1e6 * _FLAT)
    return _figures(case, step, 0.0)


def roofline(case: SpeedCase) -> dict[str, float]:
    """The longer of reading and multiplying, at the data sheet's figures."""
    parameters, weights = _active(case)
    peak = case.ranks * _peak(case) * 1e9
    batch, context = _batch(case), case.load.input + case.load.output / 2
    cache = batch * case.shape.cache_bytes(context, case.ranks) * case.ranks
    step = max((weights + cache) / (case.ranks * case.card.bandwidth * 1e6), 2 * batch * parameters / peak)
    return _figures(case, step, 2 * case.load.input * parameters / peak)


def _active(case: SpeedCase) -> tuple[float, float]:
    """Parameters of a token, and their bytes."""
    parts, experts = (case.shape.attention, case.shape.dense, case.shape.head), case.shape.experts
    parameters = float(sum(part.parameters for part in parts))
    size = sum(part.size for part in parts)
    if experts is not None:
        active = experts.layers * experts.active * experts.parameters
        parameters, size = parameters + active, size + active * experts.bytes_each
    return parameters, size


def _peak(case: SpeedCase) -> float:
    card, arithmetic = case.card, case.shape.arithmetic
    units = {Arithmetic.FP8: card.fp8, Arithmetic.FP4: card.fp4, Arithmetic.INT8: card.int8}
    return units.get(arithmetic) or card.bf16


def _batch(case: SpeedCase) -> float:
    limit = most_at_once(case.shape, case.ranks, case.load, case.pool)
    asked = case.load.requests if case.load.requests is not None else case.load.concurrency
    return min(limit, max(asked or 1, case.load.concurrency))


def _figures(case: SpeedCase, step: float, prefill: float) -> dict[str, float]:
    request = prefill + case.load.output * step
    rate = _batch(case) * case.load.output / request * 1000
    return {"tpot_ms": step, "output_tok_s": rate, "e2e_ms": request, "ttft_ms": prefill + step}
