"""Names that the units of a stack must not have: a unit in /etc takes the place of the system's own of that name."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog.systemd import system_unit
from compiler.checks.replicas import all_servers
from compiler.diagnostics import Diagnostic, Help
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile

STACK_UNITS = ("gateway", "gateway-reload", "prefetch")
QUADLET_NAMES = (
    "backend-network",
    "download-network",
    "edge-network",
    "gateway-state-volume",
    "hf-cache-volume",
    "locks-volume",
    "llama-cache-volume",
    "vllm-cache-volume",
)
"""What Podman's generator makes units of beside the containers."""

_LONGEST = 41


def check_unit_names(file: SpecFile) -> Iterator[Diagnostic]:
    """Neither the stack nor one of its services may be called so that a unit is one of the system's."""
    spec = all_servers(file).spec
    for service, unit in _units(spec, spec.stack):
        taken = system_unit(unit)
        if taken is None:
            continue
        message = f"the stack's unit `{unit}` would take the place of {taken}"
        notes = ("systemd reads /etc/systemd/system first: at the next boot this stack would start instead",)
        helps = tuple(_renamings(spec, service))
        label = file.at("stack") if service is None else file.at_key("services", service)
        yield Diagnostic("E0222", message, label, notes, helps)
        if service is None:
            return


def _units(spec: Spec, stack: str) -> Iterator[tuple[str | None, str]]:
    """Units that the targets have, with the service that each is of; those of the stack itself come first."""
    if "systemd" in spec.targets:
        yield None, f"{stack}.target"
    if {"systemd", "quadlet"} & set(spec.targets):
        yield from ((None, f"{stack}-{name}.service") for name in STACK_UNITS)
        yield from ((name, f"{stack}-{name}.service") for name in spec.services)
    if "quadlet" in spec.targets:
        yield from ((None, f"{stack}-{name}.service") for name in QUADLET_NAMES)


def _renamings(spec: Spec, service: str | None) -> Iterator[Help]:
    """Names with which nothing is taken; both stand in more than one place, so that no edit can give them."""
    others = [] if service is None else [f"{spec.service_of(service)}-server"]
    for name in others:
        if name not in spec.services and system_unit(f"{spec.stack}-{name}.service") is None:
            yield Help(f"call the service `{name}`")
    for stack in (f"{spec.stack[: _LONGEST - 6]}-stack", f"llm-{spec.stack}"[:_LONGEST]):
        if not any(system_unit(unit) for _, unit in _units(spec, stack)):
            yield Help(f"call the stack `{stack}`, and its file `{stack}.yaml`")
            return
