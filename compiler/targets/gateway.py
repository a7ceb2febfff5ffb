"""`gateway/` and the programs beside it: one port for the whole stack, on nginx or on LiteLLM.

nginx with its JavaScript module routes each request to the server of the model that its body names. What only the
machine knows (keys, weights, where servers are) `bin/gateway` adds when it starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from compiler.catalog.packages import LITELLM_VERSION
from compiler.plan.ir import Gateway, Plan, Rollout, Route, Service
from compiler.render.artifact import EXECUTABLE, Artifact
from compiler.render.environment import read_verbatim, render
from compiler.targets.deployment import WRONG_KEYS_PER_SECOND, address_connections, rollout_fingerprint
from compiler.targets.library import BIN, emit_program

GATEWAY = PurePosixPath("gateway")

# What vLLM 0.33.0 and 0.32.0 serve for a generating model under /v1 with the model's name in a JSON body, and without
# keeping anything (vllm/entrypoints/openai/*/api_router.py, vllm/entrypoints/anthropic/api_router.py). Stored responses
# are off by default (VLLM_ENABLE_RESPONSES_API_STORE), so a response belongs to no revision. Left out: `render` and
# `batch`, adapters, and everything outside /v1, which the API key does not guard.
_COMPLETION_PATHS = ("/v1/completions",)
_CHAT_PATHS = (
    "/v1/chat/completions",
    *_COMPLETION_PATHS,
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
)
# Of the pooling runner's paths (vllm/entrypoints/pooling/*/api_router.py), those of the task. Some are outside /v1,
# where the servers ask for no key: the gateway asks its clients for theirs on every path.
TASK_PATHS = {
    "chat": _CHAT_PATHS,
    "completion": _COMPLETION_PATHS,
    "embed": ("/v1/embeddings",),
    "score": ("/v1/rerank", "/v2/rerank", "/rerank", "/v1/score", "/score"),
    "classify": ("/classify",),
}

# Parsing a body holds a worker up, 10 ms for a megabyte; more of them than a few serve no purpose before one node.
_WORKERS = 4
# Wrong keys of one address beyond its rate: a client that was set up wrongly is told so first.
_WRONG_KEYS_BURST = 50


# Headers of a client that vLLM 0.33.0 and 0.32.0 read beside Accept and Content-Type: the session
# (vllm/entrypoints/generate/base/serving.py) and the trace (vllm/tracing). Not among them: what steers a server, its
# priority (X-Vllm-Priority), its rank (X-Data-Parallel-Rank) and load reports (Endpoint-Load-Metrics-Format).
_CLIENT_HEADERS = ("X-Session-Id", "Traceparent", "Tracestate")


@dataclass(frozen=True, slots=True)
class NginxHeader:
    """A header that a server gets from the client: as nginx calls it, and what is passed on of it."""

    name: str
    source: str
    passed: str


@dataclass(frozen=True, slots=True)
class NginxRoute:
    """An internal location: requests for the model `name`. `split` is the variable that a rollout decides, or None."""

    location: str
    name: str
    service: str
    split: str | None
    read_timeout: int


@dataclass(frozen=True, slots=True)
class NginxRollout:
    """How nginx divides requests. Names are variables of nginx, without the dollar.

    Attributes:
        header: the client's header that names a session; None where something else decides.
        source: what decides whose request goes where.
        split: holds the service that answers.
        fingerprint: of both revisions and the planned weight (percent).
    """

    stable: str
    candidate: str
    header: str | None
    source: str
    split: str
    weight: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class NginxError:
    """What nginx itself answers with a status: `body` has the form of OpenAI's API."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NginxConfig:
    """`gateway/nginx.conf`. Sizes are bytes, times seconds; `requests_per_second` None means no limits of a client.

    Attributes:
        connections: requests of one client at once; `address_connections` of one address.
        origins: websites whose pages may ask, from browsers.
    """

    stack: str
    workers: int
    drain_seconds: int
    max_body: int
    requests_per_second: int | None
    burst: int
    connections: int
    address_connections: int
    wrong_keys_per_second: int
    wrong_keys_burst: int
    origins: tuple[str, ...]
    headers: tuple[NginxHeader, ...]
    paths: tuple[str, ...]
    routes: tuple[NginxRoute, ...]
    rollouts: tuple[NginxRollout, ...]
    errors: tuple[NginxError, ...]

    @property
    def allows_any_origin(self) -> bool:
        """Whether pages of every website may ask."""
        return "*" in self.origins


@dataclass(frozen=True, slots=True)
class Routing:
    """`gateway/stack.js`: models and, for each path, the location of each model."""

    stack: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Backend:
    """A server as the gateway finds it. `variable` tells LiteLLM its address."""

    name: str
    host: str
    port: int
    variable: str


@dataclass(frozen=True, slots=True)
class GatewayScript:
    """`bin/gateway`. `client_keys` and `api_key` are paths on the server, or None; nginx has its origins elsewhere."""

    stack: str
    host: str
    port: int
    program: str
    gateway_dir: str
    state_dir: str
    client_keys: str | None
    api_key: str | None
    services: tuple[Backend, ...]
    rollouts: tuple[NginxRollout, ...]
    cors_origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LitellmModel:
    """A server in LiteLLM's list; `timeout` is seconds, `weight` its share among servers of the same name."""

    name: str
    engine_model: str
    service: str
    url: str
    timeout: int
    weight: int
    max_model_len: int


@dataclass(frozen=True, slots=True)
class LitellmConfig:
    """`gateway/litellm.yaml`."""

    stack: str
    version: str
    models: tuple[LitellmModel, ...]
    timeout: int
    has_client_keys: bool


def emit_gateway(plan: Plan) -> tuple[Artifact, ...]:
    """The gateway's configuration and programs; nothing where the plan has no gateway."""
    gateway = plan.gateway
    if gateway is None:
        return ()
    if gateway.kind == "litellm":
        return _emit_litellm(plan, gateway)
    return _emit_nginx(plan, gateway)


def _emit_nginx(plan: Plan, gateway: Gateway) -> tuple[Artifact, ...]:
    script = render("gateway/gateway_nginx.j2", script=gateway_script(plan, gateway))
    return (
        Artifact(GATEWAY / "nginx.conf", render("gateway/nginx.conf.j2", config=nginx_config(plan, gateway))),
        Artifact(GATEWAY / "route.js", read_verbatim("gateway/route.js")),
        Artifact(GATEWAY / "stack.js", render("gateway/stack.js.j2", routing=routing(plan, gateway))),
        Artifact(BIN / "gateway", script, EXECUTABLE),
        *((emit_program("rollout"),) if gateway.rollouts else ()),
    )


def _emit_litellm(plan: Plan, gateway: Gateway) -> tuple[Artifact, ...]:
    script = render("gateway/gateway_litellm.j2", script=gateway_script(plan, gateway))
    config = render("gateway/litellm.yaml.j2", config=litellm_config(plan, gateway))
    return (Artifact(GATEWAY / "litellm.yaml", config), Artifact(BIN / "gateway", script, EXECUTABLE))


def nginx_config(plan: Plan, gateway: Gateway) -> NginxConfig:
    """The configuration of nginx as a document."""
    return NginxConfig(
        stack=plan.stack,
        workers=_WORKERS,
        drain_seconds=max(route.read_timeout for route in gateway.routes),
        max_body=gateway.max_body,
        requests_per_second=gateway.requests_per_second,
        burst=gateway.burst,
        connections=gateway.connections,
        address_connections=address_connections(gateway),
        wrong_keys_per_second=WRONG_KEYS_PER_SECOND,
        wrong_keys_burst=_WRONG_KEYS_BURST,
        origins=gateway.cors_origins,
        headers=tuple(map(_header, _CLIENT_HEADERS)),
        paths=tuple(dict.fromkeys(path for route in gateway.routes for path in _paths(plan, route))),
        routes=tuple(_route(index, route) for index, route in enumerate(gateway.routes)),
        rollouts=_rollouts(plan, gateway),
        errors=tuple(NginxError(status, _error_body(status, *words)) for status, words in _ERRORS.items()),
    )


def _header(name: str) -> NginxHeader:
    variable = name.lower().replace("-", "_")
    return NginxHeader(name, f"http_{variable}", f"stackc_{variable}")


def _paths(plan: Plan, route: Route) -> tuple[str, ...]:
    return TASK_PATHS[plan.service(route.service).task]


def _location(index: int) -> str:
    return f"@route_{index}"


def _split(index: int) -> str:
    return f"stackc_split_{index}"


def _route(index: int, route: Route) -> NginxRoute:
    split = None if route.rollout is None else _split(index)
    return NginxRoute(_location(index), route.name, route.service, split, route.read_timeout)


def _rollouts(plan: Plan, gateway: Gateway) -> tuple[NginxRollout, ...]:
    return tuple(
        _rollout(plan, index, route.rollout) for index, route in enumerate(gateway.routes) if route.rollout is not None
    )


def _rollout(plan: Plan, index: int, rollout: Rollout) -> NginxRollout:
    by_header = rollout.sticky == "header"
    sources = {"header": f"stackc_session_{index}", "client": "stackc_client", "none": "request_id"}
    return NginxRollout(
        stable=rollout.stable,
        candidate=rollout.candidate,
        header="http_" + rollout.header.lower().replace("-", "_") if by_header else None,
        source=sources[rollout.sticky],
        split=_split(index),
        weight=rollout.weight,
        fingerprint=rollout_fingerprint(plan, rollout),
    )


def routing(plan: Plan, gateway: Gateway) -> Routing:
    """Models and paths as data for route.js. A model's length is that of the shorter of two revisions."""
    models: dict[str, dict[str, int]] = {}
    paths: dict[str, dict[str, str]] = {}
    for index, route in enumerate(gateway.routes):
        models[route.name] = {"max_model_len": min(service.max_model_len for service in _revisions(plan, route))}
        for path in _paths(plan, route):
            paths.setdefault(path, {})[route.name] = _location(index)
    return Routing(plan.stack, {"models": models, "paths": paths})


def _revisions(plan: Plan, route: Route) -> tuple[Service, ...]:
    stable = plan.service(route.service)
    return (stable,) if route.rollout is None else (stable, plan.service(route.rollout.candidate))


def gateway_script(plan: Plan, gateway: Gateway) -> GatewayScript:
    """`bin/gateway` as a document."""
    return GatewayScript(
        stack=plan.stack,
        host=_numeric(gateway.host),
        port=gateway.port,
        program=plan.paths.litellm if gateway.kind == "litellm" else plan.paths.nginx,
        gateway_dir=f"/run/stackc-{plan.stack}/gateway",
        state_dir=plan.paths.state,
        client_keys=plan.secrets.client_keys,
        api_key=plan.secrets.api_key,
        services=tuple(_backend(service) for service in plan.services),
        rollouts=_rollouts(plan, gateway),
        cors_origins=gateway.cors_origins,
    )


def _backend(service: Service) -> Backend:
    return Backend(service.name, _numeric(service.host), service.port, _variable(service))


def _variable(service: Service) -> str:
    return "STACKC_URL_" + service.name.upper().replace("-", "_")


def _numeric(host: str) -> str:
    """`localhost` as vLLM binds it, to IPv4 alone; a proxy that looks the name up would also try IPv6."""
    return "127.0.0.1" if host == "localhost" else host


def litellm_config(plan: Plan, gateway: Gateway) -> LitellmConfig:
    """LiteLLM's configuration as a document."""
    models = (model for route in gateway.routes for model in _litellm_models(plan, route))
    timeout = max(route.read_timeout for route in gateway.routes)
    return LitellmConfig(plan.stack, LITELLM_VERSION, tuple(models), timeout, plan.secrets.client_keys is not None)


def _litellm_models(plan: Plan, route: Route) -> tuple[LitellmModel, ...]:
    percent = 0 if route.rollout is None else route.rollout.weight
    weights = (100 - percent, percent)
    return tuple(
        LitellmModel(
            name=route.name,
            # The provider's prefix goes no further: the server is asked for the name after it.
            engine_model=f"hosted_vllm/{service.served_name}",
            service=service.name,
            url=f"os.environ/{_variable(service)}",
            timeout=route.read_timeout,
            weight=weight,
            max_model_len=service.max_model_len,
        )
        for service, weight in zip(_revisions(plan, route), weights, strict=False)
        if weight
    )


_ERRORS = {
    400: ("the request is not valid HTTP", "bad_request"),
    401: ("no valid key: send `Authorization: Bearer KEY`", "invalid_api_key"),
    403: (
        "no page of this website may ask here: `gateway.cors` of the spec names those that may",
        "origin_not_allowed",
    ),
    404: ("there is no such path here", "path_not_found"),
    405: ("the path does not take this method: the Allow header says which", "method_not_allowed"),
    408: ("the request came too slowly", "request_timeout"),
    411: ("the body has no length: send a Content-Length", "length_required"),
    412: ("the request has a condition that does not hold", "bad_request"),
    413: ("the body is larger than this gateway takes", "body_too_large"),
    414: ("the address is too long", "uri_too_long"),
    415: ("the body must be JSON: send `Content-Type: application/json`", "unsupported_media_type"),
    429: ("too many requests: wait and try again", "rate_limit_exceeded"),
    431: ("the headers are too large", "headers_too_large"),
    500: ("the gateway failed: its log says why", "gateway_error"),
    501: ("the body comes in a way that this gateway does not read", "not_implemented"),
    502: ("the server gave no answer that could be read", "server_error"),
    503: ("the server is not reachable", "server_unavailable"),
    504: ("the server was silent for too long", "server_timeout"),
    505: ("the version of HTTP is not one that this gateway speaks", "http_version_not_supported"),
    507: ("the gateway has no room for the request", "gateway_error"),
}
"""All that nginx itself can answer with; what concerns a server is mostly said in route.js, with the server's name."""


def _error_body(status: int, message: str, code: str) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
