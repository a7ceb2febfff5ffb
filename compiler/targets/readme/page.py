"""The README of a generated tree as a document."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.engines.interface.host import Installing, KernelWheel
from compiler.plan.replicas import Replicas
from compiler.targets.readme.costs import CostPage
from compiler.targets.readme.first_request import FirstRequest
from compiler.targets.readme.speeds import SpeedPage
from compiler.targets.readme.tables import Table


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that must be made once.

    Attributes:
        kind: `key`, `token` or `clients`.
        podman: the name of Podman's secret.
        key: of the Secret of a cluster.
    """

    kind: str
    file: str
    podman: str
    key: str


@dataclass(frozen=True, slots=True)
class ClusterPage:
    """How the stack is applied to a cluster. `needs` are what the cluster must have, as list items."""

    namespace: str
    secret: str
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemoteServer:
    """A server of another node, by its names and its address."""

    node: str
    service: str
    served_name: str
    address: str


@dataclass(frozen=True, slots=True)
class BalancedModel:
    """A model's name, its servers, and what keeps a session with one of them, in words; None for nothing."""

    name: str
    servers: tuple[str, ...]
    session: str | None


@dataclass(frozen=True, slots=True)
class EntrancePage:
    """Gateways that come to the servers of a node.

    Attributes:
        gateways: node and address of each.
        ports: at which they come.
        is_filtered: whether the units let no other machine in.
        tables: the program that holds Docker's filter for addresses of this kind, `iptables` or `ip6tables`.
    """

    gateways: tuple[tuple[str, str], ...]
    ports: tuple[int, ...]
    is_filtered: bool
    tables: str


@dataclass(frozen=True, slots=True)
class GatewayPage:
    """How clients come in.

    Attributes:
        path, request: of an example, and its body as JSON.
        name: by which clients ask by TLS; empty where the certificate has none that the plan knows; None without TLS.
        teams: groups of clients with limits of their own.
        acme: the domains for which certbot gets a certificate; empty where it gets none.
        program: the executable that the unit runs.
        version: of LiteLLM, whose configuration is for one release; None for nginx.
        elsewhere: servers of other nodes that it serves.
        other_gateways: nodes with another one of the same configuration.
        balanced: models of which several servers answer.
    """

    kind: str
    address: str
    name: str | None
    teams: tuple[str, ...]
    acme: tuple[str, ...]
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
    elsewhere: tuple[RemoteServer, ...]
    other_gateways: tuple[str, ...]
    balanced: tuple[BalancedModel, ...]


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
class GroupPage:
    """A server that spans machines, on one of them.

    Attributes:
        nodes, addresses: of all of them, the one that answers first.
        interface: of this machine.
    """

    service: str
    nodes: tuple[str, ...]
    addresses: tuple[str, ...]
    interface: str
    watch_port: int
    is_led_here: bool

    @property
    def leader(self) -> str:
        """The node that answers."""
        return self.nodes[0]

    @property
    def leader_address(self) -> str:
        """Its address."""
        return self.addresses[0]


@dataclass(frozen=True, slots=True)
class EnginePage:
    """An engine, as far as whoever installs or asks it must know.

    Attributes:
        program: the executable; `folder` is where it lies.
        says: what tells its version.
        is_python: pip installs it.
        is_prepared: it lies in a folder that the commands of this page make.
        installing: how it comes into its folder where pip does not bring it; None where pip does, or it lies elsewhere.
        configures: files of the machine would set options of its servers; a container has none of them.
        key_variable: that gives a server its key.
        guarded: what of it the key guards.
        exit_codes: of its server: code, meaning, what to do.
        symptoms: at night: what is seen, what to do.
        finishes_requests: its server answers what it has begun before it stops.
        is_timed: it is known how long a start usually takes.
        program_name: as people call its server.
    """

    title: str
    version: str
    program: str
    folder: str
    says: str
    is_python: bool
    is_prepared: bool
    installing: Installing | None
    configures: bool
    key_variable: str
    guarded: str
    exit_codes: tuple[tuple[int, str, str], ...]
    symptoms: tuple[tuple[str, str], ...]
    finishes_requests: bool
    is_timed: bool
    program_name: str


@dataclass(frozen=True, slots=True)
class Compilers:
    """What the servers compile with on a machine without containers, as packages of distributions.

    Attributes:
        for_kernels: servers that take FlashInfer's kernels, prebuilt or compiled.
        for_toolkit: servers that compile with `nvcc` in any case.
        title: of the engine that compiles.
        cuda: the release of CUDA that its build holds.
        wheels: prebuilt kernels, where they are enough and pip installs the engine.
        folder: that these are installed into; None where there are none.
    """

    debian: str
    redhat: str
    for_kernels: tuple[str, ...]
    for_toolkit: tuple[str, ...]
    title: str
    cuda: str | None
    wheels: tuple[KernelWheel, ...]
    folder: str | None


@dataclass(frozen=True, slots=True)
class DiskPage:
    """Room on the disk, in GiB.

    Attributes:
        download: of all checkpoints, each once; `compiled` is kept free for what servers compile.
        is_exact: the sizes of all files are known.
    """

    download: str
    compiled: str
    total: str
    is_exact: bool


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
        titles, releases: of the engines.
        engines: with what a machine without containers needs for them.
        waiting: metrics of requests that wait.
        virtual_environments: all that pip installs into, first those of engines.
        compilers: None where only containers run.
        installer: the user who does so, and owns nothing afterwards.
        templates: path and SHA-256 of each template that is not stackc's own.
        entrance: gateways of several nodes; None where none of another node comes to the servers here.
        networks: addresses of each unit; None without units.
        has_containers_outside: containers that reach what the machine reaches, because no gateway stands before them.
        measured: servers that `bin/bench` can measure.
        inside: servers in whose containers there is Python.
        groups: servers that span machines.
        answers: whether clients ask anything on this machine.
        job: of Slurm, by its path in the tree; None without one.
    """

    stack: str
    tree: str
    node: str
    is_cpu: bool
    titles: tuple[str, ...]
    releases: tuple[str, ...]
    engines: tuple[EnginePage, ...]
    waiting: tuple[str, ...]
    verdict: str
    verdict_reason: str
    services: Table
    replicas: tuple[Replicas, ...]
    adapters: Table | None
    drafts: Table | None
    speed: SpeedPage | None
    cost: CostPage | None
    devices: tuple[Table, ...]
    kv_cache: Table
    flags: tuple[Table, ...]
    unconfirmed: tuple[tuple[str, str], ...]
    disk: DiskPage | None
    names: tuple[str, ...]
    units: tuple[str, ...]
    containers: tuple[str, ...]
    places: tuple[str, ...]
    has_systemd: bool
    has_compose: bool
    has_quadlet: bool
    cluster: ClusterPage | None
    user: str
    install: str
    home: str
    bin: str
    cases: str
    start_burst: int
    state: str
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
    entrance: EntrancePage | None
    rollouts: tuple[RolloutPage, ...]
    monitoring: MonitoringPage | None
    templates: tuple[tuple[str, str], ...]
    networks: Table | None
    media: tuple[MediaPage, ...]
    has_containers_outside: bool
    measured: tuple[str, ...]
    inside: tuple[str, ...]
    groups: tuple[GroupPage, ...]
    answers: bool
    job: str | None

    @property
    def is_timed(self) -> bool:
        """Whether it is known of any server how long a start usually takes."""
        return any(engine.is_timed for engine in self.engines)

    @property
    def strict(self) -> tuple[str, ...]:
        """Engines whose servers end with the code of a wrong command line where an option is refused."""
        return tuple(each.title for each in self.engines if all(code != 1 for code, _, _ in each.exit_codes))

    @property
    def finishing(self) -> tuple[str, ...]:
        """Engines whose servers answer what they have begun before they stop."""
        return tuple(each.title for each in self.engines if each.finishes_requests)
