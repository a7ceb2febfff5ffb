"""`bin/gateway`: what only the machine knows (keys, weights, where servers are) it adds when it starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.plan.ir import Gateway, Plan, Service
from compiler.targets.gateway.routes import NginxReplica, NginxRollout, replicas, rollouts


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
        replicas=tuple(replicas(gateway)),
        rollouts=rollouts(plan, gateway),
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
    return Backend(service.name, _numeric(service.host), service.port, inside, variable(service))


def variable(service: Service) -> str:
    """By which LiteLLM is told where a server is."""
    return "STACKC_URL_" + service.name.upper().replace("-", "_")


def _numeric(host: str) -> str:
    """`localhost` as vLLM binds it, to IPv4 alone; a proxy that looks the name up would also try IPv6."""
    return "127.0.0.1" if host == "localhost" else host
