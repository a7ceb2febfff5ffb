"""A server in the plan: what it loads, where it runs, and the command that starts it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from compiler.engines.interface.group import Group
from compiler.engines.interface.launch import Argument, Figure, HostNeed, KvCache, Timeouts, Word
from compiler.plan.speed import ServiceSpeed


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
        file: that the server is given, by its path below the snapshot or folder; None where it is given all of it.
        commit: full hash, a prefix that prefetch checks, or None where only `main` is known.
        is_pinned: whether `commit` is a full hash.
        quantization: method as the checkpoint states it, or `none`.
        weights_bytes: of the files to download; None where the Hub did not say.
        files: the files of weights, by path; empty where the lock does not list them.
        unconfirmed: facts the lock marks as not exactly known.
        base_models: repositories that its card names as its base.
        projector: likewise, of the file with which it reads images; None where it reads text alone.
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
    file: str | None = None
    projector: str | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """What lies on the machine already: its folder, or the files of it that are served; nothing of a Hub model."""
        if self.folder is None or self.file is None:
            return () if self.folder is None else (self.folder,)
        return tuple(f"{self.folder}/{file.path}" for file in self.files)


@dataclass(frozen=True, slots=True)
class Draft:
    """How tokens are guessed ahead of a service's model.

    Attributes:
        method: `ngram`, `draft` or `eagle3`.
        tokens: in each step.
        model: that guesses them; None where they are looked up in the text itself.
    """

    method: str
    tokens: int
    model: ServedModel | None = None


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """A LoRA adapter that a server has beside its model.

    Attributes:
        name: by which clients ask for it.
        rank: of its largest matrices.
        base: the model that it names as its own; None where it names none.
    """

    name: str
    model: ServedModel
    rank: int
    base: str | None


@dataclass(frozen=True, slots=True)
class Embedding:
    """What a text becomes: how many numbers, and whether they have length 1; None where the lock does not know."""

    dimension: int
    is_normalized: bool | None


@dataclass(frozen=True, slots=True)
class Objectives:
    """What requests of a service are to see. None where nothing is asked.

    Attributes:
        ttft_p95: seconds to the first token, of 95 in 100.
        tokens_per_second: of each request, after its first token.
    """

    ttft_p95: float | None
    tokens_per_second: float | None


_OF_A_PLACE = ("--host", "--port", "--node-rank", "--headless")


@dataclass(frozen=True, slots=True)
class Service:
    """One server.

    Attributes:
        engine: that serves it, by its name in the plan.
        task: `chat`, `completion`, `embed`, `score` or `classify`.
        features: what clients need beyond that: `tools`, `structured-output`, `reasoning`.
        embedding: of a service for embeddings.
        labels: that a service for scores (one) or labels gives for each text.
        devices: GPU indices on the node, one per rank, those of one pipeline stage together; (0,) on a CPU node.
        concurrency: requests of max_model_len tokens that the KV cache holds at once, as the spec promises them.
        solved: keys of the spec whose values were found rather than given: `context`, `concurrency`, `replicas`.
        start_after: services that must be ready before this one starts, because they share a device.
        words: of the command between the program and its options, the model among them.
        arguments: in the order in which they are emitted; the model itself is `model`.
        environment: variables the server needs, sorted by name; never a secret.
        candidate_of: the service that this one may replace; None outside a rollout.
        replica_of: the service of which this is a further server; None for the first one, and for the only one.
        replicas: servers of its service in the whole stack, this one among them.
        media_domains: hosts from which it fetches images, sound and videos; None if its model takes none of these.
        host_needs: what it compiles; nothing where only containers run.
        notes: what else people should know of it, each a sentence without its end.
        shared_memory: bytes of /dev/shm that its processes need; 0 for none.
        uses_gpus: whether it may see any.
        measures: it measures free memory as it starts, so that nobody else may take any of its devices meanwhile.
        figures: what else is said of it, by its engine's own names.
        speed: an estimate; None where nothing is known of it.
        objectives: how fast it is to be.
        group: the machines that it runs on together, of which this plan's node is one; None for one machine.
        adapters: beside its model, in the order of the spec.
        draft: how tokens are guessed ahead of it; None where none are.
    """

    name: str
    engine: str
    task: str
    model: ServedModel
    served_name: str
    host: str
    port: int
    devices: tuple[int, ...]
    start_after: tuple[str, ...]
    max_model_len: int
    concurrency: int
    max_num_seqs: int
    kv_cache: KvCache
    timeouts: Timeouts
    words: tuple[Word, ...]
    arguments: tuple[Argument, ...]
    environment: tuple[tuple[str, str], ...]
    figures: Mapping[str, Figure]
    solved: tuple[str, ...] = ()
    candidate_of: str | None = None
    replica_of: str | None = None
    replicas: int = 1
    features: tuple[str, ...] = ()
    embedding: Embedding | None = None
    labels: int | None = None
    media_domains: tuple[str, ...] | None = None
    host_needs: tuple[HostNeed, ...] = ()
    notes: tuple[str, ...] = ()
    shared_memory: int = 0
    uses_gpus: bool = True
    measures: bool = True
    speed: ServiceSpeed | None = None
    objectives: Objectives | None = None
    group: Group | None = None
    adapters: tuple[ServedAdapter, ...] = ()
    draft: Draft | None = None

    @property
    def answers(self) -> bool:
        """Whether clients ask it here; of a server over several machines one alone answers."""
        return self.group is None or self.group.is_led_here

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """All that it loads: its model, then its adapters, then the model that guesses tokens for it."""
        draft = None if self.draft is None else self.draft.model
        return (self.model, *(each.model for each in self.adapters), *(() if draft is None else (draft,)))

    @property
    def places(self) -> tuple[str, ...]:
        """What of these lies on the machine already."""
        return tuple(place for model in self.models for place in model.places)

    @property
    def of(self) -> str:
        """The service of the spec that it is a server of."""
        return self.replica_of or self.name

    @property
    def revision(self) -> str:
        """Changes with whatever changes the answers: the checkpoint and the flags, not where the server listens."""
        model = self.model
        arguments = [(each.flag, each.value) for each in self.arguments if each.flag not in _OF_A_PLACE]
        environment = self.environment
        if self.group is not None:
            own = (self.group.own.address, self.group.own.interface)
            environment = tuple(each for each in environment if each[1].removeprefix("=") not in own)
        file = tuple(each for each in (model.file, model.projector) if each is not None)
        file += tuple(
            f"{each.name} {each.model.repository or each.model.folder} {each.model.commit}" for each in self.adapters
        )
        file += () if self.draft is None or self.draft.model is None else (str(self.draft.model.commit),)
        parts = (model.repository, model.folder, model.commit, model.quantization, arguments, environment, *file)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
