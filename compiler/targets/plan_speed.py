"""The estimates of speed in `plan.json`, with as many digits as an estimate has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.plan.speed import Measure, ServiceSpeed
from compiler.speed.estimate import Estimate

if TYPE_CHECKING:
    # A speed is told where there is no plan too, which takes long to import.
    from compiler.plan.ir import Plan

JsonObject = dict[str, Any]


def speed_objects(plan: Plan) -> list[JsonObject]:
    """Of each service of which anything is known."""
    return [{"service": each.name, **speed_object(each.speed)} for each in plan.services if each.speed is not None]


def speed_object(speed: ServiceSpeed) -> JsonObject:
    """Of one server, under each load."""
    return {
        "prompt_tokens": speed.prompt,
        "answer_tokens": speed.answer,
        "alone": _measure(speed.alone),
        "promised": None if speed.promised is None else _measure(speed.promised),
        "full": None if speed.full is None else _measure(speed.full),
    }


def _measure(measure: Measure) -> JsonObject:
    speed = measure.speed
    return {
        "concurrency": measure.concurrency,
        "ttft_seconds": _interval(speed.ttft),
        "ttft_p95_seconds": _interval(measure.ttft_p95),
        "tpot_seconds": _interval(speed.tpot),
        "request_seconds": _interval(speed.request),
        "request_tokens_per_second": _interval(speed.request_rate),
        "tokens_per_second": _interval(speed.output_rate),
        "mark": speed.ground.mark.value,
        "reasons": list(speed.ground.reasons),
    }


def _interval(found: Estimate) -> dict[str, float]:
    # More digits would say nothing, and their last ones are not the same on every processor.
    return {name: float(f"{getattr(found, name):.3g}") for name in ("low", "expected", "high")}
