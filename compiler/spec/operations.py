"""What stands around the servers: the gateway, rollouts, monitoring, and patches to what is emitted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from compiler.spec.base import Bytes, Host, ImageReference, Name, SpecModel, as_list
from compiler.spec.forms import form
from compiler.spec.tls import TeamSpec, TlsSpec
from compiler.units import GIB, KIB, MIB

Port = Annotated[int, Field(ge=1, le=65535)]
HeaderName = Annotated[str, form(r"^[A-Za-z][A-Za-z0-9-]{0,63}$", "a name of a header: letters, digits and `-`")]

SESSION_HEADER = "X-Session-Id"
"""Of a client's requests, by which it names the session that they belong to, where it has agreed on no other."""


_OneOrTwo = Annotated[tuple[Name, ...], Field(min_length=1, max_length=2)]


class CorsSpec(SpecModel):
    """Websites whose pages may ask the gateway, from the browsers of their visitors.

    Attributes:
        origins: as browsers send them, `https://HOST` or `https://HOST:PORT`; `*` alone for every website.
    """

    origins: list[str] = Field(min_length=1, max_length=100)


class GatewaySpec(SpecModel):
    """One port for the whole stack; requests are routed by the model that they name.

    Attributes:
        kind: nginx, or LiteLLM.
        node: where it runs, in a stack of several nodes, each with its `address`; of two names each runs one, and what
            divides clients between the two is yours.
        host: where it listens; an address that others reach needs `secrets.client_keys`.
        port: where it listens.
        max_body: largest request body; images travel in it, and nginx holds it in memory.
        requests_per_second: of one client key; None for no limit.
        burst: requests of one client that may come at once beyond that rate.
        image: of its container, instead of the default one.
        cors: websites whose pages may ask from browsers; None for none.
        tls: encryption between clients and the gateway; None for none.
        teams: limits of those whose keys have this name in `secrets.client_keys`; other clients have the gateway's own.
    """

    kind: Literal["nginx", "litellm"] = "nginx"
    node: Annotated[
        _OneOrTwo,
        BeforeValidator(as_list, json_schema_input_type=Name | _OneOrTwo),
        Field(strict=False),
    ] = ()
    host: Host = "127.0.0.1"
    port: Port
    max_body: Annotated[Bytes, Field(ge=64 * KIB, le=GIB)] = 32 * MIB
    requests_per_second: Annotated[int, Field(ge=1, le=100_000)] | None = None
    burst: Annotated[int, Field(ge=0, le=100_000)] = 20
    image: ImageReference | None = None
    cors: CorsSpec | None = None
    tls: TlsSpec | None = None
    teams: dict[Name, TeamSpec] = Field(default_factory=dict)


class RolloutSpec(SpecModel):
    """A second revision of a service, beside the first, that gets a part of the requests.

    Attributes:
        strategy: a canary gets a part of the requests; blue-green moves all of them at once.
        weight: percent of requests that go to the candidate at first, 10 by default; a blue-green rollout begins with
            none.
        sticky: what decides whose requests go to it: the value of `header`, the client's key, or chance.
        header: whose value keeps a session with one revision, for `sticky: header`.
        candidate: keys of the service that differ in the new revision, `port` at least; the others are inherited.
    """

    strategy: Literal["canary", "blue-green"]
    weight: Annotated[int, Field(ge=0, le=100)] | None = None
    sticky: Literal["header", "client", "none"] = "none"
    header: HeaderName = SESSION_HEADER
    candidate: dict[str, Any] = Field(min_length=1)


class MonitoringSpec(SpecModel):
    """What Prometheus scrapes and when it raises an alarm. Thresholds that are not here come from the plan.

    Attributes:
        ttft_p95_seconds: the slowest time to first token that 95 of 100 requests may see; a bound of a bucket of vLLM's
            histogram, as the next key too. Servers of llama.cpp have none.
        inter_token_p95_seconds: the slowest time from one token to the next, likewise. The default is the pace of
            silent reading: 238 words a minute (Brysbaert 2019) at 4/3 tokens a word.
        scrape_seconds: between two readings. Prometheus forgets a series after five minutes.
        grafana: whether a dashboard is emitted.
        grafana_port: of Grafana, where compose runs it.
        dcgm: whether the GPUs' own figures are scraped, from NVIDIA's exporter at `dcgm_port`.
        dcgm_port: of NVIDIA's exporter.
        port: of Prometheus itself, where compose runs it.
    """

    ttft_p95_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    inter_token_p95_seconds: Annotated[float, Field(gt=0, le=3600)] = 0.2
    scrape_seconds: Annotated[int, Field(ge=5, le=120)] = 15
    grafana: bool = True
    grafana_port: Port = 3000
    dcgm: bool = True
    dcgm_port: Port = 9400
    port: Port = 9090


class PatchesSpec(SpecModel):
    """Keys to add to what is emitted, for what a spec has no words for.

    Attributes:
        systemd: unit (a service, `gateway`, `prefetch` or `target`) → section → directive → value or values.
        compose: merged into the compose file.
        quadlet: container (a service or `gateway`) → section → key → value or values.
    """

    systemd: dict[Name, dict[str, dict[str, Any]]] = Field(default_factory=dict)
    compose: dict[str, Any] = Field(default_factory=dict)
    quadlet: dict[Name, dict[str, dict[str, Any]]] = Field(default_factory=dict)
