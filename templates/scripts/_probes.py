"""The questions of the smoke test. Each returns what it saw, or raises with what it expected.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple, NoReturn

from _server import Reply, Server, ServerError
from _stack import JsonObject, Skipped, StackError

EXIT_FAILED, EXIT_UNREACHABLE, EXIT_REFUSED, EXIT_NOT_SERVED = 1, 3, 5, 6
PROMPT = "Name three colours of the rainbow."
GENERATED = "vllm:generation_tokens_total"
RUNNING = "vllm:num_requests_running"
CACHE = "vllm:cache_config_info"
# `min_tokens` keeps a model that would stop at once from looking broken.
SAMPLING = {"max_tokens": 32, "min_tokens": 4, "temperature": 0}


class Target(NamedTuple):
    """A server and what the plan says of it."""

    server: Server
    service: JsonObject
    name: str
    version: str
    has_key: bool
    ready_seconds: float
    rule_metrics: tuple[str, ...] = ()


def skip(reason: str) -> NoReturn:
    """Leave a check out."""
    raise Skipped(reason)


def _expect(holds: bool, message: str, code: int = EXIT_FAILED) -> None:  # noqa: FBT001
    if not holds:
        raise StackError(code, message)


def _ask(target: Target, method: str, path: str, body: JsonObject | None = None, status: int = 200) -> Reply:
    reply = _reply(target.server, method, path, body)
    _expect(reply.status == status, f"{path}: HTTP {reply.status} instead of {status}")
    return reply


def _reply(server: Server, method: str, path: str, body: JsonObject | None = None) -> Reply:
    try:
        return server.request(method, path, body)
    except ServerError as error:
        raise StackError(EXIT_FAILED, str(error)) from error


def _json(reply: Reply) -> JsonObject:
    try:
        return reply.json()
    except ServerError as error:
        raise StackError(EXIT_FAILED, str(error)) from error


def check_health(target: Target) -> str:
    """The server answers, now or before the deadline."""
    server = target.server
    start = time.monotonic()
    while True:
        try:
            status = server.request("GET", "/health").status
            seen = f"HTTP {status} from /health"
        except ServerError as error:
            status, seen = 0, str(error)
        if status == 200:
            return f"{server.host}:{server.port} is ready"
        if time.monotonic() - start >= target.ready_seconds:
            raise StackError(EXIT_UNREACHABLE, f"{server.host}:{server.port} is not ready: {seen}")
        time.sleep(min(1.0, target.ready_seconds))


def check_version(target: Target) -> str:
    """The engine is the planned release."""
    found = str(_json(_ask(target, "GET", "/version")).get("version"))
    _expect(found.partition("+")[0] == target.version, f"vLLM {found}, the plan is for {target.version}")
    return f"vLLM {found}"


def check_key(target: Target) -> str:
    """The right key opens the server."""
    status = _reply(target.server, "GET", "/v1/models").status
    _expect(status not in (401, 403), f"/v1/models: HTTP {status} {_with_key(target)}", EXIT_REFUSED)
    _expect(status == 200, f"/v1/models: HTTP {status} instead of 200")
    return f"accepted {_with_key(target)}"


def _with_key(target: Target) -> str:
    return "with the key of the file" if target.has_key else "without a key"


def check_guard(target: Target) -> str:
    """No key and a wrong key do not open the server."""
    if not target.has_key:
        raise Skipped("the plan has no API key: everyone who reaches the port may use the server")
    for title, key in (("no key", None), ("a wrong key", "wrong")):
        status = _reply(target.server.with_key(key), "GET", "/v1/models").status
        _expect(status == 401, f"{title}: HTTP {status} instead of 401")
    return "no key and a wrong key get 401"


def _model_card(target: Target) -> JsonObject:
    cards = _json(_ask(target, "GET", "/v1/models")).get("data", [])
    names = [str(card.get("id")) for card in cards]
    _expect(target.name in names, f"{target.name} is not served, but {', '.join(names) or 'none'}", EXIT_NOT_SERVED)
    card: JsonObject = cards[names.index(target.name)]
    return card


def check_model(target: Target) -> str:
    """The model is served under its name."""
    _model_card(target)
    return f"{target.name} is served"


def check_context(target: Target) -> str:
    """The context is the planned one."""
    found, planned = _model_card(target).get("max_model_len"), target.service["max_model_len"]
    _expect(found == planned, f"max_model_len is {found}, the plan says {planned}")
    return f"{found} tokens"


def check_chat(target: Target) -> str:
    """A chat gets an answer, be it content or reasoning."""
    if target.service["task"] != "chat":
        raise Skipped(f"the task is {target.service['task']}")
    choice, usage = _generate(target, "/v1/chat/completions", _chat_body(target))
    message = choice.get("message") or {}
    text = message.get("content") or message.get("reasoning") or message.get("reasoning_content")
    _expect(bool(text), "the answer is empty")
    return f"{usage} tokens, finished by {choice.get('finish_reason')}"


def check_completion(target: Target) -> str:
    """A completion gets an answer."""
    choice, usage = _generate(target, "/v1/completions", {"model": target.name, "prompt": PROMPT, **SAMPLING})
    _expect(bool(choice.get("text")), "the answer is empty")
    return f"{usage} tokens, finished by {choice.get('finish_reason')}"


def _chat_body(target: Target) -> JsonObject:
    return {"model": target.name, "messages": [{"role": "user", "content": PROMPT}], **SAMPLING}


def _generate(target: Target, path: str, body: JsonObject) -> tuple[JsonObject, int]:
    answer = _json(_ask(target, "POST", path, body))
    choices = answer.get("choices") or [{}]
    choice: JsonObject = choices[0]
    usage = (answer.get("usage") or {}).get("completion_tokens")
    _expect(choice.get("finish_reason") in ("stop", "length"), f"finish_reason is {choice.get('finish_reason')}")
    if not isinstance(usage, int) or usage < 1:
        raise StackError(EXIT_FAILED, f"usage counts {usage} generated tokens")
    return choice, usage


def check_stream(target: Target) -> str:
    """A streamed answer comes in pieces and ends properly."""
    is_chat = target.service["task"] == "chat"
    body = _chat_body(target) if is_chat else {"model": target.name, "prompt": PROMPT, **SAMPLING}
    try:
        path = "/v1/chat/completions" if is_chat else "/v1/completions"
        events = [event for event in target.server.stream(path, {**body, "stream": True}) if event.data]
    except ServerError as error:
        raise StackError(EXIT_FAILED, f"the stream broke: {error}") from error
    _expect(bool(events) and events[-1].data == "[DONE]", "the stream did not end with [DONE]")
    _expect(len(events) >= 3, f"{len(events) - 1} chunks, at least 2 expected")
    _expect(all('"error"' not in event.data[:20] for event in events), "the stream carries an error")
    return f"{len(events) - 1} chunks, first after {events[0].seconds * 1000:.0f} ms"


def check_overlong(target: Target) -> str:
    """A request beyond the context is refused, and the server lives on."""
    body: JsonObject = {"model": target.name, "prompt": [1] * (target.service["max_model_len"] + 1), "max_tokens": 1}
    status = _reply(target.server, "POST", "/v1/completions", body).status
    _expect(400 <= status < 500, f"HTTP {status} for {len(body['prompt'])} tokens, 4xx expected")
    _ask(target, "POST", "/v1/completions", {**body, "prompt": [1]})
    return f"HTTP {status} for {len(body['prompt'])} tokens, then a short one was answered"


def check_metrics(target: Target) -> str:
    """The metrics that dashboards need are there, and generating counts."""
    before = _metrics(target)
    _expect(bool(_samples(before, RUNNING)), f"/metrics lacks {RUNNING}")
    body = {"model": target.name, "prompt": PROMPT, **SAMPLING}
    _ask(target, "POST", "/v1/completions", body)
    for _ in range(10):
        grown = _total(_metrics(target), GENERATED) - _total(before, GENERATED)
        if grown > 0:
            return f"{GENERATED} rose by {grown:.0f}"
        time.sleep(0.1)  # the counter follows the answer by a moment
    raise StackError(EXIT_FAILED, f"{GENERATED} did not rise")


def check_rule_metrics(target: Target) -> str:
    """Every metric that an alert or a panel asks for is exposed: over another name an alert never fires."""
    text = _metrics(target)
    missing = [name for name in target.rule_metrics if not _samples(text, name)]
    _expect(not missing, f"/metrics lacks {', '.join(missing)}")
    return f"all {len(target.rule_metrics)} metrics of rules and panels are there"


def check_kv_cache(target: Target) -> str:
    """The KV cache is the planned one, to the block."""
    planned = target.service["kv_cache"]
    found = _samples(_metrics(target), CACHE)
    _expect(bool(found), f"/metrics lacks {CACHE}")
    for labels, _ in found:
        for label in ("num_blocks", "block_size"):
            name = "num_gpu_blocks" if label == "num_blocks" else label
            _expect(labels.get(name) == str(planned[label]), f"{name} is {labels.get(name)}, planned {planned[label]}")
    return f"{planned['num_blocks']} blocks of {planned['block_size']} tokens"


def _metrics(target: Target) -> str:
    return _ask(target, "GET", "/metrics").body.decode("utf-8", "replace")


def _samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Samples of one metric, by name, in the Prometheus text format."""
    pattern = re.compile(rf"^{re.escape(name)}(?:\{{(.*)\}})? +(\S+)", re.MULTILINE)
    label = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
    return [(dict(label.findall(labels)), float(value)) for labels, value in pattern.findall(text)]


def _total(text: str, name: str) -> float:
    return sum(value for _, value in _samples(text, name))
