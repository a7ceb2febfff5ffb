"""What was decided for a service, and how its engine starts it. Sizes are bytes, lengths tokens, times seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from compiler.engines.interface.demand import Demand
from compiler.engines.interface.group import Group
from compiler.spec.services import ServiceSpec

Figure = int | float | str


class Placeholder(StrEnum):
    """A word of a command that only the machine knows, by the variable of the launch script that holds it."""

    MODEL = "model"
    PROJECTOR = "projector"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class AdapterWord:
    """A word of a command that names an adapter, and where its files lie, as only the machine knows.

    Attributes:
        index: among the service's adapters, from 0.
        before, after: what stands around the folder.
    """

    index: int
    before: str
    after: str


Word = str | Placeholder | AdapterWord


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
    """One option of a server's command line.

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
class Seat:
    """A service in the place that the solver gave it: all that its engine is told to say how it starts.

    Attributes:
        spec: as the spec has it, every range with its bounds.
        demand: the engine's own.
        devices: GPU indices on the node, one for each rank.
        units: of the KV cache, on every rank.
        utilization: of the device's total, in ten-thousandths, rounded down.
        capability: compute capability of the GPUs; None on a CPU.
        processors: multiprocessors of a MIG slice; None of a whole GPU.
        runs_on_host: whether the machine's own packages serve it, and not only those of an image.
        is_alone: no other server runs on its node.
        group: the machines that it runs on together; None for one.
    """

    spec: ServiceSpec
    demand: Demand
    devices: tuple[int, ...]
    units: int
    utilization: int
    capability: tuple[int, int] | None
    processors: int | None
    runs_on_host: bool
    is_alone: bool
    group: Group | None = None

    @property
    def service(self) -> str:
        """Its name."""
        return self.demand.service


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is started, and what it is then.

    Attributes:
        words: of the command between the program and its options.
        arguments: in the order in which they are emitted; each is known to the release's catalogue.
        environment: variables of the server, sorted by name; never a secret.
        max_model_len: tokens of one request.
        max_num_seqs: requests that run at once.
        figures: what else the plan says of it, by the engine's own names.
        media_domains: hosts from which it fetches images, sound and videos; None if its model takes none of these.
        host_needs: what it compiles; nothing where only containers run.
        shared_memory: bytes of /dev/shm that its processes need; 0 for none.
        notes: what else people should know of it, each a sentence without its end.
        uses_gpus: whether it may see any.
        measures: it measures free memory as it starts, so that nobody else may take any of its devices meanwhile.
    """

    words: tuple[Word, ...]
    arguments: tuple[Argument, ...]
    environment: tuple[tuple[str, str], ...]
    timeouts: Timeouts
    max_model_len: int
    max_num_seqs: int
    kv_cache: KvCache
    figures: Mapping[str, Figure]
    media_domains: tuple[str, ...] | None = None
    host_needs: tuple[HostNeed, ...] = ()
    shared_memory: int = 0
    notes: tuple[str, ...] = ()
    uses_gpus: bool = True
    measures: bool = True
