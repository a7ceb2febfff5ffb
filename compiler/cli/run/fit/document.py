"""Answers about many cards for programs."""

from __future__ import annotations

from typing import Any

from compiler.choose.cards import CardAnswer
from compiler.cli.run.cost.offers import price_object
from compiler.targets.plan_speed import speed_object


def card_object(each: CardAnswer) -> dict[str, Any]:
    """Of one card."""
    fit, server = each.fit, each.fit.server
    return {
        "gpu": each.gpu.name,
        "memory_bytes": each.gpu.memory,
        "count": each.count,
        "verdict": fit.verdict.value if fit.verdict is not None else None,
        "code": fit.code,
        "reason": fit.reason,
        "short_bytes": fit.short,
        "candidate": fit.candidate,
        "quantization": fit.method,
        "bits_per_weight": None if server is None else round(server.demand.variant.bits_per_weight, 2),
        "gpus": fit.gpus,
        "context": server.demand.length if server is not None else None,
        "concurrency": server.demand.terms.concurrency if server is not None else None,
        "most_context": fit.most_context,
        "most_concurrency": fit.most_concurrency,
        "weights_bytes": fit.weights,
        "kv_cache_bytes": fit.cache,
        "slack_bytes": fit.slack,
        "speed": None if each.speed is None else speed_object(each.speed),
        "prices": list(map(price_object, each.prices)),
    }
