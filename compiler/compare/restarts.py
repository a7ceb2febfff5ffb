"""What `bin/upgrade` does to the units of a stack, told from the files of both versions.

The rule is `changed_units` and `switch` of templates/lib/stack/install/switch.py, which run on the server and import
nothing of stackc: a server stops if its unit or its launch script changed, and a gateway reloads. Another library stops
none: how a server is started is in those two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from compiler.compare.versions import Version

_LAUNCH = "bin/launch-"
_UNITS = "systemd/"


class Deed(StrEnum):
    """What happens to a unit that runs."""

    STARTS = "starts"
    STOPS = "stops"
    RESTARTS = "restarts"
    RELOADS = "reloads"
    RECREATED = "is recreated"


class Manager(StrEnum):
    """Who does it, or has to be asked to."""

    SYSTEMD = "systemd"
    COMPOSE = "compose"
    PODMAN = "quadlet"


@dataclass(frozen=True, slots=True)
class Restart:
    """One unit that does not just run on.

    Attributes:
        service: whose it is; `gateway` for the gateway.
        unit: of systemd, or the service's name in the compose file.
        files: that changed and decide it; none where it happens at each upgrade.
    """

    service: str
    unit: str
    deed: Deed
    files: tuple[str, ...] = ()
    by: Manager = Manager.SYSTEMD


def restarts(old: Version, new: Version) -> tuple[Restart, ...]:
    """What an upgrade from one version to another does, by name; nothing without units, or where nothing changed."""
    stack, plan = _stack(new), new.plan or {}
    if old.files == new.files or not _units(old) or not _units(new):
        return ()
    return tuple(sorted(_deeds(stack, old, new, plan.get("gateway")), key=lambda each: each.service))


def has_units(version: Version) -> bool:
    """Whether systemd runs it, so that `bin/upgrade` is what changes versions."""
    return bool(_units(version))


def changed_units(stack: str, old: Version, new: Version) -> dict[str, tuple[str, ...]]:
    """Units of the old version that must not run on, and the files that say so."""
    found: dict[str, tuple[str, ...]] = {}
    for unit, paths in _serving(stack, old).items():
        changed = tuple(path for path in paths if old.files.get(path) != new.files.get(path))
        if changed:
            found[unit] = changed
    return found


def _deeds(stack: str, old: Version, new: Version, gateway: object) -> Iterator[Restart]:
    before, after = _serving(stack, old), _serving(stack, new)
    stopped = changed_units(stack, old, new)
    for unit in sorted({*before, *after}):
        service = unit[len(stack) + 1 : -len(".service")]
        if unit not in before:
            yield Restart(service, unit, Deed.STARTS)
        elif unit not in after:
            yield Restart(service, unit, Deed.STOPS)
        elif unit in stopped:
            yield Restart(service, unit, Deed.RESTARTS, stopped[unit])
        elif unit == f"{stack}-gateway.service":
            yield _gateway(unit, old, new, gateway)


def _gateway(unit: str, old: Version, new: Version, gateway: object) -> Restart:
    """`systemctl reload-or-restart`, at each upgrade: nginx reloads, and LiteLLM, which cannot, is started anew."""
    is_litellm = isinstance(gateway, dict) and gateway.get("kind") == "litellm"
    paths = sorted({path for path in (*old.files, *new.files) if path.startswith("gateway/")})
    changed = tuple(path for path in paths if old.files.get(path) != new.files.get(path))
    return Restart("gateway", unit, Deed.RESTARTS if is_litellm else Deed.RELOADS, changed)


def _serving(stack: str, version: Version) -> dict[str, tuple[str, ...]]:
    """Units that serve, each with the files that decide whether it runs on."""
    launched = {f"{stack}-{path[len(_LAUNCH) :]}.service": path for path in version.files if path.startswith(_LAUNCH)}
    gateway = f"{stack}-gateway.service"
    return {
        unit: tuple(path for path in (f"{_UNITS}{unit}", launched.get(unit)) if path is not None)
        for unit in _units(version)
        if unit in launched or unit == gateway
    }


def _units(version: Version) -> list[str]:
    return sorted(path[len(_UNITS) :] for path in version.files if path.startswith(_UNITS))


def _stack(version: Version) -> str:
    """The stack of a tree, by its target: the plan may be what is damaged."""
    return next((unit[: -len(".target")] for unit in _units(version) if unit.endswith(".target")), "")
