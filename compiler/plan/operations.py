"""The plan's types for what stands around the servers. Sizes are bytes, times are seconds, ports are the host's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compiler.catalog.compose import DCGM, GRAFANA, PROMETHEUS
from compiler.catalog.images import MONITORING_IMAGES


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server among which the gateway divides the requests of one revision.

    Attributes:
        service: its name in the plan of its node.
        node: on which it runs.
        host: the address at which the gateway reaches it.
        port: where it listens there.
    """

    service: str
    node: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Entrance:
    """A gateway of a stack on several nodes.

    Attributes:
        node: where it runs.
        address: from which it comes to the servers.
    """

    node: str
    address: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """Two revisions of a service side by side.

    Attributes:
        stable: the service that answers without the rollout.
        candidate: the service that may replace it.
        strategy: `canary` or `blue-green`.
        weight: percent of requests that go to the candidate when the stack is installed.
        sticky: `header`, `client` or `none`: what decides which revision a request goes to.
        header: whose value keeps a session with one revision, for `header`.
        upstreams: servers of the candidate.
    """

    stable: str
    candidate: str
    strategy: str
    weight: int
    sticky: str
    header: str
    upstreams: tuple[Upstream, ...] = ()

    @property
    def servers(self) -> tuple[str, ...]:
        """Of the candidate, by name."""
        return tuple(each.service for each in self.upstreams) or (self.candidate,)


@dataclass(frozen=True, slots=True)
class Route:
    """Requests for the model `name` go to `service`, or are divided between it and the rollout's candidate.

    Attributes:
        read_timeout: the longest silence of the server that is not yet a failure.
        upstreams: servers of `service`, among which its requests are divided.
        sticky: `header`, `client` or `none`: what keeps a session with one of them; without it each request goes to
            the one with the fewest open ones.
        header: whose value names a session, for `header`.
    """

    name: str
    service: str
    rollout: Rollout | None
    read_timeout: int
    upstreams: tuple[Upstream, ...] = ()
    sticky: str = "none"
    header: str = ""

    @property
    def servers(self) -> tuple[str, ...]:
        """Of `service`, by name."""
        return tuple(each.service for each in self.upstreams) or (self.service,)


@dataclass(frozen=True, slots=True)
class Tls:
    """Encryption between clients and the gateway. Paths are of the server.

    Attributes:
        certificate: a file in PEM, with those of the authorities between it and a root.
        key: the file of its private key.
        domains: names by which clients reach the gateway; empty where the spec has none.
        http_port: that sends browsers on; None for none.
        hsts: seconds for which browsers ask by TLS alone; None says nothing.
        challenges: a folder of answers to an ACME server, which `http_port` serves; None for none.
        acme: the mail address that certbot gives to the authority; None where somebody else brings the certificate.
    """

    certificate: str
    key: str
    domains: tuple[str, ...] = ()
    http_port: int | None = None
    hsts: int | None = None
    challenges: str | None = None
    acme: str | None = None


@dataclass(frozen=True, slots=True)
class Team:
    """Clients whose keys have one name.

    Attributes:
        name: before their keys in the file of `secrets.client_keys`.
        requests_per_second: of all its keys together; None where the gateway's own limit holds.
        burst: requests that may come at once beyond it.
        models: names that it may ask for; empty for all.
    """

    name: str
    requests_per_second: int | None
    burst: int
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gateway:
    """One port for the whole stack.

    Attributes:
        kind: `nginx` or `litellm`.
        image: of its container.
        max_body: largest request body.
        requests_per_second: of one client; None for no limit. `burst` may come at once beyond it.
        connections: open requests of one client: as many as all servers run and queue together.
        cors_origins: websites whose pages may ask, from their visitors' browsers; `*` for all.
        tls: None where it speaks plain HTTP.
        teams: by name, those with limits of their own.
    """

    kind: str
    host: str
    port: int
    image: str
    max_body: int
    requests_per_second: int | None
    burst: int
    connections: int
    routes: tuple[Route, ...]
    cors_origins: tuple[str, ...] = ()
    tls: Tls | None = None
    teams: tuple[Team, ...] = ()

    @property
    def rollouts(self) -> tuple[Rollout, ...]:
        """Of all routes that have one."""
        return tuple(route.rollout for route in self.routes if route.rollout is not None)


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What is scraped how often, and the objectives that the spec states. Other thresholds follow from the services.

    Attributes:
        ttft_p95_seconds: to the first token, for 95 of 100 requests; a bound of the servers' histogram.
        inter_token_p95_seconds: between two tokens, likewise.
        metrics: what rules and panels ask of a server, by the names that are scraped.
        scrape_seconds: between two readings.
        has_grafana: whether a dashboard is emitted.
        grafana_port: of Grafana, where compose runs it.
        has_dcgm: whether the GPUs' own figures are scraped.
        dcgm_port: of NVIDIA's exporter.
        port: of Prometheus itself, where compose runs it.
        grafana_image: of its container.
        dcgm_image: of its container.
        prometheus_image: of its container, like the two others, with the digest if one is known.
    """

    ttft_p95_seconds: float
    inter_token_p95_seconds: float
    metrics: tuple[str, ...]
    scrape_seconds: int
    has_grafana: bool
    grafana_port: int
    has_dcgm: bool
    dcgm_port: int
    port: int
    prometheus_image: str = MONITORING_IMAGES[PROMETHEUS].reference
    grafana_image: str = MONITORING_IMAGES[GRAFANA].reference
    dcgm_image: str = MONITORING_IMAGES[DCGM].reference


@dataclass(frozen=True, slots=True)
class Patches:
    """Keys that the spec adds to what is emitted, as plain data: unit → section → key → value, and a compose file."""

    systemd: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    compose: Mapping[str, Any] = field(default_factory=dict)
    quadlet: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slurm:
    """What jobs ask of Slurm. None: nothing is asked.

    Attributes:
        partition: where they run.
        account: to which they are charged.
        qos: their quality of service.
        constraint: features of nodes, as Slurm writes them.
        gres: what the cluster calls its GPUs, such as `gpu:h100`; None where none are asked for.
        time: the longest that a job runs, as Slurm writes it.
    """

    partition: str
    account: str | None
    qos: str | None
    time: str | None
    gres: str | None
    constraint: str | None
