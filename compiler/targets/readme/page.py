"""The README of a generated tree as a document."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.catalog.vllm.kernels import KernelWheel
from compiler.targets.readme.first_request import FirstRequest
from compiler.targets.readme.tables import (
    Table,
)


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that must be made once. `kind` is `key`, `token` or `clients`; `podman` the name of Podman's secret."""

    kind: str
    file: str
    podman: str


@dataclass(frozen=True, slots=True)
class GatewayPage:
    """How clients come in.

    Attributes:
        path, request: of an example, and its body as JSON.
        program: the executable that the unit runs.
        version: of LiteLLM, whose configuration is for one release; None for nginx.
    """

    kind: str
    address: str
    names: tuple[str, ...]
    path: str
    request: str
    unit: str
    client_keys_file: str | None
    program: str
    version: str | None
    origins: tuple[str, ...]
    address_connections: int
    wrong_keys_per_second: int


@dataclass(frozen=True, slots=True)
class VirtualEnvironment:
    """A folder that pip installs into, from a file of `requirements/`; None where nobody lists the hashes.

    Attributes:
        root: what is asked for, with which all else comes.
    """

    folder: str
    requirements: str | None
    root: str


@dataclass(frozen=True, slots=True)
class Compilers:
    """What the servers compile with on a machine without containers, as packages of distributions.

    Attributes:
        for_kernels: servers that take FlashInfer's kernels, prebuilt or compiled.
        for_toolkit: servers that compile with `nvcc` in any case.
        cuda: the release of CUDA that vLLM's build holds.
        wheels: prebuilt kernels, where they are enough and pip installs vLLM.
    """

    debian: str
    redhat: str
    for_kernels: tuple[str, ...]
    for_toolkit: tuple[str, ...]
    cuda: str | None
    wheels: tuple[KernelWheel, ...]


@dataclass(frozen=True, slots=True)
class RolloutPage:
    """Two revisions of a service; `sticky` ends the sentence on who gets the candidate."""

    stable: str
    candidate: str
    strategy: str
    weight: int
    sticky: str


@dataclass(frozen=True, slots=True)
class MonitoringPage:
    """Addresses are those of the containers. `dcgm_port` is None without GPUs."""

    has_grafana: bool
    dcgm_port: int | None
    prometheus: str
    grafana: str


@dataclass(frozen=True, slots=True)
class MediaPage:
    """A server that takes media, and the hosts from which it fetches them."""

    name: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Readme:
    """The README as a document.

    Attributes:
        tree: below generated/.
        home: the folder that runs: what the link `current` leads to, or this folder where nothing installs it.
        bin: of that folder.
        cases: a file for `bin/evaluate`: the one that is emitted, or one that the reader has to write.
        units: of the servers, then of the gateway; likewise `containers`.
        virtual_environment: None if the vLLM executable is not in a `bin` folder.
        virtual_environments: all that pip installs into, first that of vLLM.
        compilers: None where only containers run.
        installer: the user who does so, and owns nothing afterwards.
        templates: path and SHA-256 of each template that is not stackc's own.
        networks: addresses of each unit; None without units.
        has_containers_outside: containers that reach what the machine reaches, because no gateway stands before them.
    """

    stack: str
    tree: str
    node: str
    is_cpu: bool
    engine: str
    verdict: str
    verdict_reason: str
    services: Table
    devices: tuple[Table, ...]
    kv_cache: Table
    flags: tuple[Table, ...]
    unconfirmed: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    units: tuple[str, ...]
    containers: tuple[str, ...]
    folders: tuple[str, ...]
    has_systemd: bool
    has_compose: bool
    has_quadlet: bool
    user: str
    install: str
    home: str
    bin: str
    cases: str
    start_burst: int
    state: str
    vllm: str
    virtual_environment: str | None
    virtual_environments: tuple[VirtualEnvironment, ...]
    is_hashed: bool
    compilers: Compilers | None
    installer: str
    pip_options: str
    api_key_file: str | None
    secrets: tuple[SecretFile, ...]
    environment: tuple[tuple[str, str], ...]
    address: str
    first_request: FirstRequest
    gateway: GatewayPage | None
    rollouts: tuple[RolloutPage, ...]
    monitoring: MonitoringPage | None
    templates: tuple[tuple[str, str], ...]
    networks: Table | None
    media: tuple[MediaPage, ...]
    has_containers_outside: bool
