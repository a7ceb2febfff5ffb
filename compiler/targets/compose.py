"""`compose/compose.yaml`: the same launch scripts in containers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.plan.ir import CpuNode, GpuNode, Plan, Service
from compiler.render.artifact import Artifact
from compiler.render.environment import render
from compiler.targets.deployment import cache_environment, ready_seconds, shared_devices, shared_memory_mib

COMPOSE = PurePosixPath("compose/compose.yaml")
PREFETCH = "prefetch"
TREE = "/opt/stackc"
STATE = "/var/lib/stackc"
LOCKS = "/run/stackc"

# Kept apart so that a cache of kernels can be thrown away without downloading the models again.
_CACHES = (("hf-cache", f"{STATE}/hf"), ("vllm-cache", f"{STATE}/cache"))
_LOCK_VOLUME = ("locks", LOCKS)
# HOME itself must lie in a volume too, or what lands there is lost with the container.
_CACHE_ENVIRONMENT = tuple((dict(cache_environment(STATE)) | {"HOME": f"{STATE}/cache"}).items())
# Docker's default of 64 MiB breaks tensor parallelism; NCCL wants room beside vLLM's own queues.
_SHARED_MEMORY_FACTOR = 2


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of the host that leads to the server's."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Container:
    """What a server and the download have in common. Volumes are (volume, path), binds a path on both sides."""

    name: str
    image: str
    entrypoint: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    secrets: tuple[str, ...]
    volumes: tuple[tuple[str, str], ...]
    binds: tuple[str, ...]
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ComposeServer:
    """One server. Times are seconds; `devices` is empty on a CPU node."""

    container: Container
    start_after: tuple[str, ...]
    port: PublishedPort
    devices: tuple[str, ...]
    shared_memory_mib: int
    health_command: str
    start_period: int
    stop_seconds: int


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """The whole file. Secrets are (name, path on the host)."""

    stack: str
    servers: tuple[ComposeServer, ...]
    prefetch: Container
    secrets: tuple[tuple[str, str], ...]
    volumes: tuple[str, ...]
    tree: str


def emit_compose(plan: Plan) -> tuple[Artifact, ...]:
    """Everything under `compose/`."""
    return (Artifact(COMPOSE, render("compose/compose.j2", file=compose_file(plan))),)


def compose_file(plan: Plan) -> ComposeFile:
    """The compose file as a document."""
    secrets = (("api-key", plan.secrets.api_key), ("hf-token", plan.secrets.hf_token))
    has_locks = any(shared_devices(plan, service) for service in plan.services)
    volumes = (*_CACHES, _LOCK_VOLUME) if has_locks else _CACHES
    return ComposeFile(
        stack=plan.stack,
        servers=tuple(_server(plan, service) for service in plan.services),
        prefetch=_prefetch(plan),
        secrets=tuple((name, path) for name, path in secrets if path is not None),
        volumes=tuple(name for name, _ in volumes),
        tree=TREE,
    )


def _server(plan: Plan, service: Service) -> ComposeServer:
    ready = ready_seconds(plan, service)
    return ComposeServer(
        container=_server_container(plan, service),
        start_after=service.start_after,
        port=PublishedPort(_publish_address(service.host), service.port),
        devices=_devices(plan, service),
        shared_memory_mib=_SHARED_MEMORY_FACTOR * shared_memory_mib(service),
        health_command=_health_command(service.port),
        start_period=ready,
        stop_seconds=service.timeouts.stop,
    )


def _server_container(plan: Plan, service: Service) -> Container:
    locks = (_LOCK_VOLUME,) if shared_devices(plan, service) else ()
    key = (("STACKC_API_KEY_FILE", "/run/secrets/api-key"),) if plan.secrets.api_key is not None else ()
    return Container(
        name=service.name,
        image=plan.engine.image,
        entrypoint=("/bin/bash", f"{TREE}/bin/launch-{service.name}"),
        environment=(
            ("STACKC_CONTAINER", "1"),
            ("STACKC_HOST", "0.0.0.0"),  # noqa: S104 (of the container's own network)
            ("STACKC_LOCK_DIR", LOCKS),
            *key,
            *_CACHE_ENVIRONMENT,
        ),
        secrets=tuple("api-key" for _ in key),
        volumes=(*_CACHES, *locks),
        # The CPU build binds its memory to a NUMA node; Docker's seccomp profile allows that with this capability.
        capabilities=("SYS_NICE",) if isinstance(plan.node, CpuNode) else (),
        binds=(service.model.folder,) if service.model.folder is not None else (),
    )


def _prefetch(plan: Plan) -> Container:
    token = (("STACKC_HF_TOKEN_FILE", "/run/secrets/hf-token"),) if plan.secrets.hf_token is not None else ()
    folders = dict.fromkeys(service.model.folder for service in plan.services if service.model.folder is not None)
    return Container(
        name=PREFETCH,
        image=plan.engine.image,
        entrypoint=("python3", f"{TREE}/bin/prefetch"),
        environment=(*token, *_CACHE_ENVIRONMENT),
        secrets=tuple("hf-token" for _ in token),
        volumes=_CACHES,
        binds=tuple(folders),
    )


def _publish_address(host: str) -> str:
    """Compose publishes on addresses, not on names."""
    return "127.0.0.1" if host == "localhost" else host


def _devices(plan: Plan, service: Service) -> tuple[str, ...]:
    if not isinstance(plan.node, GpuNode):
        return ()
    uuids = plan.node.uuids
    return tuple(uuids[device] if uuids else str(device) for device in service.devices)


def _health_command(port: int) -> str:
    # Python is certainly in the image, curl is not. A proxy of the environment must not answer for the server.
    opener = "urllib.request.build_opener(urllib.request.ProxyHandler({}))"
    return f"import urllib.request; {opener}.open('http://127.0.0.1:{port}/health', timeout=8)"
