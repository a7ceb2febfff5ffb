"""What `stackc recommend` says, for programs."""

from __future__ import annotations

from typing import Any

from compiler.choose.grades import Grade
from compiler.choose.recommend.choice import Choice
from compiler.choose.recommend.constraints import Removed
from compiler.choose.recommend.lists import Listed
from compiler.choose.recommend.recommend import Recommendation
from compiler.choose.recommend.wish import DEFAULT_CONTEXT, USERS_AT_ONCE, Cards, Wish
from compiler.prices.ranges import Range
from compiler.registry.entry import ModelEntry
from compiler.registry.read import Registry
from compiler.registry.terms import stricter_base
from compiler.speed.estimate import Estimate


def recommendation_object(found: Recommendation, known: Registry) -> dict[str, Any]:
    """All rows, and the lists by the names of their models."""
    return {
        "wish": wish_object(found.wish),
        "graded_at": found.graded_at,
        "machines": [cards_object(cards) for cards in found.machines],
        "lists": {each.criterion: _list(each, known) for each in found.lists},
        "rows": [choice_object(choice, known) for choice in found.rows],
        "removed": [removed_object(each) for each in found.removed],
    }


def wish_object(wish: Wish) -> dict[str, Any]:
    """What was asked, and what was assumed of it."""
    return {
        "task": wish.task,
        "context": wish.context,
        "context_if_none_is_asked": DEFAULT_CONTEXT,
        "concurrency": wish.at_once,
        "users": wish.users,
        "users_for_each_request_at_once": USERS_AT_ONCE if wish.users is not None else None,
        "commercial": wish.commercial,
        "languages": list(wish.languages),
        "needs": list(wish.all_needs),
        "min_tokens_per_second": wish.min_rate,
        "max_ttft_seconds": wish.max_ttft,
        "max_parameters": wish.most_parameters,
        "quantization": list(wish.methods),
        "publishers": list(wish.publishers),
        "budget_per_hour": None if wish.budget is None else round(wish.budget.per_hour, 6),
        "currency": None if wish.budget is None else wish.budget.currency,
    }


def cards_object(cards: Cards) -> dict[str, Any]:
    """A machine."""
    return {"gpu": cards.gpu, "count": cards.count, "owned": cards.are_owned}


def removed_object(removed: Removed) -> dict[str, Any]:
    """What a condition took out."""
    return {
        "constraint": removed.constraint,
        "asked": removed.asked,
        "models": removed.count,
        "nobody_says": removed.unsaid,
        "example": removed.example,
        "because": removed.because,
    }


def _list(each: Listed, known: Registry) -> dict[str, Any]:
    return {
        "among": each.among,
        "decided": each.decided,
        "choices": [choice_object(choice, known) for choice in each.choices],
    }


def choice_object(choice: Choice, known: Registry) -> dict[str, Any]:
    """One way to serve a model."""
    fit, entry, speed = choice.proof.fit, choice.entry, choice.speed
    return {
        "model": entry.id,
        "repository": choice.checkpoint.repository,
        "quantization": choice.checkpoint.method,
        "format": choice.checkpoint.form,
        "block_is_assumed": choice.checkpoint.is_usual,
        "engine": choice.proof.engine,
        **cards_object(choice.cards),
        "gpus_in_machine": choice.proof.cards.count,
        "verdict": None if fit.verdict is None else fit.verdict.value,
        "context": choice.proof.context,
        "weights_bytes": fit.weights,
        "kv_cache_bytes": fit.cache,
        "slack_bytes": fit.slack,
        "grade": grade_object(choice.grade),
        "quality": _rounded(choice.quality),
        "penalty": None if choice.penalty is None else [choice.penalty.low, choice.penalty.high],
        "penalty_source": None if choice.penalty is None else choice.penalty.source or None,
        "tokens_per_second": None if speed is None else _estimate(speed.request_rate),
        "ttft_p95_seconds": None if choice.ttft is None else _estimate(choice.ttft),
        "output_tokens_per_second": None if speed is None else _estimate(speed.output_rate),
        "speed_rests_on": None if speed is None else speed.ground.mark.value,
        "per_hour": _range(choice.per_hour),
        "per_million_output_tokens": _range(choice.per_million),
        "currency": choice.currency,
        "license": {
            "name": entry.license.name,
            "commercial": entry.license.commercial,
            "condition": entry.license.condition,
            "link": known.license_link(entry),
            "base": _base(entry, known),
        },
        "tools": entry.tools,
        "parameters": entry.parameters,
        "trap": entry.trap,
        "own": known.own.get(entry.id),
    }


def _base(entry: ModelEntry, known: Registry) -> dict[str, Any] | None:
    """The licence of what it was made from, where that allows less."""
    base = stricter_base(entry, known)
    if base is None:
        return None
    of = {"model": base.repository, "name": base.name, "commercial": base.commercial}
    return {**of, "condition": base.condition, "link": base.link}


def grade_object(grade: Grade) -> dict[str, Any]:
    """Where a model stands, and on what that rests."""
    return {
        "kind": grade.kind,
        "position": _rounded(grade.position),
        "low": _rounded(grade.low),
        "high": _rounded(grade.high),
        "sets": grade.sets,
        "parties": grade.parties,
        "newest": grade.newest,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _estimate(estimate: Estimate) -> dict[str, float]:
    # More digits than these an estimate does not have.
    return {key: float(f"{getattr(estimate, key):.4g}") for key in ("low", "expected", "high")}


def _range(amounts: Range | None) -> dict[str, float] | None:
    return None if amounts is None else {"low": round(amounts.low, 6), "high": round(amounts.high, 6)}
