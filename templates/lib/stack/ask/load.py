"""Questions of the smoke test about several requests at once: how fast are they, and do all servers answer together?

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from stack import Skipped, StackError, Warned
from stack.ask.probes import EXIT_FAILED, Target, ask, probe_request
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
    """

    requests: int
    ttft_p95: float | None
    tpot_p95: float | None
    tokens_per_second: float | None
    is_strict: bool


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
    broken = list(_broken(budget, ttft, tpot, rate))
    if not broken:
        return seen if any(budget[1:4]) else f"{seen} (the plan has no objective to compare with)"
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


def check_together(targets: Sequence[Target]) -> str:
    """Every server answers while all of them are asked."""
    if len(targets) < 2:
        raise Skipped(f"{len(targets)} server to ask, which has answered alone")
    barrier = threading.Barrier(len(targets))

    def one(target: Target) -> str | None:
        barrier.wait(timeout=30)
        try:
            ask(target, "POST", *probe_request(target))
        except StackError as error:
            return f"{target.service['name']}: {error}"
        return None

    with ThreadPoolExecutor(len(targets)) as pool:
        failures = [failure for failure in pool.map(one, targets) if failure is not None]
    if failures:
        raise StackError(EXIT_FAILED, "; ".join(failures))
    return f"{', '.join(target.service['name'] for target in targets)} answered at the same time"
