"""What a machine and its operators see of an engine, the same for all its servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from compiler.catalog.metrics import MetricCatalog
from compiler.catalog.packages import Requirements
from compiler.engines.interface.manual import Manual


class Signal(StrEnum):
    """What rules and panels may ask of a server, whatever its engine calls it; an engine need not have all."""

    RUNNING = "requests that run"
    WAITING = "requests that wait"
    GENERATED = "tokens generated"
    PROMPTED = "tokens of prompts"
    CACHE_USED = "share of the KV cache in use"
    CACHE_FACTS = "size of the KV cache, in labels"
    DISPLACED = "requests displaced from the KV cache"
    FIRST_TOKEN = "seconds to the first token, in buckets"  # noqa: S105 (a metric)
    NEXT_TOKEN = "seconds between tokens, in buckets"  # noqa: S105 (a metric)
    WHOLE = "seconds of whole answers, in buckets"
    ITERATIONS = "steps of the engine"
    FINISHED = "requests that ended, by reason"
    PREFIX_HITS = "tokens found in the prefix cache"
    PREFIX_QUERIES = "tokens looked for in the prefix cache"
    PREFIX_MISSES = "tokens of prompts that were not in the prefix cache"
    GUESSED = "tokens guessed, of a server that drafts"
    ACCEPTED = "guesses that were right"
    ANSWERS = "answers, by HTTP status"
    STARTED = "when the process started"


OF_DRAFTS = (Signal.GUESSED, Signal.ACCEPTED)
"""Signals that only a server has for which tokens are guessed."""


@dataclass(frozen=True, slots=True)
class Program:
    """The executable that serves.

    Attributes:
        name: as it is found on PATH.
        variable: of the environment, which names another one.
        path: where it lies unless the spec says otherwise.
        key: of the spec's `paths`, which says so.
    """

    name: str
    variable: str
    path: str
    key: str


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """What its image wants.

    Attributes:
        image: a reference for `docker pull`.
        login: what the user is called there, for whoever asks for it.
        cache: volume that keeps what its servers compile.
        program: where its executable lies; None where it is found on PATH.
        has_python: whether its python3 runs programs; where not, curl is there.
        binds_memory: its servers always choose a NUMA node, which containers may not without a capability.
    """

    image: str
    login: str
    cache: str
    program: str | None = None
    has_python: bool = True
    binds_memory: bool = False


@dataclass(frozen=True, slots=True)
class Packages:
    """What pip installs to serve on a machine without containers.

    Attributes:
        name: of the engine's release, as a file may be called.
        root: what is asked for, as pip takes it.
        requirements: with hashes; None where nobody could list them.
        what, why: where there are none, whose packages they are, and why nobody could.
    """

    name: str
    root: str
    requirements: Requirements | None
    what: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Installing:
    """How a program that pip does not install comes onto a machine.

    Attributes:
        what: it is, as sentences of Markdown.
        commands: lines of a shell that put it into `$folder`.
    """

    what: str
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KernelWheel:
    """A package of kernels, which is on FlashInfer's own index and not on PyPI.

    Attributes:
        index: where it is.
        requirement: as pip takes it.
        has_parts: it brings others of that index, one for each generation of GPUs.
    """

    index: str
    requirement: str
    has_parts: bool


@dataclass(frozen=True, slots=True)
class StartSpeed:
    """How long a start usually takes, an estimate.

    Attributes:
        fastest, slowest: bytes of weights that are read in a second.
        beside: seconds of everything else, at least and at most.
    """

    fastest: int
    slowest: int
    beside: tuple[int, int]

    def usual_start(self, weights: int) -> tuple[int, int]:
        """Seconds that most starts lie between, of a server with so many bytes of weights on all its devices."""
        least, most = self.beside
        return least + weights // self.fastest, most + -(-weights // self.slowest)


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is true of every server of one release.

    Attributes:
        name: of the engine, as the spec and plan.json have it.
        title: for people.
        key_variable: of the environment, through which a server gets its API key.
        guarded: what of it the key guards, as the end of a sentence of Markdown.
        commit: of its source, as its program says it, perhaps cut short; None where its version says enough.
        answers_while_loading: it listens before it can serve, and 503 says so; of another, 503 says that it is dead.
        cuda: the CUDA release that its build holds; None on CPUs.
        minimum_driver: the oldest NVIDIA driver that runs it; None on CPUs.
        packages: None where pip installs nothing.
        installing: how its program is installed then; None where pip does.
        kernels: prebuilt ones, for machines that cannot compile them.
        fixed: variables for which a launch script takes nobody's word but the plan's.
        configuration: folders of the machine from which its servers take options that nobody planned.
        closed: what variables begin with that a launch script takes from nobody: each is an option of the server.
        offline: variables with which a server reads its files and tells nobody; the plan's and the caller's win.
        caches: variables of folders that it writes into, and what these are called below the cache.
        file_options: options that may name files of the host, which a container must be given to see them.
        client_paths: that clients may ask, by task, with the model's name in a JSON body; nothing is kept of a request.
        provider: by which LiteLLM knows it.
        ranking_provider: likewise of a server that ranks texts.
        start: None where nobody timed any.
        compiled_bytes: that one server may write into its caches, an assumption for room on a disk.
        metrics: that its servers have.
        signals: those of them that rules and panels ask for, by the names that are scraped.
        unmeasured: how somebody may have started it so that it counts nothing.
        guards_metrics: who asks for metrics needs the API key.
        has_slow_metrics: it answers for them between two steps, and a step may take long.
        manual: for people.
    """

    name: str
    title: str
    program: Program
    key_variable: str
    guarded: str
    container: ContainerFacts
    cuda: str | None
    minimum_driver: str | None
    packages: Packages | None
    kernels: tuple[KernelWheel, ...]
    fixed: frozenset[str]
    offline: tuple[tuple[str, str], ...]
    caches: tuple[tuple[str, str], ...]
    file_options: tuple[str, ...]
    client_paths: Mapping[str, tuple[str, ...]]
    provider: str
    ranking_provider: str
    start: StartSpeed | None
    metrics: MetricCatalog
    signals: Mapping[Signal, str]
    unmeasured: str
    installing: Installing | None = None
    commit: str | None = None
    guards_metrics: bool = False
    has_slow_metrics: bool = False
    manual: Manual = field(default_factory=Manual)
    answers_while_loading: bool = False
    configuration: tuple[str, ...] = ()
    compiled_bytes: int = 0
    closed: tuple[str, ...] = ()
