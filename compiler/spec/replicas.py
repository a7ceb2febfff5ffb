"""Replicas: a service of which several servers run is, from the solver on, that many services with one served name.

The first has the service's own name and port, the others are counted from 2: `chat`, `chat-2`, `chat-3` at ports p,
p + 1, p + 2. The file has one service, so places and edits of all of them are those of the service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from compiler.spec.ranges import ConcurrencyRange

if TYPE_CHECKING:
    from compiler.spec.models import Spec
    from compiler.spec.services import ServiceSpec

_NUMBERED = re.compile(r"(?P<service>.+)-(?:[2-9]|[1-9][0-9]+)", re.ASCII)


def replica_name(service: str, number: int) -> str:
    """What the server of that number is called, counted from 1."""
    return service if number == 1 else f"{service}-{number}"


def numbered(server: str) -> str | None:
    """The service that a server of this name would be of; None for a name that only a service can have."""
    found = _NUMBERED.fullmatch(server)
    return None if found is None else found["service"]


def least_replicas(spec: Spec) -> dict[str, int]:
    """The fewest servers that each service may have."""
    return {name: service.replicas.least for name, service in spec.services.items()}


def most_replicas(spec: Spec, name: str) -> int:
    """How many servers of a service are tried at most: by default as many as there are GPUs for."""
    service = spec.services[name]
    most = service.replicas.max
    return max(service.replicas.least, _seats(spec, service)) if most is None else most


def _seats(spec: Spec, service: ServiceSpec) -> int:
    """Servers that its nodes have room for if none shares a GPU with another; one for each node without GPUs."""
    names = spec.nodes if service.node is None else spec.members().get(service.node, ())
    if service.machines > 1:
        return len(names) // service.machines
    nodes = [spec.nodes[name] for name in names]
    return sum(1 if node.gpus is None else node.gpu_count // service.ranks for node in nodes)


def with_replicas(spec: Spec, counts: Mapping[str, int]) -> Spec:
    """A spec in which every server is a service of its own.

    Args:
        spec: as it was read.
        counts: servers of each service; of one that is missing there is one.

    Returns:
        A spec whose `replica_of` knows them. What a service promises together is divided among them, rounded up.
    """
    if all(counts.get(name, 1) == 1 for name in spec.services):
        return spec
    services: dict[str, ServiceSpec] = {}
    bases: dict[str, str] = {}
    for name, service in spec.services.items():
        count = counts.get(name, 1)
        shared = _divided(service, count)
        for number in range(1, count + 1):
            replica = replica_name(name, number)
            services[replica] = shared if number == 1 else _numbered(shared, name, number)
            if number > 1:
                bases[replica] = name
    return spec.counted(services, bases, dict(counts))


def _divided(service: ServiceSpec, count: int) -> ServiceSpec:
    asked = service.concurrency
    least, most = _part(asked.min, count), _part(asked.max, count)
    return service.model_copy(update={"concurrency": ConcurrencyRange(min=least, max=most)})


def _part(total: int | None, count: int) -> int | None:
    return None if total is None else -(-total // count)


def _numbered(service: ServiceSpec, name: str, number: int) -> ServiceSpec:
    served = service.served_name or name
    return service.model_copy(update={"served_name": served, "port": service.port + number - 1})
