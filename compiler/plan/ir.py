"""The plan's types. Sizes are bytes, lengths are tokens, times are seconds; no field is a formatted string.

`plan.json` is this, field by field (compiler/targets/plan_json.py); change SCHEMA_VERSION when a field changes meaning.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from compiler.catalog.packages import LITELLM_VERSION
from compiler.ledger import Basis, DeviceLedger, LedgerRow, RowKind, ServerLedger, Verdict
from compiler.plan.operations import Gateway, Monitoring, Patches, Rollout, Route

__all__ = [
    "DEFAULT_LITELLM",
    "Argument",
    "Basis",
    "CpuNode",
    "DeviceLedger",
    "Embedding",
    "Engine",
    "Gateway",
    "GpuNode",
    "HostNeed",
    "Image",
    "KvCache",
    "LedgerRow",
    "ModelFile",
    "Monitoring",
    "Patches",
    "Paths",
    "Plan",
    "Rollout",
    "Route",
    "RowKind",
    "Secrets",
    "ServedModel",
    "ServerLedger",
    "Service",
    "Timeouts",
    "Verdict",
]

SCHEMA_VERSION = 1

DEFAULT_LITELLM = f"/opt/stackc/litellm-{LITELLM_VERSION}/bin/litellm"
"""A virtual environment for each release, so that an upgrade does not change the one that serves."""


@dataclass(frozen=True, slots=True)
class GpuNode:
    """A machine with GPUs of one model.

    Attributes:
        title: the card's name for people.
        product: the word of that name that the driver must know the card by, such as `L40S`; None for a card that
            only the spec describes.
        compute_capability: such as (12, 0).
        uuids: full `GPU-…` or `MIG-…` identifiers by index; empty if the spec gives none.
        mig: the profile, where each is a slice of a GPU.
    """

    name: str
    title: str
    count: int
    memory: int
    compute_capability: tuple[int, int]
    uuids: tuple[str, ...] = ()
    mig: str | None = None
    product: str | None = None


@dataclass(frozen=True, slots=True)
class CpuNode:
    """A machine that vLLM's CPU build serves from its main memory."""

    name: str
    memory: int


@dataclass(frozen=True, slots=True)
class Engine:
    """The vLLM release that runs here. `image` is a reference for `docker pull`, by digest if the spec gives one.

    `cuda` is the CUDA release that its build holds, and `minimum_driver` the oldest driver that runs it; None on CPUs.
    """

    version: str
    image: str
    cuda: str | None = None
    minimum_driver: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """An image that containers of this stack run.

    Attributes:
        part: what runs in it: `vllm`, `gateway`, or the name of a container.
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
class ModelFile:
    """A file of weights that the server loads.

    Attributes:
        path: in its repository.
        size: bytes; None where the Hub did not say.
        sha256: None where the Hub did not say.
    """

    path: str
    size: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The checkpoint that a service loads.

    Attributes:
        requested: the model as the spec names it.
        repository: Hub id of the chosen variant; None for a local folder.
        folder: path on the server; None for a Hub model.
        commit: full hash, a prefix that prefetch checks, or None where only `main` is known.
        is_pinned: whether `commit` is a full hash.
        quantization: method as the checkpoint states it, or `none`.
        weights_bytes: of the files to download; None where the Hub did not say.
        files: the files of weights, by path; empty where the lock does not list them.
        unconfirmed: facts the lock marks as not exactly known.
        base_models: repositories that its card names as its base.
    """

    requested: str
    repository: str | None
    folder: str | None
    commit: str | None
    is_pinned: bool
    license: str | None
    quantization: str
    weights_bytes: int | None
    unconfirmed: tuple[str, ...]
    files: tuple[ModelFile, ...] = ()
    base_models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KvCache:
    """The KV cache of one rank. `num_blocks` includes vLLM's null block; `bytes` = num_blocks × bytes_per_block."""

    dtype: str
    block_size: int
    bytes_per_block: int
    num_blocks: int
    capacity_tokens: int
    max_concurrency: float

    @property
    def bytes(self) -> int:
        """Bytes given to `--kv-cache-memory-bytes`."""
        return self.num_blocks * self.bytes_per_block


@dataclass(frozen=True, slots=True)
class Embedding:
    """What a text becomes: how many numbers, and whether they have length 1; None where the lock does not know."""

    dimension: int
    is_normalized: bool | None


@dataclass(frozen=True, slots=True)
class HostNeed:
    """Something that a server compiles as it starts, and for which a machine without containers needs a program.

    Attributes:
        tool: `c` or `c++`: such a compiler and Python's headers; `flashinfer`: its prebuilt kernels or a CUDA toolkit;
            `nvcc`: a CUDA toolkit.
        why: what is compiled, as a sentence.
        unless: a variable of the server's environment with which it is not compiled.
    """

    tool: str
    why: str
    unless: str | None = None


@dataclass(frozen=True, slots=True)
class Argument:
    """One option of `vllm serve`.

    Attributes:
        value: several words for an option that takes a list; None is a switch.
        reason: who decided it (for the README).
    """

    flag: str
    value: str | tuple[str, ...] | None
    reason: str

    @property
    def words(self) -> tuple[str, ...]:
        """Its value as words."""
        return () if self.value is None else (self.value,) if isinstance(self.value, str) else self.value


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `ready` < `start`, and `drain` < `stop`, so that the inner deadline's message wins.

    They are those of the server alone; waiting for a neighbour on the same device comes on top
    (compiler/targets/deployment.py).
    """

    ready: int
    start: int
    drain: int
    stop: int


@dataclass(frozen=True, slots=True)
class Service:
    """One vLLM server.

    Attributes:
        task: `chat`, `completion`, `embed`, `score` or `classify`.
        features: what clients need beyond that: `tools`, `structured-output`, `reasoning`.
        embedding: of a service for embeddings.
        labels: that a service for scores (one) or labels gives for each text.
        devices: GPU indices on the node, one per rank, those of one pipeline stage together; (0,) on a CPU node.
        concurrency: requests of max_model_len tokens that the KV cache holds at once, as the spec promises them.
        solved: keys of the spec whose values were found rather than given: `context`, `concurrency`.
        start_after: services that must be ready before this one starts, because they share a device.
        gpu_memory_utilization: in ten-thousandths of the device's total, rounded down.
        arguments: after the model, in the order in which they are emitted; the model itself is `model`.
        environment: variables the server needs, sorted by name; never a secret.
        candidate_of: the service that this one may replace; None outside a rollout.
        media_domains: hosts from which it fetches images, sound and videos; None if its model takes none of these.
        host_needs: what it compiles; nothing where only containers run.
    """

    name: str
    task: str
    model: ServedModel
    served_name: str
    host: str
    port: int
    devices: tuple[int, ...]
    start_after: tuple[str, ...]
    dtype: str
    max_model_len: int
    concurrency: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: int
    kv_cache: KvCache
    timeouts: Timeouts
    arguments: tuple[Argument, ...]
    environment: tuple[tuple[str, str], ...]
    pipeline_parallel_size: int = 1
    solved: tuple[str, ...] = ()
    candidate_of: str | None = None
    features: tuple[str, ...] = ()
    embedding: Embedding | None = None
    labels: int | None = None
    media_domains: tuple[str, ...] | None = None
    host_needs: tuple[HostNeed, ...] = ()

    @property
    def tensor_parallel_size(self) -> int:
        """Ranks of one pipeline stage."""
        return len(self.devices) // self.pipeline_parallel_size

    @property
    def revision(self) -> str:
        """Changes with whatever changes the answers: the checkpoint and the flags, not where the server listens."""
        model = self.model
        arguments = [(each.flag, each.value) for each in self.arguments if each.flag not in ("--host", "--port")]
        parts = (model.repository, model.folder, model.commit, model.quantization, arguments, self.environment)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Paths:
    """Absolute paths on the server: the stack's folder, state and caches, and the executables."""

    install: str
    state: str
    vllm: str
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
        folder: of its tree, below that of the stack; empty where the stack has one node.
        templates: path and SHA-256 of each template that is not stackc's own.
        images: of all containers, by part; none without containers.
    """

    stack: str
    engine: Engine
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

    @property
    def tree(self) -> str:
        """Where its tree lies below the output."""
        return f"{self.stack}/{self.folder}" if self.folder else self.stack

    @property
    def runs_on_host(self) -> bool:
        """Whether the machine's own vLLM runs, and not only that of an image."""
        return "systemd" in self.targets or not {"compose", "quadlet"} & set(self.targets)

    def service(self, name: str) -> Service:
        """The service of that name."""
        return next(service for service in self.services if service.name == name)
