"""What a container engine must be told about each part of a stack, before it is written for Compose or for Podman.

Users and writable places follow from the images. vllm/vllm-openai is prepared to run as its user `vllm`, 2000:0
(docs/deployment/docker.md and docker/Dockerfile of vllm-project/vllm); the CPU image has no such user, and needs none:
its interpreter is readable for all, and USER and HOME are given. llama.cpp's images are made for root, and need no user
either: /app is readable for all (.devops/ of ggml-org/llama.cpp). nginx has the user 101 (docker-nginx).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.hosts import is_loopback
from compiler.plan import images
from compiler.plan.ir import Engine, Gateway, GpuNode, Plan, Service
from compiler.targets.deployment import (
    cache_environment,
    gateway_stop_seconds,
    ready_seconds,
    shared_devices,
    supervised,
    supervised_gateway,
)
from compiler.units import MIB

TREE = "/opt/stackc"
STATE = "/var/lib/stackc"
SECRETS = "/run/secrets"
GATEWAY = "gateway"

# Group 0 is root's: whoever has it can read a secret file of root's group, and nobody on the host has it but root.
SERVER_USER, NGINX_USER, ROOT = "2000:0", "101:0", "0:0"

_RUNTIME = "/run/stackc"
# Docker's default of 64 MiB breaks tensor parallelism; NCCL wants room beside vLLM's own queues.
_SHARED_MEMORY_FACTOR = 2


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume that the engine keeps. `owner` is `uid:gid` of whoever writes there."""

    name: str
    path: str
    owner: str


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the host, on one of its addresses, that leads to the same port in the container."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """A folder in memory, for its owner alone. `runs`: what is written there may be loaded as a library."""

    path: str
    owner: str
    runs: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """How to see that it is ready. Times are seconds; failures within `start_period` do not count."""

    command: tuple[str, ...]
    start_period: int
    interval: int = 30
    timeout: int = 10
    retries: int = 5
    start_interval: int = 5


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of resources, soft and hard alike; -1 for none."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Container:
    """One container.

    Attributes:
        tree: what it sees of the tree, below TREE: each on its own, for a link that leads out of the tree would lead
            nowhere in a container, while engines follow one that is the source of a mount.
        secrets: names of files below SECRETS.
        binds: files and folders of the host, read at the same path.
        devices: GPUs by UUID or index; empty on a CPU node.
        start_after: containers that must be ready first.
        stop_seconds: from the signal to the kill; None for the engine's default. The signal is the image's own:
            lib/supervise takes each.
    """

    name: str
    image: str
    user: str
    entrypoint: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    tree: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    binds: tuple[str, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    capabilities: tuple[str, ...] = ()
    is_read_only: bool = False
    devices: tuple[str, ...] = ()
    shared_memory_mib: int = 0
    limits: tuple[Limit, ...] = ()
    ports: tuple[Port, ...] = ()
    start_after: tuple[str, ...] = ()
    health: Health | None = None
    stop_seconds: int | None = None


_PROGRAMS = ("bin", "lib", "plan.json")

# Kept apart so that a cache of kernels can be thrown away without downloading the models again.
_HF = Volume("hf-cache", f"{STATE}/hf", SERVER_USER)
_LOCKS = Volume("locks", _RUNTIME, SERVER_USER)

_SERVER_LIMITS = (Limit("memlock", -1), Limit("stack", 64 * 2**20), Limit("core", 0), Limit("nofile", 2**20))


# All that vLLM 0.33.0 writes outside its caches, which HOME and their variables send into volumes: sockets between its
# processes, libraries that it compiles and loads, and what tempfile makes (its envs.py and pynccl_allocator.py).
_SCRATCH = Tmpfs("/tmp", SERVER_USER, runs=True)  # noqa: S108


def server_container(plan: Plan, service: Service) -> Container:
    """A server: its launch script, with everything around it."""
    engine = plan.engine_of(service)
    return Container(
        name=service.name,
        image=engine.image,
        user=SERVER_USER,
        entrypoint=("/bin/bash", *supervised(TREE, service)),
        environment=_server_environment(plan, engine),
        tree=_PROGRAMS,
        secrets=_secrets(("api-key", plan.secrets.api_key)),
        volumes=(_HF, _kernels(engine), *([_LOCKS] if shared_devices(plan, service) else [])),
        binds=host_files(service, engine),
        tmpfs=(_SCRATCH,),
        is_read_only=True,
        capabilities=("SYS_NICE",) if binds_memory(engine, service) else (),
        devices=_devices(plan, service),
        shared_memory_mib=_SHARED_MEMORY_FACTOR * service.shared_memory // MIB,
        limits=_SERVER_LIMITS,
        ports=(Port(publish_address(service.host), service.port),) if is_published(plan, service) else (),
        start_after=service.start_after,
        health=Health(_health(engine, service.port), start_period=ready_seconds(plan, service)),
        stop_seconds=service.timeouts.stop,
    )


def is_published(plan: Plan, service: Service) -> bool:
    """Whether others than a gateway of the same machine reach a server: behind one, only a gateway of another node."""
    return plan.gateway is None or not is_loopback(service.host)


def prefetch_container(plan: Plan) -> Container:
    """The download, the only one that sees the Hub's token."""
    secrets = _secrets(("hf-token", plan.secrets.hf_token))
    paths = (path for service in plan.services for path in service.places)
    engine = next((each for each in plan.engines.values() if each.host.container.has_python), plan.engine)
    return Container(
        name=images.PREFETCH,
        image=engine.image if engine.host.container.has_python else images.prefetch_image(plan),
        user=SERVER_USER,
        entrypoint=("python3", "-I", f"{TREE}/bin/prefetch"),
        environment=(*_secret_files(secrets), *_caches(engine)),
        tree=_PROGRAMS,
        secrets=secrets,
        volumes=(_HF, _kernels(engine)),
        binds=tuple(dict.fromkeys(paths)),
        tmpfs=(_SCRATCH,),
        is_read_only=True,
    )


def gateway_container(plan: Plan, gateway: Gateway) -> Container:
    """The gateway, the only one that sees the clients' keys."""
    is_nginx = gateway.kind == "nginx"
    # LiteLLM's image is made for root; without capabilities root is a user like any other.
    user = NGINX_USER if is_nginx else ROOT
    state = Volume("gateway-state", f"{STATE}/gateway", user)
    secrets = _secrets(("client-keys", plan.secrets.client_keys), ("api-key", plan.secrets.api_key))
    http_port = None if gateway.tls is None else gateway.tls.http_port
    published = (gateway.port, *(() if http_port is None else (http_port,)))
    program = ("/bin/bash", f"{TREE}/bin/gateway")
    return Container(
        name=GATEWAY,
        image=gateway.image,
        user=user,
        entrypoint=("/bin/bash", *supervised_gateway(TREE, gateway)),
        environment=(
            ("STACKC_CONTAINER", "1"),
            ("STACKC_GATEWAY_DIR", _RUNTIME),
            ("STACKC_STATE_DIR", state.path),
            *_secret_files(secrets),
        ),
        tree=("bin", "lib", "gateway"),
        secrets=secrets,
        volumes=(state,),
        binds=_tls_folders(gateway),
        # The image's own /var/cache/nginx is root's.
        tmpfs=tuple(Tmpfs(path, user) for path in (_RUNTIME, *(["/var/cache/nginx", "/tmp"] if is_nginx else []))),  # noqa: S108
        is_read_only=is_nginx,
        ports=tuple(Port(publish_address(gateway.host), port) for port in published),
        health=Health((*program, "wait", "--once"), start_period=60, interval=10, timeout=5, retries=3),
        stop_seconds=gateway_stop_seconds(gateway),
    )


def _tls_folders(gateway: Gateway) -> tuple[str, ...]:
    """Folders, not files: a file that is replaced stays in a container what it was."""
    tls = gateway.tls
    if tls is None:
        return ()
    folders = [str(PurePosixPath(path).parent) for path in (tls.certificate, tls.key)]
    return tuple(dict.fromkeys((*folders, *((tls.challenges,) if tls.challenges is not None else ()))))


def host_files(service: Service, engine: Engine) -> tuple[str, ...]:
    """What a server reads outside the tree and the caches: folders of its models, and files that its options name."""
    given = (word for each in service.arguments if each.flag in engine.host.file_options for word in each.words)
    paths = (*service.places, *given)
    return tuple(dict.fromkeys(path for path in paths if path.startswith("/")))


def publish_address(host: str) -> str:
    """Container engines publish on addresses, not on names."""
    return "127.0.0.1" if host == "localhost" else host


def all_devices(node: GpuNode) -> tuple[str, ...]:
    """Every GPU of a node, by UUID where the plan has them."""
    return node.uuids or tuple(map(str, range(node.count)))


def _kernels(engine: Engine) -> Volume:
    return Volume(engine.host.container.cache, f"{STATE}/cache", SERVER_USER)


def _caches(engine: Engine) -> tuple[tuple[str, str], ...]:
    login = engine.host.container.login
    variables = (
        dict(cache_environment(STATE, (engine,)))
        # HOME itself must lie in a volume too, or what lands there is lost with the container.
        | {"HOME": f"{STATE}/cache"}
        # Whoever asks for the user's name finds none in an image without that user.
        | {"USER": login, "LOGNAME": login}
    )
    return tuple(variables.items())


def _server_environment(plan: Plan, engine: Engine) -> tuple[tuple[str, str], ...]:
    return (
        ("STACKC_CONTAINER", "1"),
        ("STACKC_HOST", "0.0.0.0"),  # noqa: S104 (of the container's own network)
        ("STACKC_LOCK_DIR", _RUNTIME),
        *_program(engine),
        *_secret_files(_secrets(("api-key", plan.secrets.api_key))),
        *_caches(engine),
    )


def _program(engine: Engine) -> tuple[tuple[str, str], ...]:
    path = engine.host.container.program
    return ((engine.host.program.variable, path),) if path is not None else ()


def binds_memory(engine: Engine, service: Service) -> bool:
    """Whether it chooses a NUMA node for its memory, as vLLM's CPU build always does.

    The seccomp profiles of Docker and Podman allow set_mempolicy and mbind to containers with CAP_SYS_NICE only.
    """
    return engine.host.container.binds_memory or any(each.flag.startswith("--numa-bind") for each in service.arguments)


def _secrets(*wanted: tuple[str, str | None]) -> tuple[str, ...]:
    return tuple(name for name, path in wanted if path is not None)


def _secret_files(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((f"STACKC_{name.upper().replace('-', '_')}_FILE", f"{SECRETS}/{name}") for name in names)


def _devices(plan: Plan, service: Service) -> tuple[str, ...]:
    if not isinstance(plan.node, GpuNode) or not service.uses_gpus:
        return ()
    names = all_devices(plan.node)
    return tuple(names[device] for device in service.devices)


def _health(engine: Engine, port: int) -> tuple[str, ...]:
    """A proxy of the environment must not answer for the server; the image's own check, of its own port, goes."""
    url = f"http://127.0.0.1:{port}/health"
    if not engine.host.container.has_python:
        return ("curl", "--fail", "--silent", "--output", "/dev/null", "--noproxy", "*", "--max-time", "8", url)
    opener = "urllib.request.build_opener(urllib.request.ProxyHandler({}))"
    return ("python3", "-I", "-c", f"import urllib.request; {opener}.open('{url}', timeout=8)")
