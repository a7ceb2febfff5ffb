"""What becomes of running containers when a tree takes the place of another, told from the files of both.

Compose makes a container anew when the hash of its service's settings differs, or its image, networks or volumes
(pkg/compose/hash.go:ServiceHash and convergence.go:mustRecreate of docker/compose 2). What a container only reads,
such as its launch script, is in none of these: that container runs on until it is restarted. Podman's systemd units
run on in any case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from compiler.compare.restarts import Deed, Manager, Restart
from compiler.compare.versions import Version

_COMPOSE, _QUADLET, _CONTAINER = "compose/compose.yaml", "quadlet/", ".container"
_GATEWAY, _PREFETCH = "gateway", "prefetch"
# Of a service, and of its `deploy`: what ServiceHash leaves out.
_UNHASHED = frozenset({"build", "depends_on", "profiles", "pull_policy", "scale"})
_UNHASHED_DEPLOY = frozenset({"replicas"})

Settings = Mapping[str, Any]


def container_restarts(old: Version, new: Version) -> tuple[Restart, ...]:
    """What an operator sees happen, or has to do, by name; nothing where one version has no containers."""
    found = (*_of_compose(old, new), *_of_podman(old, new))
    return tuple(sorted(found, key=lambda each: (each.by, each.service)))


def _of_compose(old: Version, new: Version) -> Iterator[Restart]:
    before, after = _services(old), _services(new)
    if before is None or after is None:
        return
    for name in sorted({*before, *after}):
        if name not in before or name not in after:
            yield Restart(name, name, Deed.STARTS if name in after else Deed.STOPS, by=Manager.COMPOSE)
        elif before[name] != after[name]:
            yield Restart(name, name, Deed.RECREATED, (_COMPOSE,), Manager.COMPOSE)
        elif changed := _read_at_start(name, old, new):
            yield Restart(name, name, Deed.RESTARTS, changed, Manager.COMPOSE)


def _of_podman(old: Version, new: Version) -> Iterator[Restart]:
    before, after = _units(old), _units(new)
    if not before or not after:
        return
    for name in sorted({*before, *after}):
        unit = (after if name in after else before)[name]
        path = f"{_QUADLET}{unit.removesuffix('.service')}{_CONTAINER}"
        own = (path,) if old.files.get(path) != new.files.get(path) else ()
        if name not in before or name not in after:
            yield Restart(name, unit, Deed.STARTS if name in after else Deed.STOPS, by=Manager.PODMAN)
        elif changed := (*own, *_read_at_start(name, old, new)):
            yield Restart(name, unit, Deed.RESTARTS, changed, Manager.PODMAN)


def _read_at_start(name: str, old: Version, new: Version) -> tuple[str, ...]:
    """Files that changed and that a container reads as it starts; the tree that it sees is that of its start."""
    paths = sorted({*old.files, *new.files})
    own = f"{_GATEWAY}/" if name == _GATEWAY else f"bin/launch-{name}"
    read = [path for path in paths if path == own or (own.endswith("/") and path.startswith(own))]
    return tuple(path for path in read if old.files.get(path) != new.files.get(path))


def _services(version: Version) -> dict[str, Settings] | None:
    """What Compose compares of each service that `up` keeps running; None without a file that can be read."""
    try:
        found = YAML(typ="safe", pure=True).load(version.files[_COMPOSE])
        services: Mapping[str, Settings] = found["services"]
        return {name: _hashed(each, found) for name, each in services.items() if _is_kept(each)}
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, YAMLError):
        return None


def _is_kept(service: Settings) -> bool:
    return service.get("restart") != "no" and not service.get("profiles")


def _hashed(service: Settings, project: Settings) -> Settings:
    settings = {key: value for key, value in service.items() if key not in _UNHASHED}
    if isinstance(deploy := settings.get("deploy"), Mapping):
        settings["deploy"] = {key: value for key, value in deploy.items() if key not in _UNHASHED_DEPLOY}
    networks = project.get("networks") or {}
    return settings | {"defined": {name: networks.get(name) for name in service.get("networks", ())}}


def _units(version: Version) -> dict[str, str]:
    """Podman's services that stay up, by their names in the spec; the one download's file names the stack."""
    files = [path[len(_QUADLET) :] for path in version.files if path.startswith(_QUADLET)]
    download = f"-{_PREFETCH}{_CONTAINER}"
    stack = next((name.removesuffix(download) for name in files if name.endswith(download)), "")
    names = [name[len(stack) + 1 : -len(_CONTAINER)] for name in files if name.endswith(_CONTAINER)]
    return {name: f"{stack}-{name}.service" for name in names if name != _PREFETCH}
