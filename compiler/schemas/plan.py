"""`plan.json` as a type, key by key as `compiler.targets.plan_json` writes it; a test holds the two together.

Keys that are written from a dataclass of the plan as it is have that dataclass as their type.
"""

from __future__ import annotations

from pydantic import BaseModel

from compiler.ledger import Basis, Verdict
from compiler.plan import ir, kubernetes
from compiler.schemas.gateway import Gateway, Neighbour
from compiler.schemas.ledger import Device, Memory
from compiler.schemas.machines import CpuNode, Engine, GpuNode, ServingEngine
from compiler.schemas.service import Service
from compiler.schemas.speed import Speed


class Paths(BaseModel):
    """Absolute paths on the server.

    Attributes:
        install: the stack's folder.
        current: a link to the installed version of the tree.
        state: its state and caches.
        vllm: the executable, where it serves.
        llama_server: likewise.
        nginx: the executable.
        litellm: the executable.
    """

    install: str
    current: str
    state: str
    vllm: str | None = None
    llama_server: str | None = None
    nginx: str
    litellm: str


class Image(BaseModel):
    """An image that containers of this stack run.

    Attributes:
        part: what runs in it: an engine by its name, `gateway`, `prefetch`, or the name of a container.
        reference: as it is emitted.
        digest: null where only the tag is known.
        source: who named the digest.
        read: the UTC day on which a registry answered with it; null where the spec names it.
        unconfirmed: `digest` where it is not known.
    """

    part: str
    reference: str
    digest: str | None
    source: str | None
    read: str | None
    unconfirmed: list[str]


class Cluster(BaseModel):
    """What is so in the cluster.

    Attributes:
        namespace: of all objects.
        cluster_domain: of the names of Services.
        secret: that holds the keys.
        storage: where models lie.
        gpu_resource: what a pod asks for to get a GPU.
        has_claims: GPUs are claimed by DRA, and servers that share some are one pod.
        device_class: of the claims.
        checks_cards: whether labels of the cards decide on which nodes pods run.
        node_selector: labels of the nodes on which pods run.
        tolerations: taints that pods put up with.
        topology: a label of nodes that one group has to itself; null for any nodes.
        runtime_class: of pods with GPUs; null for the cluster's default.
        priority_class: of the servers' pods; null for none.
        pull_secrets: with which images are pulled.
        monitoring_namespace: from which servers may be scraped.
        monitoring_labels: of ServiceMonitors and rules.
        route: from the cluster's own Gateway; null for none.
        pool: who chooses among the servers of a model; null for none.
    """

    namespace: str
    cluster_domain: str
    secret: str
    storage: kubernetes.Storage
    gpu_resource: str
    has_claims: bool
    device_class: str
    checks_cards: bool
    node_selector: dict[str, str]
    tolerations: list[kubernetes.Toleration]
    topology: str | None
    runtime_class: str | None
    priority_class: str | None
    pull_secrets: list[str]
    monitoring_namespace: str
    monitoring_labels: dict[str, str]
    route: kubernetes.HttpRoute | None
    pool: kubernetes.InferencePool | None


class Download(BaseModel):
    """A checkpoint of the Hub.

    Attributes:
        name: of its repository, with the file where it is one of several there.
        services: that load it.
        bytes: of its weights.
        basis: `exact` by the sizes of its files, else `estimate` by the ledger.
    """

    name: str
    services: list[str]
    bytes: int
    basis: Basis


class Disk(BaseModel):
    """What lies on the disk for the services; images and packages come beside it.

    Attributes:
        download_bytes: of all checkpoints, each once.
        compiled_bytes: room for what servers compile, an assumption.
        total_bytes: both.
        basis: of the downloads.
        downloads: each checkpoint.
    """

    download_bytes: int
    compiled_bytes: int
    total_bytes: int
    basis: Basis
    downloads: list[Download]


class PlanFile(BaseModel):
    """What runs on one node: `plan.json`. Keys of bytes end in `_bytes`, those of times in `_seconds`.

    Attributes:
        stack: its name.
        user: that the stack's files and services belong to on the server.
        verdict: what the ledger proves.
        engine: the first of those that serve.
        engines: those that serve, by name.
        node: where.
        devices: the ledger of each.
        disk: what is downloaded, and kept there.
        main_memory: the ledger of that beside GPUs; null where nothing of it is counted.
        speed: estimates for each service of which anything is known.
        services: in start order.
        paths: on the server.
        secrets: files on the server that hold secrets; never what is in them.
        targets: for which files were emitted.
        images: of all containers.
        templates: SHA-256 of each template that is not stackc's own.
        gateway: in front of the servers; null without one.
        monitoring: null without it.
        kubernetes: what is so in the cluster; missing without that target.
        entrances: gateways that come to the servers here, in a stack of several nodes; missing where there are none.
        neighbours: the other nodes, where the gateway of this one serves them; missing where it does not.
        slurm: what its job asks for; missing where there is none.
    """

    stack: str
    user: str
    verdict: Verdict
    engine: Engine
    engines: dict[str, ServingEngine]
    node: GpuNode | CpuNode
    devices: list[Device]
    disk: Disk
    main_memory: Memory | None
    speed: list[Speed]
    services: list[Service]
    paths: Paths
    secrets: ir.Secrets
    targets: list[str]
    images: list[Image]
    templates: dict[str, str]
    gateway: Gateway | None
    monitoring: ir.Monitoring | None
    kubernetes: Cluster | None = None
    entrances: list[ir.Entrance] | None = None
    neighbours: list[Neighbour] | None = None
    slurm: ir.Slurm | None = None
