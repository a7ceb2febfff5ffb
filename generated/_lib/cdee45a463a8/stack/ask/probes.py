"""Questions of the smoke test: is this the server that the plan describes? Each returns what it saw, or raises.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple, NoReturn

from stack import EXIT_ENVIRONMENT, JsonObject, Skipped, StackError
from stack.ask.server import Process, Reply, Server, ServerError

EXIT_FAILED, EXIT_UNREACHABLE, EXIT_REFUSED, EXIT_NOT_SERVED = 1, 3, 5, 6
PROMPT = "Name three colours of the rainbow."
GENERATED = "vllm:generation_tokens_total"
READ = "vllm:prompt_tokens_total"
RUNNING = "vllm:num_requests_running"
# Where a text alone is read, by task: a server for scores labels it too.
POOLED = {"embed": "/v1/embeddings", "score": "/classify", "classify": "/classify"}
CACHE = "vllm:cache_config_info"
# vLLM answers 503 only once its engine is dead, and it does not come back. Three in a row leave no doubt.
DEAD_ANSWERS = 3
# `min_tokens` keeps a model that would stop at once from looking broken.
SAMPLING = {"max_tokens": 32, "min_tokens": 4, "temperature": 0}


class Target(NamedTuple):
    """A server and what the plan says of it.

    Attributes:
        name: the model as it is served.
        plan: of the whole node.
        process: the server's, where the caller named it.
        is_local: whether it runs on this machine.
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

    @property
    def task(self) -> str:
        """`chat`, `completion`, `embed`, `score` or `classify`."""
        task: str = self.service["task"]
        return task

    @property
    def generates(self) -> bool:
        """Whether its answers are text, token by token."""
        return self.task in ("chat", "completion")


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
        is_dead = dead_answers >= DEAD_ANSWERS
        if is_dead or time.monotonic() - start >= target.ready_seconds:
            why = "its engine is dead, " if is_dead else ""
            raise StackError(EXIT_UNREACHABLE, f"{server.host}:{server.port} is not ready: {why}{seen}")
        time.sleep(min(1.0, target.ready_seconds))


def check_version(target: Target) -> str:
    """The engine is the planned release."""
    found = str(json_of(ask(target, "GET", "/version")).get("version"))
    expect(found.partition("+")[0] == target.version, f"vLLM {found}, the plan is for {target.version}")
    return f"vLLM {found}"


def check_key(target: Target) -> str:
    """The right key opens the server."""
    status = reply_of(target.server, "GET", "/v1/models").status
    expect(status not in (401, 403), f"/v1/models: HTTP {status} {_with_key(target)}", EXIT_REFUSED)
    expect(status == 200, f"/v1/models: HTTP {status} instead of 200")
    return f"accepted {_with_key(target)}"


def _with_key(target: Target) -> str:
    return "with the key of the file" if target.has_key else "without a key"


def check_guard(target: Target) -> str:
    """No key and a wrong key do not open the server."""
    if not target.has_key:
        raise Skipped("the plan has no API key: everyone who reaches the port may use the server")
    for title, key in (("no key", None), ("a wrong key", "wrong")):
        status = reply_of(target.server.with_key(key), "GET", "/v1/models").status
        expect(status == 401, f"{title}: HTTP {status} instead of 401")
    return "no key and a wrong key get 401"


def _model_card(target: Target) -> JsonObject:
    cards = json_of(ask(target, "GET", "/v1/models")).get("data")
    listed = [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
    names = [str(card.get("id")) for card in listed]
    expect(target.name in names, f"{target.name} is not served, but {', '.join(names) or 'none'}", EXIT_NOT_SERVED)
    card: JsonObject = listed[names.index(target.name)]
    return card


def check_model(target: Target) -> str:
    """The model is served under its name."""
    _model_card(target)
    return f"{target.name} is served"


def check_revision(target: Target) -> str:
    """The files are those of the planned model at the planned commit: vLLM names the folder that it loaded."""
    root, model = str(_model_card(target).get("root")), target.service["model"]
    parts = root.rstrip("/").split("/")
    if model["repository"] is None:
        expect(root.rstrip("/") == model["folder"].rstrip("/"), f"serves {root}, the plan says {model['folder']}")
        return root
    folder = "models--" + model["repository"].replace("/", "--")
    expect(folder in parts, f"serves {root}, the plan says {model['repository']}")
    if model["commit"] is None:
        raise Skipped(f"serves commit {parts[-1]} of {model['repository']}; the plan knows no commit")
    found, planned = parts[-1], model["commit"]
    same = found == planned if model["pinned"] else found.startswith(planned)
    expect(same, f"serves commit {found}, the plan says {planned}")
    return f"{model['repository']} at {found}"


def check_context(target: Target) -> str:
    """The context is the planned one."""
    found, planned = _model_card(target).get("max_model_len"), target.service["max_model_len"]
    expect(found == planned, f"max_model_len is {found}, the plan says {planned}")
    return f"{found} tokens"


def probe_request(target: Target) -> tuple[str, JsonObject]:
    """A short request of the kind that the service is for: the path and the body."""
    if target.task == "score":
        return "/v1/rerank", {"model": target.name, "query": PROMPT, "documents": [PROMPT]}
    if not target.generates:
        return POOLED[target.task], {"model": target.name, "input": PROMPT}
    if target.task == "chat":
        messages = [{"role": "user", "content": PROMPT}]
        return "/v1/chat/completions", {"model": target.name, "messages": messages, **SAMPLING}
    return "/v1/completions", {"model": target.name, "prompt": PROMPT, **SAMPLING}


def check_metrics(target: Target) -> str:
    """The metrics that dashboards need are there, and a request counts."""
    before = _metrics(target)
    expect(bool(_samples(before, RUNNING)), f"/metrics lacks {RUNNING}")
    counter = GENERATED if target.generates else READ
    ask(target, "POST", *probe_request(target))
    for _ in range(10):
        grown = _total(_metrics(target), counter) - _total(before, counter)
        if grown > 0:
            return f"{counter} rose by {grown:.0f}"
        time.sleep(0.1)  # the counter follows the answer by a moment
    raise StackError(EXIT_FAILED, f"{counter} did not rise")


def check_rule_metrics(target: Target) -> str:
    """Every metric that an alert or a panel asks for is exposed: over another name an alert never fires."""
    text, names = _metrics(target), target.plan["monitoring"]["metrics"]
    missing = [name for name in names if not _samples(text, name)]
    expect(not missing, f"/metrics lacks {', '.join(missing)}")
    return f"all {len(names)} metrics of rules and panels are there"


def check_kv_cache(target: Target) -> str:
    """The KV cache is the planned one, to the block."""
    planned = target.service["kv_cache"]
    if planned["bytes"] == 0:
        raise Skipped("the model keeps nothing of a request")
    found = _samples(_metrics(target), CACHE)
    expect(bool(found), f"/metrics lacks {CACHE}")
    for labels, _ in found:
        for label in ("num_blocks", "block_size"):
            name = "num_gpu_blocks" if label == "num_blocks" else label
            expect(labels.get(name) == str(planned[label]), f"{name} is {labels.get(name)}, planned {planned[label]}")
    return f"{planned['num_blocks']} blocks of {planned['block_size']} tokens"


def _metrics(target: Target) -> str:
    return ask(target, "GET", "/metrics").body.decode("utf-8", "replace")


def _samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Samples of one metric, by name, in the Prometheus text format."""
    pattern = re.compile(rf"^{re.escape(name)}(?:\{{(.*)\}})? +([-+.0-9eE]+|NaN|[-+]?Inf)\b", re.MULTILINE)
    label = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
    return [(dict(label.findall(labels)), float(value)) for labels, value in pattern.findall(text)]


def _total(text: str, name: str) -> float:
    return sum(value for _, value in _samples(text, name))
