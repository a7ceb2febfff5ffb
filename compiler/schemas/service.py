"""A server in `plan.json`, key by key as `compiler.targets.plan_json` writes it."""

from __future__ import annotations

from pydantic import BaseModel

from compiler.plan import ir


class Model(BaseModel):
    """The checkpoint that a service loads.

    Attributes:
        requested: as the spec names it.
        repository: of the chosen variant on the Hub; null for a folder.
        folder: on the server; null for a model of the Hub.
        file: that the server is given, by its path below the snapshot or folder; null where it is given all of it.
        projector: likewise, of the file with which it reads images; missing where it reads text alone.
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
    file: str | None
    projector: str | None = None
    commit: str | None
    pinned: bool
    license: str | None
    quantization: str
    weights_bytes: int | None
    files: list[ir.ModelFile]
    base_models: list[str]
    unconfirmed: list[str]


class Draft(BaseModel):
    """How tokens are guessed ahead of a service's model.

    Attributes:
        method: `ngram`, `draft` or `eagle3`.
        tokens: in each step.
        model: that guesses them; null where they are looked up in the text itself.
    """

    method: str
    tokens: int
    model: Model | None


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
    """One option of a server.

    Attributes:
        flag: with its dashes.
        value: several words for an option that takes a list; null for a switch.
        reason: who decided it.
    """

    flag: str
    value: str | list[str] | None
    reason: str


class Adapter(BaseModel):
    """A LoRA adapter that a server has beside its model.

    Attributes:
        name: by which clients ask for it.
        rank: of its largest matrices.
        base: the model that it names as its own; null where it names none.
        model: its repository or folder, and its files.
    """

    name: str
    rank: int
    base: str | None
    model: Model


class Embedding(BaseModel):
    """What a text becomes.

    Attributes:
        dimension: how many numbers.
        normalized: whether they have length 1; null where the lock does not know.
    """

    dimension: int
    normalized: bool | None


class Objectives(BaseModel):
    """What requests are to see. Null where nothing is asked.

    Attributes:
        ttft_p95_seconds: to the first token, of 95 in 100 requests at most.
        tokens_per_second: that each request gets after it, at least.
    """

    ttft_p95_seconds: float | None
    tokens_per_second: float | None


class Group(BaseModel):
    """The machines of one server, as one of them sees them.

    Attributes:
        rank: of this machine, from 0; the first of them answers clients.
        members: all machines, by rank.
        rendezvous_port: of the first machine, at which the engine's processes find each other.
        watch_port: of the first machine, at which the others hold a connection, so that each knows of a lost one.
        revision: the same on all machines where they have the same version of the tree.
    """

    rank: int
    members: list[ir.Member]
    rendezvous_port: int
    watch_port: int
    revision: str


class Service(BaseModel):
    """One server. What only one engine has is there for its servers alone.

    Attributes:
        name: as the spec has it.
        engine: that serves it, by its name in `engines`.
        task: what it answers.
        features: what clients need of it beyond that.
        embedding: of a service for embeddings.
        labels: that a service for scores (one) or labels gives for each text.
        model: what it loads.
        adapters: that it loads beside that; absent without any.
        draft: how tokens are guessed ahead of it; missing where none are.
        served_name: by which clients ask for it.
        candidate_of: the service that this one may replace; null outside a rollout.
        replica_of: the service of which this is a further server; null for the first one, missing for the only one.
        replicas: servers of its service in the whole stack; missing for one.
        host: where it listens.
        port: where it listens.
        devices: GPU indices on the node, one per rank; 0 on a CPU node.
        start_after: services that must be ready before this one starts.
        dtype: of activations; of vLLM.
        max_model_len: tokens of one request.
        concurrency: requests of that length that the spec promises.
        solved: keys of the spec whose values were found rather than given.
        max_num_seqs: requests that run at once.
        max_num_batched_tokens: of one step; of vLLM.
        tensor_parallel_size: ranks of one pipeline stage; of vLLM.
        pipeline_parallel_size: stages; of vLLM.
        gpu_memory_utilization: of the device's total, from 0 to 1; of vLLM.
        gpu_layers: that lie on GPUs, the output among them; of llama.cpp.
        layers: that there are; of llama.cpp.
        cpu_moe: layers whose experts stay in main memory; of llama.cpp.
        batch_size: tokens that are taken together; of llama.cpp.
        ubatch_size: tokens of one step; of llama.cpp.
        kv_cache: of one rank.
        timeouts: for starting and stopping.
        arguments: after the model, in the order in which they are emitted.
        environment: variables that the server needs; never a secret.
        media_domains: hosts from which it fetches media; null if its model takes none.
        host_needs: what it compiles as it starts, where no container runs.
        compiled_bytes: room on the disk for what it compiles, an assumption.
        objectives: how fast it is to be; null where nobody says.
        group: the machines that it runs on together, where they are several.
    """

    name: str
    engine: str
    task: str
    features: list[str]
    embedding: Embedding | None
    labels: int | None
    model: Model
    adapters: list[Adapter] | None = None
    draft: Draft | None = None
    served_name: str
    candidate_of: str | None
    replica_of: str | None = None
    replicas: int = 1
    host: str
    port: int
    devices: list[int]
    start_after: list[str]
    dtype: str | None = None
    max_model_len: int
    concurrency: int
    solved: list[str]
    max_num_seqs: int
    max_num_batched_tokens: int | None = None
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    gpu_memory_utilization: float | None = None
    gpu_layers: int | None = None
    layers: int | None = None
    cpu_moe: int | None = None
    batch_size: int | None = None
    ubatch_size: int | None = None
    kv_cache: KvCache
    timeouts: Timeouts
    arguments: list[Argument]
    environment: dict[str, str]
    media_domains: list[str] | None
    host_needs: list[ir.HostNeed]
    compiled_bytes: int
    objectives: Objectives | None
    group: Group | None = None
