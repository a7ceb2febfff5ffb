"""The plan's types for what stands around the servers. Sizes are bytes, times are seconds, ports are the host's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compiler.catalog.compose import DCGM, GRAFANA, PROMETHEUS
from compiler.catalog.images import MONITORING_IMAGES


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
    """

    stable: str
    candidate: str
    strategy: str
    weight: int
    sticky: str
    header: str


@dataclass(frozen=True, slots=True)
class Route:
    """Requests for the model `name` go to `service`, or are divided between it and the rollout's candidate.

    Attributes:
        read_timeout: the longest silence of the server that is not yet a failure.
    """

    name: str
    service: str
    rollout: Rollout | None
    read_timeout: int


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
