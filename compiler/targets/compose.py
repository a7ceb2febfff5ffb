"""`compose/`: the stack in containers of Docker Compose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.catalog.compose import PROMETHEUS
from compiler.plan.ir import Plan, Service
from compiler.render.artifact import Artifact
from compiler.render.environment import render
from compiler.targets.compose_monitoring import PROFILE, MonitoringContainer, monitoring_containers
from compiler.targets.compose_patches import Additions, file_additions, new_services, service_additions
from compiler.targets.containers import (
    ROOT,
    SECRETS,
    TREE,
    Container,
    Volume,
    gateway_container,
    is_published,
    prefetch_container,
    server_container,
)
from compiler.targets.library import LIB
from compiler.targets.library import PREPARE as PREPARE_PROGRAM

COMPOSE = PurePosixPath("compose/compose.yaml")
PREPARE = "prepare"

# Behind a gateway: servers have no way out and none in, except through it. A download needs one.
BACKEND, EDGE, DOWNLOAD = "backend", "edge", "download"

_HEALTHY, _STARTED, _COMPLETED = "service_healthy", "service_started", "service_completed_successfully"


@dataclass(frozen=True, slots=True)
class Dependency:
    """A container that must have come so far first."""

    name: str
    condition: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder or a file of the tree, by its path from the compose file, and where it is mounted."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of the host that leads to one of the container."""

    address: str
    published: int
    target: int


@dataclass(frozen=True, slots=True)
class ComposeService:
    """One entry below `services:`. No `networks` means the stack's default network.

    Attributes:
        command: words after the entrypoint; empty leaves none, whatever the image says.
        is_offline: it has no network at all.
        sees_all_devices: every GPU of the machine, rather than some.
    """

    container: Container
    command: tuple[str, ...]
    folders: tuple[Folder, ...]
    ports: tuple[PublishedPort, ...]
    networks: tuple[str, ...]
    depends_on: tuple[Dependency, ...]
    restart: str
    profiles: tuple[str, ...]
    additions: Additions
    is_offline: bool = False
    sees_all_devices: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the stack; an internal one has no way to the outside."""

    name: str
    is_internal: bool


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """The whole file. Secrets are (name, path on the host)."""

    stack: str
    services: tuple[ComposeService, ...]
    secrets: tuple[tuple[str, str], ...]
    volumes: tuple[str, ...]
    networks: tuple[Network, ...]
    new_services: Additions
    additions: Additions


def emit_compose(plan: Plan) -> tuple[Artifact, ...]:
    """Everything under `compose/`."""
    return (Artifact(COMPOSE, render("compose/compose.j2", file=compose_file(plan))),)


def compose_file(plan: Plan) -> ComposeFile:
    """The compose file as a document."""
    services = tuple(_services(plan))
    used = [volume.name for service in services for volume in service.container.volumes]
    secrets = _secret_paths(plan)
    wanted = {name for service in services for name in service.container.secrets}
    networks = tuple(name for name in (BACKEND, EDGE, DOWNLOAD) if any(name in each.networks for each in services))
    return ComposeFile(
        stack=plan.stack,
        services=services,
        secrets=tuple((name, path) for name, path in secrets if name in wanted),
        volumes=tuple(dict.fromkeys(used)),
        networks=tuple(Network(name, is_internal=name == BACKEND) for name in networks),
        new_services=new_services(plan.patches.compose, tuple(each.container.name for each in services)),
        additions=file_additions(plan.patches.compose),
    )


def _secret_paths(plan: Plan) -> tuple[tuple[str, str], ...]:
    paths = (
        ("api-key", plan.secrets.api_key),
        ("client-keys", plan.secrets.client_keys),
        ("hf-token", plan.secrets.hf_token),
    )
    return tuple((name, path) for name, path in paths if path is not None)


def _services(plan: Plan) -> Iterator[ComposeService]:
    stack = [*_stack_services(plan)]
    yield _prepare(plan, [service.container for service in stack])
    yield from stack
    for each in monitoring_containers(plan):
        yield _monitoring(plan, each)


def _stack_services(plan: Plan) -> Iterator[ComposeService]:
    for service in plan.services:
        yield _server(plan, service)
    if plan.gateway is not None:
        # It answers for a server that is not ready; only their names must be known to it.
        names = tuple(Dependency(service.name, _STARTED) for service in plan.services)
        yield _service(plan, gateway_container(plan, plan.gateway), networks=(BACKEND, EDGE), depends_on=names)
    yield _service(plan, prefetch_container(plan), networks=(DOWNLOAD,), restart="no", profiles=("prefetch",))


def _server(plan: Plan, service: Service) -> ComposeService:
    container = server_container(plan, service)
    after = tuple(Dependency(name, _HEALTHY) for name in container.start_after)
    # An internal network publishes nothing.
    networks = (BACKEND, EDGE) if is_published(plan, service) else (BACKEND,)
    return _service(plan, container, networks=networks, depends_on=after)


def _service(
    plan: Plan,
    container: Container,
    *,
    networks: tuple[str, ...],
    depends_on: tuple[Dependency, ...] = (),
    restart: str = "unless-stopped",
    profiles: tuple[str, ...] = (),
) -> ComposeService:
    return ComposeService(
        container=container,
        command=(),
        folders=tuple(Folder(f"../{part}", f"{TREE}/{part}") for part in container.tree),
        ports=tuple(PublishedPort(each.address, each.port, each.port) for each in container.ports),
        networks=networks if plan.gateway is not None else (),
        depends_on=(Dependency(PREPARE, _COMPLETED), *depends_on),
        restart=restart,
        profiles=profiles,
        additions=service_additions(plan.patches.compose, container.name),
    )


def _prepare(plan: Plan, containers: list[Container]) -> ComposeService:
    """Volumes are made for root; this gives each to its user, and says in time which secret nobody can read."""
    volumes = tuple(dict.fromkeys(volume for each in containers for volume in each.volumes))
    secrets = tuple(dict.fromkeys(name for each in containers for name in each.secrets))
    container = Container(
        name=PREPARE,
        image=plan.engine.image,
        user=ROOT,
        entrypoint=("/bin/bash", f"{TREE}/{PREPARE_PROGRAM}"),
        environment=(),
        tree=(str(LIB),),
        secrets=secrets,
        volumes=volumes,
        capabilities=("CHOWN",),
        is_read_only=True,
    )
    return ComposeService(
        container=container,
        command=(*_owned(volumes), *(f"--secret={SECRETS}/{name}" for name in secrets)),
        folders=(Folder(f"../{LIB}", f"{TREE}/{LIB}"),),
        ports=(),
        networks=(),
        depends_on=(),
        restart="no",
        profiles=(),
        additions=service_additions(plan.patches.compose, PREPARE),
        is_offline=True,
    )


def _owned(volumes: tuple[Volume, ...]) -> Iterator[str]:
    for volume in volumes:
        yield f"--own={volume.owner}={volume.path}"


def _monitoring(plan: Plan, each: MonitoringContainer) -> ComposeService:
    container = each.container
    return ComposeService(
        container=container,
        command=each.command,
        folders=tuple(Folder(f"../{folder}", target) for folder, target in each.folders),
        ports=tuple(PublishedPort(port.address, port.port, each.inner_port) for port in container.ports),
        networks=(BACKEND, EDGE) if plan.gateway is not None else (),
        depends_on=() if container.name == PROMETHEUS else (Dependency(PROMETHEUS, _STARTED),),
        restart="unless-stopped",
        profiles=(PROFILE,),
        additions=service_additions(plan.patches.compose, container.name),
        sees_all_devices=each.sees_all_devices,
    )
