"""The gateway in `plan.json`, and the servers of other nodes that it reaches."""

from __future__ import annotations

from pydantic import BaseModel

from compiler.plan import ir


class Route(BaseModel):
    """Requests for a model, and who answers them.

    Attributes:
        name: of the model, as requests name it.
        service: that answers.
        read_timeout_seconds: the longest silence of the server that is not yet a failure.
        rollout: how requests are divided between two revisions; null for one.
        upstreams: servers of the service, among which its requests are divided.
        sticky: what keeps a session with one of them: `header`, `client` or `none`.
        header: whose value names a session.
    """

    name: str
    service: str
    read_timeout_seconds: int
    rollout: ir.Rollout | None
    upstreams: list[ir.Upstream]
    sticky: str
    header: str


class NeighbourService(BaseModel):
    """A server of another node, as the gateway knows it. Each key is that of a service.

    Attributes:
        name: as the spec has it.
        engine: that serves it.
        task: what it answers.
        served_name: by which clients ask for it.
        candidate_of: the service that this one may replace; null outside a rollout.
        replica_of: the service of which this is a further server; null for the first one, missing for the only one.
        replicas: servers of its service in the whole stack; missing for one.
        features: what clients need of it beyond its task.
        host: where it listens.
        port: where it listens.
        max_model_len: tokens of one request.
    """

    name: str
    engine: str
    task: str
    served_name: str
    candidate_of: str | None
    replica_of: str | None = None
    replicas: int = 1
    features: list[str]
    host: str
    port: int
    max_model_len: int


class Neighbour(BaseModel):
    """Another node, whose servers the gateway of this one serves.

    Attributes:
        node: its name.
        address: at which it is reached.
        services: that run there.
    """

    node: str
    address: str | None
    services: list[NeighbourService]


class Gateway(BaseModel):
    """One port for the whole stack.

    Attributes:
        kind: `nginx` or `litellm`.
        version: of LiteLLM; null for nginx.
        host: where it listens.
        port: where it listens.
        max_body_bytes: largest request body.
        requests_per_second: of one client; null for no limit.
        burst: that may come at once beyond it.
        connections: open requests of one client.
        cors_origins: websites whose pages may ask.
        routes: by the model that a request names.
        tls: encryption between clients and the gateway; missing where there is none.
        teams: clients with limits of their own; missing where there are none.
    """

    kind: str
    version: str | None
    host: str
    port: int
    max_body_bytes: int
    requests_per_second: int | None
    burst: int
    connections: int
    cors_origins: list[str]
    routes: list[Route]
    tls: ir.Tls | None = None
    teams: list[ir.Team] | None = None
