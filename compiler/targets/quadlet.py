"""`quadlet/`: the stack in containers that systemd starts through Podman, for `/etc/containers/systemd` of a server.

Each file names only keys of catalog/quadlet.py that its oldest Podman knows; where a newer key would be clearer, the
option of `podman run` stands in its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from compiler.hosts import is_loopback, is_wildcard
from compiler.plan.images import PREFETCH
from compiler.plan.ir import Gateway, Plan, Service
from compiler.render.artifact import Artifact
from compiler.render.environment import render
from compiler.targets.containers import (
    GATEWAY,
    TREE,
    Container,
    Volume,
    gateway_container,
    is_published,
    prefetch_container,
    server_container,
)
from compiler.targets.deployment import RESTART_SECONDS, START_BURST, start_seconds

QUADLET = PurePosixPath("quadlet")
_BACKEND, _EDGE, _DOWNLOAD = "backend", "edge", "download"

# Between Podman's kill of the container and systemd's kill of Podman.
_STOP_MARGIN_SECONDS = 30
_GATEWAY_START_SECONDS = 120
# Below this a port is root's; Docker lifts the limit in every container, Podman does not.
_FIRST_FREE_PORT = 1024
# Podman asks a registry for names with a host only; Docker means this one.
_REGISTRY = "docker.io"
# Where the generator finds it too.
_PODMAN = "/usr/bin/podman"


@dataclass(frozen=True, slots=True)
class SecretMount:
    """A secret of Podman's store, by its name there, as a file that its user alone reads."""

    name: str
    file: str
    uid: str
    gid: str


@dataclass(frozen=True, slots=True)
class Bind:
    """What a container sees of a volume or of the host."""

    source: str
    target: str
    is_read_only: bool


@dataclass(frozen=True, slots=True)
class ContainerUnit:
    """`STACK-NAME.container`. Times are seconds.

    Attributes:
        after: units of systemd's own that it waits for, and those of servers that must be ready first.
        has_low_port: it listens on a port that is root's alone.
        aliases: names by which the other containers of its networks find it.
        reload: a command that makes it read its configuration again; empty where it has none.
        start_seconds: None for a unit that runs once, as long as it takes.
        additions: patches by section, as (key, value).
    """

    stack: str
    description: str
    container: Container
    image: str
    entrypoint: str
    health: str | None
    uid: str
    gid: str
    wants: tuple[str, ...]
    after: tuple[str, ...]
    secrets: tuple[SecretMount, ...]
    binds: tuple[Bind, ...]
    devices: tuple[str, ...]
    ports: tuple[str, ...]
    networks: tuple[str, ...]
    has_low_port: bool
    aliases: tuple[str, ...]
    reload: tuple[str, ...]
    start_seconds: int | None
    stop_seconds: int | None
    start_interval: int
    restart_seconds: int
    start_burst: int
    additions: Mapping[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class VolumeUnit:
    """`STACK-NAME.volume`, which belongs to the user that writes into it."""

    stack: str
    name: str
    uid: str
    gid: str


@dataclass(frozen=True, slots=True)
class NetworkUnit:
    """`STACK-NAME.network`; an internal one has no way to the outside."""

    stack: str
    name: str
    is_internal: bool


def emit_quadlet(plan: Plan) -> tuple[Artifact, ...]:
    """Everything under `quadlet/`."""
    units = container_units(plan)
    return (
        *(_artifact("container", unit.container.name, unit, plan) for unit in units),
        *(_artifact("volume", volume.name, _volume_unit(plan, volume), plan) for volume in _volumes(units)),
        *(_artifact("network", network.name, network, plan) for network in _networks(plan)),
    )


def _artifact(kind: str, name: str, unit: ContainerUnit | VolumeUnit | NetworkUnit, plan: Plan) -> Artifact:
    return Artifact(QUADLET / f"{plan.stack}-{name}.{kind}", render(f"quadlet/{kind}.j2", unit=unit))


def container_units(plan: Plan) -> tuple[ContainerUnit, ...]:
    """Every container of the stack as a document: servers in start order, the gateway, the download."""
    servers = tuple(_server_unit(plan, service) for service in plan.services)
    gateway = () if plan.gateway is None else (_gateway_unit(plan, plan.gateway),)
    return (*servers, *gateway, _prefetch_unit(plan))


def _server_unit(plan: Plan, service: Service) -> ContainerUnit:
    container, title = server_container(plan, service), plan.engine_of(service).host.title
    return _unit(
        plan,
        container,
        description=f"{title} server {service.name} of stack {plan.stack}: {service.served_name}",
        gpu_units=("nvidia-persistenced.service", "nvidia-cdi-refresh.service"),
        networks=(_BACKEND, _EDGE) if is_published(plan, service) else (_BACKEND,),
        start_seconds=start_seconds(plan, service),
    )


def _gateway_unit(plan: Plan, gateway: Gateway) -> ContainerUnit:
    description = f"Gateway of stack {plan.stack}"
    networks, seconds = (_BACKEND, _EDGE), _GATEWAY_START_SECONDS
    return _unit(
        plan, gateway_container(plan, gateway), description=description, networks=networks, start_seconds=seconds
    )


def _prefetch_unit(plan: Plan) -> ContainerUnit:
    description = f"Download of the models of stack {plan.stack}"
    return _unit(plan, prefetch_container(plan), description=description, networks=(_DOWNLOAD,), start_seconds=None)


def _unit(
    plan: Plan,
    container: Container,
    *,
    description: str,
    networks: tuple[str, ...],
    start_seconds: int | None,
    gpu_units: tuple[str, ...] = (),
) -> ContainerUnit:
    uid, gid = container.user.split(":")
    network_units = _network_units(container)
    networks_used = tuple(f"{plan.stack}-{name}.network" for name in networks) if plan.gateway is not None else ()
    stop = None if container.stop_seconds is None else container.stop_seconds + _STOP_MARGIN_SECONDS
    once = (start_seconds or 0) + (stop or 0) + RESTART_SECONDS
    return ContainerUnit(
        stack=plan.stack,
        description=description,
        container=container,
        image=qualified_image(container.image),
        entrypoint=json.dumps(container.entrypoint),
        health=None if container.health is None else json.dumps(container.health.command),
        uid=uid,
        gid=gid,
        wants=(*network_units, *(gpu_units[:1] if container.devices else ())),
        after=(
            *network_units,
            *(gpu_units if container.devices else ()),
            *(f"{plan.stack}-{name}.service" for name in container.start_after),
        ),
        secrets=tuple(SecretMount(f"{plan.stack}-{name}", name, uid, gid) for name in container.secrets),
        binds=_binds(plan, container),
        devices=tuple(f"nvidia.com/gpu={device}" for device in container.devices),
        ports=tuple(_published(port.address, port.port) for port in container.ports),
        networks=networks_used,
        has_low_port=any(port < _FIRST_FREE_PORT for port in _ports_inside(plan, container)),
        # By its service's name, as in Compose: the gateway's configuration is one for both.
        aliases=(container.name,) if container.name in {each.name for each in plan.services} and networks_used else (),
        # `ReloadCmd=` came with Podman 5.5.
        reload=(_PODMAN, "exec", f"{plan.stack}-{GATEWAY}", "/bin/bash", f"{TREE}/bin/gateway", "reload")
        if container.name == GATEWAY
        else (),
        start_seconds=start_seconds,
        stop_seconds=stop,
        start_interval=(START_BURST + 1) * once,
        restart_seconds=RESTART_SECONDS,
        start_burst=START_BURST,
        additions=_additions(plan.patches.quadlet.get(container.name, {})),
    )


def _network_units(container: Container) -> tuple[str, ...]:
    """An address of a network card can only be bound once it is up, and a download needs the way out."""
    addresses = (port.address for port in container.ports)
    needs_card = any(not is_loopback(address) and not is_wildcard(address) for address in addresses)
    return ("network-online.target",) if needs_card or container.name == PREFETCH else ()


def _ports_inside(plan: Plan, container: Container) -> tuple[int, ...]:
    """Also behind a gateway, where a server's port is not published."""
    own = tuple(service.port for service in plan.services if service.name == container.name)
    return (*own, *(port.port for port in container.ports))


def _binds(plan: Plan, container: Container) -> tuple[Bind, ...]:
    return (
        *(Bind(f"{plan.paths.current}/{part}", f"{TREE}/{part}", is_read_only=True) for part in container.tree),
        *(Bind(f"{plan.stack}-{each.name}.volume", each.path, is_read_only=False) for each in container.volumes),
        *(Bind(path, path, is_read_only=True) for path in container.binds),
    )


def _published(address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port}:{port}"


def qualified_image(image: str) -> str:
    """The image with its registry, which Docker leaves out where it is its own."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"{_REGISTRY}/{image}" if slash else f"{_REGISTRY}/library/{image}"


def _volumes(units: tuple[ContainerUnit, ...]) -> tuple[Volume, ...]:
    return tuple(dict.fromkeys(volume for unit in units for volume in unit.container.volumes))


def _volume_unit(plan: Plan, volume: Volume) -> VolumeUnit:
    uid, gid = volume.owner.split(":")
    return VolumeUnit(plan.stack, volume.name, uid, gid)


def _networks(plan: Plan) -> tuple[NetworkUnit, ...]:
    if plan.gateway is None:
        return ()
    names = (_BACKEND, _EDGE, _DOWNLOAD)
    return tuple(NetworkUnit(plan.stack, name, is_internal=name == _BACKEND) for name in names)


def _additions(patch: Mapping[str, Mapping[str, Any]]) -> Mapping[str, tuple[tuple[str, str], ...]]:
    return {section: tuple(_lines(patch.get(section, {}))) for section in ("Unit", "Container", "Service", "Install")}


def _lines(keys: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in keys.items():
        values = value if isinstance(value, list) else [value]
        found += [(key, str(each).lower() if isinstance(each, bool) else str(each)) for each in values]
    return found
