"""The smoke test's question of speed: many requests at once, against what was asked for and what was estimated.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from stack import Skipped, StackError, Warned
from stack.ask.probes import EXIT_FAILED, Target, probe_request
from stack.ask.server import ServerError

TOKENS = 64
MOST_AT_ONCE = 8


class Budget(NamedTuple):
    """What answers may take. None stands for no limit.

    Attributes:
        requests: measured, after one to warm up.
        ttft_p95: seconds to the first token that 95 of 100 requests may take.
        tpot_p95: seconds for each further token, likewise.
        tokens_per_second: of all requests together, at least.
        is_strict: whether a limit that is not kept is a failure, not a warning.
        estimate: of tokens a second that each request gets, least and most; None where the plan has none.
    """

    requests: int
    ttft_p95: float | None
    tpot_p95: float | None
    tokens_per_second: float | None
    is_strict: bool
    estimate: tuple[float, float] | None = None


class _Timing(NamedTuple):
    first: float
    last: float
    tokens: int

    @property
    def per_token(self) -> float:
        return (self.last - self.first) / (self.tokens - 1) if self.tokens > 1 else 0.0


def check_budget(target: Target, budget: Budget) -> str:
    """Requests at the planned concurrency keep the budget."""
    if budget.requests == 0:
        raise Skipped("no requests were asked for")
    if not target.generates:
        raise Skipped("the service gives no text: its answers come whole, there is no first token")
    _measure(target)
    at_once = min(target.service["concurrency"], MOST_AT_ONCE, budget.requests)
    start = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        timings = list(pool.map(lambda _: _measure(target), range(budget.requests)))
    seconds = time.monotonic() - start
    ttft, tpot = (p95([timing.first for timing in timings]), p95([timing.per_token for timing in timings]))
    rate = sum(timing.tokens for timing in timings) / seconds
    seen = f"{budget.requests} requests, {at_once} at once: p95 first token {ttft * 1000:.0f} ms, "
    seen += f"p95 further tokens {tpot * 1000:.1f} ms, {rate:.0f} tokens/s"
    per_token = statistics.median(timing.per_token for timing in timings)
    broken = [*_broken(budget, ttft, tpot, rate), *_slower(budget, per_token)]
    if not broken:
        compared = any(budget[1:4]) or budget.estimate
        return f"{seen}{_estimated(budget)}" if compared else f"{seen} (the plan has no objective to compare with)"
    text = f"{seen}; {', '.join(broken)}"
    raise StackError(EXIT_FAILED, text) if budget.is_strict else Warned(text)


def _broken(budget: Budget, ttft: float, tpot: float, rate: float) -> list[str]:
    found = []
    if budget.ttft_p95 is not None and ttft > budget.ttft_p95:
        found.append(f"first token over {budget.ttft_p95:g} s")
    if budget.tpot_p95 is not None and tpot > budget.tpot_p95:
        found.append(f"further tokens over {budget.tpot_p95:g} s")
    if budget.tokens_per_second is not None and rate < budget.tokens_per_second:
        found.append(f"fewer than {budget.tokens_per_second:g} tokens/s")
    return found


def _slower(budget: Budget, per_token: float) -> list[str]:
    """Prompts here are short: an estimate for longer ones is no more than this should be."""
    if budget.estimate is None or not per_token or 1 / per_token >= budget.estimate[0]:
        return []
    return [f"slower than estimated: each request gets {1 / per_token:.2g} tokens/s{_estimated(budget)}"]


def _estimated(budget: Budget) -> str:
    if budget.estimate is None:
        return ""
    least, most = budget.estimate
    return f" (the plan's estimate for each request: {least:g} to {most:g} tokens/s)"


def p95(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _measure(target: Target) -> _Timing:
    """One streamed answer. Tokens are counted by the server: a chunk may hold several."""
    path, body = probe_request(target)
    body |= {"max_tokens": TOKENS, "stream": True, "stream_options": {"include_usage": True}}
    try:
        events = [event for event in target.server.stream(path, body) if event.data]
    except ServerError as error:
        raise StackError(EXIT_FAILED, f"a request failed: {error}") from error
    if len(events) < 3 or events[-1].data != "[DONE]":
        raise StackError(EXIT_FAILED, "a stream did not end with [DONE]")
    return _Timing(events[0].seconds, events[-3].seconds, _tokens(events[-2].data))


def _tokens(data: str) -> int:
    try:
        usage = json.loads(data).get("usage")
        tokens = usage.get("completion_tokens")
    except (ValueError, AttributeError, RecursionError):
        tokens = None
    if not isinstance(tokens, int) or tokens < 1:
        raise StackError(EXIT_FAILED, "the end of a stream does not count the tokens")
    return tokens
