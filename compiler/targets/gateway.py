"""`gateway/` and the programs beside it: one port for the whole stack, on nginx or on LiteLLM.

nginx with its JavaScript module routes each request to the server of the model that its body names. What only the
machine knows (keys, weights, where servers are) `bin/gateway` adds when it starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from compiler.catalog.packages import LITELLM_VERSION
from compiler.plan.ir import Gateway, Plan, Rollout, Route, Service
from compiler.render.artifact import EXECUTABLE, Artifact
from compiler.render.environment import read_verbatim, render
from compiler.targets.deployment import WRONG_KEYS_PER_SECOND, address_connections, rollout_fingerprint
from compiler.targets.gateway_clients import NginxLimit, NginxTls, nginx_limits, nginx_tls
from compiler.targets.library import BIN, emit_program

GATEWAY = PurePosixPath("gateway")

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
    """An internal location: requests for the model `name`.

    Attributes:
        split: the variable that a rollout decides, or None.
        is_balanced: whether several servers answer, so that a request may go to another one.
    """

    location: str
    name: str
    service: str
    split: str | None
    read_timeout: int
    is_balanced: bool


@dataclass(frozen=True, slots=True)
class NginxSession:
    """A variable that holds what a session is known by; `header` is nginx's variable of the client's header."""

    variable: str
    header: str


@dataclass(frozen=True, slots=True)
class NginxReplica:
    """One of the servers of a revision. `session` is the variable that keeps a session with one of them, or empty."""

    revision: str
    server: str
    session: str


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
        limits: rates of teams, and of all others where teams have some; `has_own_limit` without these, of each client.
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
    sessions: tuple[NginxSession, ...]
    errors: tuple[NginxError, ...]
    tls: NginxTls | None
    limits: tuple[NginxLimit, ...]

    @property
    def unencrypted(self) -> dict[str, Any]:
        """What a client is told that sends a request without encryption, whose key others may have read."""
        return _error_body(400, "this gateway speaks TLS: ask by https, with a new key if one was sent", "tls_required")

    @property
    def has_own_limit(self) -> bool:
        """Whether each client has the same rate."""
        return self.requests_per_second is not None and all(each.key != "stackc_others" for each in self.limits)

    @property
    def is_balanced(self) -> bool:
        """Whether any model has several servers."""
        return any(route.is_balanced for route in self.routes)

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
    """A server as the gateway finds it.

    Attributes:
        inside: its host for a gateway in a container.
        variable: tells LiteLLM its address.
    """

    name: str
    host: str
    port: int
    inside: str
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
    certificate: str | None
    certificate_key: str | None
    http_port: int | None
    services: tuple[Backend, ...]
    replicas: tuple[NginxReplica, ...]
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


def emit_gateway(plan: Plan, domain: str | None = None) -> tuple[Artifact, ...]:
    """The gateway's configuration and programs; nothing where the plan has no gateway.

    Args:
        domain: below which servers of all nodes have their names, for a gateway in a container; None where they are
            found by their names alone.
    """
    gateway = plan.gateway
    if gateway is None:
        return ()
    if gateway.kind == "litellm":
        return _emit_litellm(plan, gateway, domain)
    return _emit_nginx(plan, gateway, domain)


def _emit_nginx(plan: Plan, gateway: Gateway, domain: str | None) -> tuple[Artifact, ...]:
    script = render("gateway/gateway_nginx.j2", script=gateway_script(plan, gateway, domain))
    return (
        Artifact(GATEWAY / "nginx.conf", render("gateway/nginx.conf.j2", config=nginx_config(plan, gateway))),
        Artifact(GATEWAY / "route.js", read_verbatim("gateway/route.js")),
        Artifact(GATEWAY / "stack.js", render("gateway/stack.js.j2", routing=routing(plan, gateway))),
        Artifact(BIN / "gateway", script, EXECUTABLE),
        *((emit_program("rollout"),) if gateway.rollouts else ()),
    )


def _emit_litellm(plan: Plan, gateway: Gateway, domain: str | None) -> tuple[Artifact, ...]:
    script = render("gateway/gateway_litellm.j2", script=gateway_script(plan, gateway, domain))
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
        sessions=tuple(_sessions(gateway)),
        errors=tuple(NginxError(status, _error_body(status, *words)) for status, words in _ERRORS.items()),
        tls=nginx_tls(gateway),
        limits=nginx_limits(gateway),
    )


def _header(name: str) -> NginxHeader:
    variable = name.lower().replace("-", "_")
    return NginxHeader(name, f"http_{variable}", f"stackc_{variable}")


def _paths(plan: Plan, route: Route) -> tuple[str, ...]:
    """Those that every revision of a route serves."""
    offered = [plan.engine_of(each).host.client_paths[each.task] for each in _servers(plan, route)]
    return tuple(path for path in offered[0] if all(path in each for each in offered))


def _location(index: int) -> str:
    return f"@route_{index}"


def _split(index: int) -> str:
    return f"stackc_split_{index}"


def _route(index: int, route: Route) -> NginxRoute:
    split = None if route.rollout is None else _split(index)
    is_balanced = any(len(names) > 1 for _, names in _revisions(route))
    return NginxRoute(_location(index), route.name, route.service, split, route.read_timeout, is_balanced)


def _sessions(gateway: Gateway) -> Iterator[NginxSession]:
    for index, route in enumerate(gateway.routes):
        if route.sticky == "header" and any(len(names) > 1 for _, names in _revisions(route)):
            yield NginxSession(_session(index), _variable_of(route.header))


def _session(index: int) -> str:
    return f"stackc_replica_session_{index}"


def _variable_of(header: str) -> str:
    return "http_" + header.lower().replace("-", "_")


def _replicas(gateway: Gateway) -> Iterator[NginxReplica]:
    """Servers of all revisions that have more than one; several routes may lead to the same."""
    found: dict[str, tuple[tuple[str, ...], str]] = {}
    for index, route in enumerate(gateway.routes):
        session = {"header": _session(index), "client": "stackc_client", "none": ""}[route.sticky]
        for revision, names in _revisions(route):
            found.setdefault(revision, (names, session))
    for revision, (names, session) in found.items():
        if len(names) > 1:
            yield from (NginxReplica(revision, name, session) for name in names)


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
        header=_variable_of(rollout.header) if by_header else None,
        source=sources[rollout.sticky],
        split=_split(index),
        weight=rollout.weight,
        fingerprint=rollout_fingerprint(plan, rollout),
    )


def routing(plan: Plan, gateway: Gateway) -> Routing:
    """Models and paths as data for route.js. A model's length is that of the server that takes the shortest."""
    models: dict[str, dict[str, int | str]] = {}
    paths: dict[str, dict[str, str]] = {}
    for index, route in enumerate(gateway.routes):
        servers = _servers(plan, route)
        models[route.name] = {
            "max_model_len": min(service.max_model_len for service in servers),
            "owned_by": plan.engine_of(servers[0]).host.name,
        }
        for path in _paths(plan, route):
            paths.setdefault(path, {})[route.name] = _location(index)
    teams = {team.name: list(team.models) for team in gateway.teams if team.models}
    return Routing(plan.stack, {"models": models, "paths": paths} | ({"teams": teams} if teams else {}))


def _revisions(route: Route) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The stable revision and the candidate of a route, each with the names of its servers."""
    stable, rollout = (route.service, route.servers), route.rollout
    return (stable,) if rollout is None else (stable, (rollout.candidate, rollout.servers))


def _servers(plan: Plan, route: Route) -> tuple[Service, ...]:
    return tuple(plan.service(name) for _, names in _revisions(route) for name in names)


def gateway_script(plan: Plan, gateway: Gateway, domain: str | None = None) -> GatewayScript:
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
        certificate=None if gateway.tls is None else gateway.tls.certificate,
        certificate_key=None if gateway.tls is None else gateway.tls.key,
        http_port=None if gateway.tls is None else gateway.tls.http_port,
        services=tuple(_backends(plan, domain)),
        replicas=tuple(_replicas(gateway)),
        rollouts=_rollouts(plan, gateway),
        cors_origins=gateway.cors_origins,
    )


def _backends(plan: Plan, domain: str | None) -> Iterator[Backend]:
    """Servers here by their names; those of other nodes where the machine finds them, too."""
    if domain is not None:
        answering = (service for service in plan.reached if service.answers)
        yield from (_backend(service, f"{service.name}.{domain}") for service in answering)
        return
    yield from (_backend(service, service.name) for service in plan.answering)
    for neighbour in plan.neighbours:
        yield from (_backend(service, service.host) for service in neighbour.answering)


def _backend(service: Service, inside: str) -> Backend:
    return Backend(service.name, _numeric(service.host), service.port, inside, _variable(service))


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
    """Each server with its part of its revision's share, in whole numbers that are divided as the shares are."""
    percent = 0 if route.rollout is None else route.rollout.weight
    (_, stable), (_, candidates) = (*_revisions(route), ("", ()))[:2]
    shares = {name: (100 - percent) * max(1, len(candidates)) for name in stable}
    shares |= {name: percent * len(stable) for name in candidates}
    return tuple(
        LitellmModel(
            name=route.name,
            # The provider's prefix goes no further: the server is asked for the name after it.
            engine_model=f"{_provider(plan, service)}/{route.name}",
            service=service.name,
            url=f"os.environ/{_variable(service)}",
            timeout=route.read_timeout,
            weight=weight,
            max_model_len=service.max_model_len,
        )
        for service in _servers(plan, route)
        if (weight := shares[service.name])
    )


def _provider(plan: Plan, service: Service) -> str:
    host = plan.engine_of(service).host
    return host.ranking_provider if service.task == "score" else host.provider


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
