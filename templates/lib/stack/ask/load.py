"""Questions of the smoke test about several requests at once, and about the way through the gateway.

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

from stack import JsonObject, Skipped, StackError, Warned
from stack.ask.probes import EXIT_FAILED, EXIT_UNREACHABLE, Target, ask, expect, probe_request, reply_of
from stack.ask.server import Server, ServerError

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


# What vLLM serves without asking for a key, or for whoever runs it: none of it belongs in front of clients.
HIDDEN = (
    ("GET", "/metrics"),
    ("GET", "/load"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("POST", "/pooling"),
    ("POST", "/invocations"),
)
# LiteLLM without a database answers 400 where a key is not its own.
REFUSALS = {"nginx": (401,), "litellm": (400, 401, 403)}


class Entrance(NamedTuple):
    """The gateway.

    Attributes:
        server: asked with a client's key, or with none where the plan has none.
        backend_key: the servers' own key, which no client has.
        targets: of the routes, to be asked through the gateway.
    """

    server: Server
    gateway: JsonObject
    has_key: bool
    backend_key: str | None
    targets: tuple[Target, ...]
    ready_seconds: float


def check_reachable(entrance: Entrance) -> str:
    """Something answers HTTP on its port, now or before the deadline."""
    server, start = entrance.server, time.monotonic()
    while True:
        try:
            left = entrance.ready_seconds - (time.monotonic() - start)
            status = server.within(left).request("GET", "/no-such-path").status
        except ServerError as error:
            if time.monotonic() - start >= entrance.ready_seconds:
                raise StackError(EXIT_UNREACHABLE, f"{server.host}:{server.port}: {error}") from error
            time.sleep(min(1.0, entrance.ready_seconds))
        else:
            expect(status == 404, f"/no-such-path: HTTP {status} instead of 404")
            return f"{server.host}:{server.port} answers, and an unknown path gets 404"


def check_client_keys(entrance: Entrance) -> str:
    """No key, a wrong one and the servers' own do not open the gateway."""
    if not entrance.has_key:
        raise Skipped("the plan has no client keys: everyone who reaches the gateway may use it")
    path, body = probe_request(entrance.targets[0])
    refusals = REFUSALS[entrance.gateway["kind"]]
    keys = [("no key", None), ("a wrong key", "wrong-" + "0" * 26)]
    if entrance.backend_key is not None and not entrance.server.has_key(entrance.backend_key):
        keys.append(("the servers' own key", entrance.backend_key))
    for title, key in keys:
        status = reply_of(entrance.server.with_key(key), "POST", path, body).status
        expect(status in refusals, f"{title}: HTTP {status} instead of {refusals[0]}")
    return f"{', '.join(title for title, _ in keys)}: refused"


def check_hidden(entrance: Entrance) -> str:
    """Paths that are not for clients cannot be reached, even with a client's key."""
    for method, path in HIDDEN:
        body = None if method == "GET" else {"model": entrance.targets[0].name, "prompt": "a", "input": "a"}
        status = reply_of(entrance.server, method, path, body).status
        expect(status in (401, 403, 404, 405), f"{path}: HTTP {status} instead of 404")
    return f"{', '.join(path for _, path in HIDDEN)} are not to be reached"


def check_unknown_model(entrance: Entrance) -> str:
    """A model that the stack has not is refused by the gateway."""
    path, body = probe_request(entrance.targets[0])
    status = reply_of(entrance.server, "POST", path, {**body, "model": "no-such-model"}).status
    expect(400 <= status < 500, f"HTTP {status} for a model that the stack has not, 4xx expected")
    return f"HTTP {status}"


def check_answer(target: Target) -> str:
    """A request for a model gets an answer through the gateway."""
    path, body = probe_request(target)
    reply = ask(target, "POST", path, body)
    if not reply.body:
        raise StackError(EXIT_FAILED, f"{path}: the answer is empty")
    return f"{path}: HTTP {reply.status}, {len(reply.body)} bytes"
