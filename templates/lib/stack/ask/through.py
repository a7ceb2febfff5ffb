"""Questions of the smoke test to the gateway: does it lead to every model, guard them, and hide the rest?

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from stack import JsonObject, Skipped, StackError
from stack.ask.probes import EXIT_FAILED, EXIT_UNREACHABLE, Target, ask, expect, probe_request, reply_of
from stack.ask.server import Server, ServerError

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
