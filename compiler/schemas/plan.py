"""`plan.json` as a type, key by key as `compiler.targets.plan_json` writes it; a test holds the two together.

Keys that are written from a dataclass of the plan as it is have that dataclass as their type.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from compiler.catalog.vllm.kernels import KernelWheel
from compiler.ledger import Verdict
from compiler.plan import ir
from compiler.schemas.ledger import Device


class GpuNode(BaseModel):
    """A machine with GPUs of one model.

    Attributes:
        name: as the spec has it.
        kind: what serves there.
        gpu: the card's name for people.
        product: the word of that name that the driver must know the card by; null for a card of the spec's own.
        count: GPUs.
        memory_bytes: of each, as CUDA reports them.
        compute_capability: such as `12.0`.
        uuids: by index; none if the spec gives none.
        mig: the profile, where each is a slice of a GPU.
    """

    name: str
    kind: Literal["gpu"]
    gpu: str
    product: str | None
    count: int
    memory_bytes: int
    compute_capability: str
    uuids: list[str]
    mig: str | None


class CpuNode(BaseModel):
    """A machine that vLLM's CPU build serves from its main memory.

    Attributes:
        name: as the spec has it.
        kind: what serves there.
        memory_bytes: that the stack may use.
    """

    name: str
    kind: Literal["cpu"]
    memory_bytes: int


class Engine(BaseModel):
    """The vLLM release that runs.

    Attributes:
        vllm: its version.
        image: of its container.
        cuda: the release that its build holds; null on CPUs.
        minimum_driver: the oldest driver that runs it.
        kernels: packages of prebuilt kernels, for machines that cannot compile them.
    """

    vllm: str
    image: str
    cuda: str | None
    minimum_driver: str | None
    kernels: list[KernelWheel]


class Model(BaseModel):
    """The checkpoint that a service loads.

    Attributes:
        requested: as the spec names it.
        repository: of the chosen variant on the Hub; null for a folder.
        folder: on the server; null for a model of the Hub.
        commit: full hash, a prefix that prefetch checks, or null where only `main` is known.
        pinned: whether the commit is a full hash.
        license: null where none is stated.
        quantization: method as the checkpoint states it, or `none`.
        weights_bytes: to download; null where the Hub did not say.
        files: of weights.
        base_models: repositories that its card names as its base.
        unconfirmed: facts that are not exactly known.
    """

    requested: str
    repository: str | None
    folder: str | None
    commit: str | None
    pinned: bool
    license: str | None
    quantization: str
    weights_bytes: int | None
    files: list[ir.ModelFile]
    base_models: list[str]
    unconfirmed: list[str]


class KvCache(BaseModel):
    """The KV cache of one rank.

    Attributes:
        dtype: of its elements.
        block_size: tokens of one block.
        bytes_per_block: in all layers.
        num_blocks: vLLM's null block included.
        bytes: blocks times their bytes, `--kv-cache-memory-bytes`.
        capacity_tokens: that it holds.
        max_concurrency: requests of `max_model_len` tokens that it holds.
    """

    dtype: str
    block_size: int
    bytes_per_block: int
    num_blocks: int
    bytes: int
    capacity_tokens: int
    max_concurrency: float


class Timeouts(BaseModel):
    """Of the server alone; waiting for a neighbour on the same device comes on top.

    Attributes:
        ready_seconds: until it answers.
        start_seconds: after which its start is given up.
        drain_seconds: for requests under way when it is stopped.
        stop_seconds: after which it is killed.
    """

    ready_seconds: int
    start_seconds: int
    drain_seconds: int
    stop_seconds: int


class Argument(BaseModel):
    """One option of `vllm serve`.

    Attributes:
        flag: with its dashes.
        value: several words for an option that takes a list; null for a switch.
        reason: who decided it.
    """

    flag: str
    value: str | list[str] | None
    reason: str


class Embedding(BaseModel):
    """What a text becomes.

    Attributes:
        dimension: how many numbers.
        normalized: whether they have length 1; null where the lock does not know.
    """

    dimension: int
    normalized: bool | None


class Service(BaseModel):
    """One vLLM server.

    Attributes:
        name: as the spec has it.
        task: what it answers.
        features: what clients need of it beyond that.
        embedding: of a service for embeddings.
        labels: that a service for scores (one) or labels gives for each text.
        model: what it loads.
        served_name: by which clients ask for it.
        candidate_of: the service that this one may replace; null outside a rollout.
        host: where it listens.
        port: where it listens.
        devices: GPU indices on the node, one per rank; 0 on a CPU node.
        start_after: services that must be ready before this one starts.
        dtype: of activations.
        max_model_len: tokens of one request.
        concurrency: requests of that length that the spec promises.
        solved: keys of the spec whose values were found rather than given.
        max_num_seqs: requests that run at once.
        max_num_batched_tokens: of one step.
        tensor_parallel_size: ranks of one pipeline stage.
        pipeline_parallel_size: stages.
        gpu_memory_utilization: of the device's total, from 0 to 1.
        kv_cache: of one rank.
        timeouts: for starting and stopping.
        arguments: after the model, in the order in which they are emitted.
        environment: variables that the server needs; never a secret.
        media_domains: hosts from which it fetches media; null if its model takes none.
        host_needs: what it compiles as it starts, where no container runs.
    """

    name: str
    task: str
    features: list[str]
    embedding: Embedding | None
    labels: int | None
    model: Model
    served_name: str
    candidate_of: str | None
    host: str
    port: int
    devices: list[int]
    start_after: list[str]
    dtype: str
    max_model_len: int
    concurrency: int
    solved: list[str]
    max_num_seqs: int
    max_num_batched_tokens: int
    tensor_parallel_size: int
    pipeline_parallel_size: int
    gpu_memory_utilization: float
    kv_cache: KvCache
    timeouts: Timeouts
    arguments: list[Argument]
    environment: dict[str, str]
    media_domains: list[str] | None
    host_needs: list[ir.HostNeed]


class Paths(BaseModel):
    """Absolute paths on the server.

    Attributes:
        install: the stack's folder.
        current: a link to the installed version of the tree.
        state: its state and caches.
        vllm: the executable.
        nginx: the executable.
        litellm: the executable.
    """

    install: str
    current: str
    state: str
    vllm: str
    nginx: str
    litellm: str


class Image(BaseModel):
    """An image that containers of this stack run.

    Attributes:
        part: what runs in it: `vllm`, `gateway`, or the name of a container.
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


class Route(BaseModel):
    """Requests for a model, and who answers them.

    Attributes:
        name: of the model, as requests name it.
        service: that answers.
        read_timeout_seconds: the longest silence of the server that is not yet a failure.
        rollout: how requests are divided between two revisions; null for one.
    """

    name: str
    service: str
    read_timeout_seconds: int
    rollout: ir.Rollout | None


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


class PlanFile(BaseModel):
    """What runs on one node: `plan.json`. Keys of bytes end in `_bytes`, those of times in `_seconds`.

    Attributes:
        stack: its name.
        user: that the stack's files and services belong to on the server.
        verdict: what the ledger proves.
        engine: what serves.
        node: where.
        devices: the ledger of each.
        services: in start order.
        paths: on the server.
        secrets: files on the server that hold secrets; never what is in them.
        targets: for which files were emitted.
        images: of all containers.
        templates: SHA-256 of each template that is not stackc's own.
        gateway: in front of the servers; null without one.
        monitoring: null without it.
    """

    stack: str
    user: str
    verdict: Verdict
    engine: Engine
    node: GpuNode | CpuNode
    devices: list[Device]
    services: list[Service]
    paths: Paths
    secrets: ir.Secrets
    targets: list[str]
    images: list[Image]
    templates: dict[str, str]
    gateway: Gateway | None
    monitoring: ir.Monitoring | None
