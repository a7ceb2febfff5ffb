"""Questions of the smoke test: is this the server that the plan describes? Each returns what it saw, or raises.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

from stack import EXIT_ENVIRONMENT, JsonObject, Skipped, StackError, engine_of
from stack.ask.dialects import Dialect, dialect_of
from stack.ask.server import Process, Reply, Server, ServerError

EXIT_FAILED, EXIT_UNREACHABLE, EXIT_REFUSED, EXIT_NOT_SERVED = 1, 3, 5, 6
PROMPT = "Name three colours of the rainbow."
# A server that does not answer while it loads says 503 only once its engine is dead, and does not come back. Three in a
# row leave no doubt.
DEAD_ANSWERS = 3


class Target(NamedTuple):
    """A server and what the plan says of it.

    Attributes:
        name: the model as it is served.
        plan: of the whole node.
        process: the server's, where the caller named it.
        is_local: whether it runs on this machine.
        log: what it printed, where the caller named the file.
    """

    server: Server
    service: JsonObject
    name: str
    version: str
    has_key: bool
    ready_seconds: float
    plan: JsonObject
    process: Process | None = None
    is_local: bool = True
    log: Path | None = None

    @property
    def task(self) -> str:
        """`chat`, `completion`, `embed`, `score` or `classify`."""
        task: str = self.service["task"]
        return task

    @property
    def generates(self) -> bool:
        """Whether its answers are text, token by token."""
        return self.task in ("chat", "completion")

    @property
    def dialect(self) -> Dialect:
        """How its engine is asked."""
        return dialect_of(self.service)

    @property
    def engine(self) -> JsonObject:
        """What the plan says of its engine."""
        return engine_of(self.plan, self.service)


def skip(reason: str) -> NoReturn:
    """Leave a check out."""
    raise Skipped(reason)


def expect(holds: bool, message: str, code: int = EXIT_FAILED) -> None:  # noqa: FBT001
    """Fail with a message unless it holds."""
    if not holds:
        raise StackError(code, message)


def ask(target: Target, method: str, path: str, body: JsonObject | None = None, status: int = 200) -> Reply:
    """An answer with the status that is expected."""
    reply = reply_of(target.server, method, path, body)
    expect(reply.status == status, f"{path}: HTTP {reply.status} instead of {status}")
    return reply


def reply_of(server: Server, method: str, path: str, body: JsonObject | None = None) -> Reply:
    """An answer, whatever its status; a failed check where there is none."""
    try:
        return server.request(method, path, body)
    except ServerError as error:
        raise StackError(EXIT_FAILED, str(error)) from error


def json_of(reply: Reply) -> JsonObject:
    """The answer as a JSON object."""
    try:
        return reply.json()
    except ServerError as error:
        raise StackError(EXIT_FAILED, str(error)) from error


def check_health(target: Target) -> str:
    """The server answers, now or before the deadline; at once if its process is gone or its engine is dead."""
    server, dead_answers = target.server, 0
    waits = target.engine["answers_while_loading"]
    start = time.monotonic()
    while True:
        try:
            left = target.ready_seconds - (time.monotonic() - start)
            status = server.within(left).request("GET", "/health").status
            seen = f"HTTP {status} from /health"
        except ServerError as error:
            status, seen = 0, str(error)
        if target.process is not None and target.process.is_gone():
            raise StackError(EXIT_ENVIRONMENT, f"process {target.process.pid} is gone: its own output says why")
        if status == 200:
            return f"{server.host}:{server.port} is ready"
        dead_answers = dead_answers + 1 if status == 503 else 0
        is_dead = dead_answers >= DEAD_ANSWERS and not waits
        if is_dead or time.monotonic() - start >= target.ready_seconds:
            why = "its engine is dead, " if is_dead else ""
            raise StackError(EXIT_UNREACHABLE, f"{server.host}:{server.port} is not ready: {why}{seen}")
        time.sleep(min(1.0, target.ready_seconds))


def check_key(target: Target) -> str:
    """The right key opens the server."""
    path = target.dialect.guarded[0]
    status = reply_of(target.server, "GET", path).status
    expect(status not in (401, 403), f"{path}: HTTP {status} {_with_key(target)}", EXIT_REFUSED)
    expect(status == 200, f"{path}: HTTP {status} instead of 200")
    return f"accepted {_with_key(target)}"


def _with_key(target: Target) -> str:
    return "with the key of the file" if target.has_key else "without a key"


def check_guard(target: Target) -> str:
    """No key and a wrong key do not open the server."""
    if not target.has_key:
        raise Skipped("the plan has no API key: everyone who reaches the port may use the server")
    for title, key in (("no key", None), ("a wrong key", "wrong")):
        for path in target.dialect.guarded:
            status = reply_of(target.server.with_key(key), "GET", path).status
            expect(status == 401, f"{title}: HTTP {status} instead of 401")
    return "no key and a wrong key get 401"


def model_card(target: Target) -> JsonObject:
    """What the server says of the model; it fails where no model has that name."""
    cards = json_of(ask(target, "GET", "/v1/models")).get("data")
    listed = [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
    names = [str(card.get("id")) for card in listed]
    expect(target.name in names, f"{target.name} is not served, but {', '.join(names) or 'none'}", EXIT_NOT_SERVED)
    card: JsonObject = listed[names.index(target.name)]
    return card


def check_model(target: Target) -> str:
    """The model is served under its name."""
    model_card(target)
    return f"{target.name} is served"


def probe_request(target: Target) -> tuple[str, JsonObject]:
    """A short request of the kind that the service is for: the path and the body."""
    if target.task == "score":
        return "/v1/rerank", {"model": target.name, "query": PROMPT, "documents": [PROMPT]}
    if not target.generates:
        return target.dialect.texts[target.task], {"model": target.name, "input": PROMPT}
    if target.task == "chat":
        messages = [{"role": "user", "content": PROMPT}]
        return "/v1/chat/completions", {"model": target.name, "messages": messages, **target.dialect.sampling}
    return "/v1/completions", {"model": target.name, "prompt": PROMPT, **target.dialect.sampling}


def check_metrics(target: Target) -> str:
    """The metrics that dashboards need are there, and a request counts."""
    signals, before = target.engine["signals"], metrics_of(target)
    expect(bool(samples(before, signals["running"])), f"/metrics lacks {signals['running']}")
    counter = signals["generated" if target.generates else "prompted"]
    ask(target, "POST", *probe_request(target))
    for _ in range(10):
        grown = total(metrics_of(target), counter) - total(before, counter)
        if grown > 0:
            return f"{counter} rose by {grown:.0f}"
        time.sleep(0.1)  # the counter follows the answer by a moment
    raise StackError(EXIT_FAILED, f"{counter} did not rise")


def check_rule_metrics(target: Target) -> str:
    """Every metric that an alert or a panel asks for is exposed: over another name an alert never fires."""
    text, own = metrics_of(target), set(target.engine["signals"].values())
    if not target.service.get("draft"):
        own -= {target.engine["signals"].get(name) for name in ("guessed", "accepted")}
    names = [name for name in target.plan["monitoring"]["metrics"] if name in own]
    missing = [name for name in names if not samples(text, name)]
    expect(not missing, f"/metrics lacks {', '.join(missing)}")
    return f"all {len(names)} metrics of rules and panels are there"


def metrics_of(target: Target) -> str:
    """What it exposes, as Prometheus reads it."""
    return ask(target, "GET", "/metrics").body.decode("utf-8", "replace")


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Samples of one metric, by name, in the Prometheus text format."""
    pattern = re.compile(rf"^{re.escape(name)}(?:\{{(.*)\}})? +([-+.0-9eE]+|NaN|[-+]?Inf)\b", re.MULTILINE)
    label = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
    return [(dict(label.findall(labels)), float(value)) for labels, value in pattern.findall(text)]


def total(text: str, name: str) -> float:
    """The sum of a metric's samples; 0 where there are none."""
    return sum(value for _, value in samples(text, name))
