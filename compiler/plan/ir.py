"""The plan's types. Sizes are bytes, lengths are tokens, times are seconds; no field is a formatted string.

`plan.json` is this, field by field (compiler/targets/plan_json.py); change SCHEMA_VERSION when a field changes meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from compiler.catalog.packages import LITELLM_VERSION
from compiler.engines.interface.group import Group, Member
from compiler.engines.interface.host import HostFacts
from compiler.engines.interface.launch import Argument, HostNeed, KvCache, Timeouts
from compiler.ledger import Basis, DeviceLedger, LedgerRow, RowKind, ServerLedger, Verdict
from compiler.plan.kubernetes import Kubernetes
from compiler.plan.machines import Card, CpuNode, GpuNode
from compiler.plan.operations import Entrance, Gateway, Monitoring, Patches, Rollout, Route, Slurm, Team, Tls, Upstream
from compiler.plan.service import Draft, Embedding, ModelFile, Objectives, ServedAdapter, ServedModel, Service

__all__ = [
    "DEFAULT_LITELLM",
    "Argument",
    "Basis",
    "Card",
    "CpuNode",
    "DeviceLedger",
    "Draft",
    "Embedding",
    "Engine",
    "Entrance",
    "Gateway",
    "GpuNode",
    "Group",
    "HostNeed",
    "Image",
    "Kubernetes",
    "KvCache",
    "LedgerRow",
    "Member",
    "ModelFile",
    "Monitoring",
    "Objectives",
    "Patches",
    "Paths",
    "Plan",
    "Rollout",
    "Route",
    "RowKind",
    "Secrets",
    "ServedAdapter",
    "ServedModel",
    "ServerLedger",
    "Service",
    "Slurm",
    "Team",
    "Timeouts",
    "Tls",
    "Upstream",
    "Verdict",
]

SCHEMA_VERSION = 1

CONTAINERS = frozenset(("compose", "quadlet", "kubernetes"))
"""Targets whose servers run from images."""

DEFAULT_LITELLM = f"/opt/stackc/litellm-{LITELLM_VERSION}/bin/litellm"
"""A virtual environment for each release, so that an upgrade does not change the one that serves."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The release of an engine that runs here.

    Attributes:
        image: a reference for `docker pull`, by digest if the spec gives one.
        program: the executable, for servers without containers: an absolute path.
        host: what is the same for all its servers.
    """

    version: str
    image: str
    program: str
    host: HostFacts

    @property
    def release(self) -> str:
        """For people: its title and version."""
        return f"{self.host.title} {self.version}"


@dataclass(frozen=True, slots=True)
class Image:
    """An image that containers of this stack run.

    Attributes:
        part: what runs in it: an engine by its name, `gateway`, `prefetch`, or the name of a container.
        reference: as it is emitted, with the digest if one is known.
        digest: None where only the tag is known, which may be another image tomorrow.
        source: who named the digest: `spec`, `lock` or `catalogue`; None without one.
        read: the UTC day on which a registry answered with it; None where the spec names it.
    """

    part: str
    reference: str
    digest: str | None = None
    source: str | None = None
    read: str | None = None


@dataclass(frozen=True, slots=True)
class Paths:
    """Absolute paths on the server: the stack's folder, state and caches, and the executables of the gateway."""

    install: str
    state: str
    nginx: str = "/usr/sbin/nginx"
    litellm: str = DEFAULT_LITELLM

    @property
    def current(self) -> str:
        """A link to the installed version of the tree: changing it changes units and programs in one step."""
        return f"{self.install}/current"


@dataclass(frozen=True, slots=True)
class Secrets:
    """Files on the server that hold secrets; None where the stack has none. Their content never passes through here.

    Attributes:
        hf_token: for downloads from the Hub.
        api_key: opens the servers.
        client_keys: a key on each line, with which clients come to the gateway.
    """

    hf_token: str | None
    api_key: str | None
    client_keys: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What runs on one node, ready to be rendered. Services are in start order, devices by index.

    Attributes:
        engines: that serve, by name, in the order in which the spec pins them.
        folder: of its tree, below that of the stack; empty where the stack has one node.
        templates: path and SHA-256 of each template that is not stackc's own.
        images: of all containers, by part; none without containers.
        host: main memory beside GPUs; None where nothing of it is counted.
        entrances: gateways of a stack on several nodes, which come to the servers here; none where servers have
            clients on this machine alone, or no gateway.
        kubernetes: what is so in the cluster, for that target.
        neighbours: plans of the other nodes, whose servers the gateway here serves too; none on a node without it.
        slurm: what its job asks for; None without one.
    """

    stack: str
    engines: Mapping[str, Engine]
    node: GpuNode | CpuNode
    devices: tuple[DeviceLedger, ...]
    services: tuple[Service, ...]
    paths: Paths
    secrets: Secrets
    targets: tuple[str, ...]
    verdict: Verdict
    folder: str = ""
    gateway: Gateway | None = None
    monitoring: Monitoring | None = None
    patches: Patches = field(default_factory=Patches)
    templates: tuple[tuple[str, str], ...] = ()
    images: tuple[Image, ...] = ()
    host: DeviceLedger | None = None
    entrances: tuple[Entrance, ...] = ()
    kubernetes: Kubernetes | None = None
    neighbours: tuple[Plan, ...] = ()
    slurm: Slurm | None = None

    @property
    def ledgers(self) -> tuple[DeviceLedger, ...]:
        """Of its devices, and of main memory where it is counted."""
        return (*self.devices, *((self.host,) if self.host is not None else ()))

    @property
    def answering(self) -> tuple[Service, ...]:
        """Services that clients ask on this node."""
        return tuple(service for service in self.services if service.answers)

    @property
    def tree(self) -> str:
        """Where its tree lies below the output."""
        return f"{self.stack}/{self.folder}" if self.folder else self.stack

    @property
    def engine(self) -> Engine:
        """The first: what runs where no server decides it."""
        return next(iter(self.engines.values()))

    @property
    def titles(self) -> tuple[str, ...]:
        """Of all its engines, for people."""
        return tuple(engine.host.title for engine in self.engines.values())

    @property
    def releases(self) -> tuple[str, ...]:
        """Likewise, with their versions."""
        return tuple(engine.release for engine in self.engines.values())

    def engine_of(self, service: Service) -> Engine:
        """The one that serves a service, which may be a neighbour's."""
        return self.home_of(service.name).engines[service.engine]

    def home_of(self, service: str) -> Plan:
        """The plan of the node where a service runs."""
        return next((each for each in self.neighbours if any(one.name == service for one in each.answering)), self)

    @property
    def reached(self) -> tuple[Service, ...]:
        """All servers that a gateway here serves: its own node's, then those of the others."""
        return (*self.answering, *(service for each in self.neighbours for service in each.answering))

    @property
    def runs_on_host(self) -> bool:
        """Whether the machine's own engine runs, and not only that of an image."""
        return bool({"systemd", "slurm"} & set(self.targets)) or not CONTAINERS & set(self.targets)

    def service(self, name: str) -> Service:
        """The service of that name, here or at a neighbour."""
        return next(service for service in (*self.reached, *self.services) if service.name == name)
