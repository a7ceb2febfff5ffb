"""nginx's configuration: with its JavaScript module it routes each request by the model that its body names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compiler.plan.ir import Gateway, Plan
from compiler.targets.deployment import WRONG_KEYS_PER_SECOND, address_connections
from compiler.targets.gateway.clients import NginxLimit, NginxTls, nginx_limits, nginx_tls
from compiler.targets.gateway.errors import NginxError, error_body, nginx_errors
from compiler.targets.gateway.routes import (
    NginxRollout,
    NginxRoute,
    NginxSession,
    paths_of,
    rollouts,
    route_of,
    sessions,
)

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
        return error_body(400, "this gateway speaks TLS: ask by https, with a new key if one was sent", "tls_required")

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
        paths=tuple(dict.fromkeys(path for route in gateway.routes for path in paths_of(plan, route))),
        routes=tuple(route_of(index, route) for index, route in enumerate(gateway.routes)),
        rollouts=rollouts(plan, gateway),
        sessions=tuple(sessions(gateway)),
        errors=nginx_errors(),
        tls=nginx_tls(gateway),
        limits=nginx_limits(gateway),
    )


def _header(name: str) -> NginxHeader:
    variable = name.lower().replace("-", "_")
    return NginxHeader(name, f"http_{variable}", f"stackc_{variable}")
