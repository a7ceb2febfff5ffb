"""What a plan says of speed, for its schema."""

from __future__ import annotations

from pydantic import BaseModel

from compiler.speed.estimate import Mark


class Interval(BaseModel):
    """An estimate.

    Attributes:
        low: about four of a hundred measurements are lower.
        expected: most likely.
        high: about as many are higher.
    """

    low: float
    expected: float
    high: float


class Measure(BaseModel):
    """The speed under one load.

    Attributes:
        concurrency: requests that clients have open.
        ttft_seconds: to the first token, on average.
        ttft_p95_seconds: likewise, of 95 in 100 requests at most.
        tpot_seconds: from token to token after it.
        request_seconds: to the last one.
        request_tokens_per_second: that one request gets after its first token.
        tokens_per_second: that all get together.
        mark: what the estimates rest on.
        reasons: for that mark.
    """

    concurrency: int
    ttft_seconds: Interval
    ttft_p95_seconds: Interval
    tpot_seconds: Interval
    request_seconds: Interval
    request_tokens_per_second: Interval
    tokens_per_second: Interval
    mark: Mark
    reasons: list[str]


class Speed(BaseModel):
    """How fast a service is, with its neighbours on the same GPUs idle.

    Attributes:
        service: its name.
        prompt_tokens: of a request.
        answer_tokens: of a request.
        alone: with one request.
        promised: with as many as the spec promises; null where that is one, or nothing is known of it.
        full: with as many as run at once, likewise.
    """

    service: str
    prompt_tokens: int
    answer_tokens: int
    alone: Measure
    promised: Measure | None
    full: Measure | None
