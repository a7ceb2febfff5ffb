"""`systemd/`: a unit for every server, one that downloads the models, and the target that holds them together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.plan.ir import CpuNode, GpuNode, Plan, Service
from compiler.render.artifact import Artifact
from compiler.render.environment import render
from compiler.targets.deployment import (
    PREFLIGHT_WAIT,
    USER,
    cache_environment,
    is_loopback,
    is_wildcard,
    ready_seconds,
    start_seconds,
)

SYSTEMD = PurePosixPath("systemd")

_RESTART_SECONDS = 20
_START_BURST = 3
# Without its own folder on PATH, an engine that compiles kernels does not find the `ninja` installed beside it.
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STATE_ROOT = PurePosixPath("/var/lib")
_HOMES = tuple(map(PurePosixPath, ("/home", "/root", "/run/user")))
_TEMPORARY = (PurePosixPath("/tmp"), PurePosixPath("/var/tmp"))  # noqa: S108 (compared with, never used)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a unit may see and write.

    Attributes:
        state_directory: below /var/lib, made by systemd; None if the state lies elsewhere.
        writable: paths to open for writing; empty where `state_directory` does it.
        protect_home: `yes`, or `read-only` if something of the stack lies in a home.
        private_tmp: False if something of the stack lies in /tmp, which would be hidden.
        private_devices: only without GPUs, because it hides their device files.
    """

    user: str
    state: str
    state_directory: str | None
    runtime_directory: str
    writable: tuple[str, ...]
    protect_home: str
    private_tmp: bool
    private_devices: bool


@dataclass(frozen=True, slots=True)
class ServiceUnit:
    """`STACK-SERVICE.service`. Commands are words, times seconds, credentials (name, path)."""

    stack: str
    description: str
    target: str
    wants: tuple[str, ...]
    after: tuple[str, ...]
    start_after: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    credentials: tuple[tuple[str, str], ...]
    has_gpu: bool
    preflight: tuple[str, ...]
    launch: tuple[str, ...]
    wait_ready: tuple[str, ...]
    start_seconds: int
    stop_seconds: int
    restart_seconds: int
    start_burst: int
    start_interval: int
    sandbox: Sandbox


@dataclass(frozen=True, slots=True)
class PrefetchUnit:
    """`STACK-prefetch.service`, started by hand."""

    stack: str
    description: str
    environment: tuple[tuple[str, str], ...]
    credentials: tuple[tuple[str, str], ...]
    prefetch: tuple[str, ...]
    sandbox: Sandbox


@dataclass(frozen=True, slots=True)
class TargetUnit:
    """`STACK.target`."""

    stack: str
    description: str
    wants: tuple[str, ...]


def emit_systemd(plan: Plan) -> tuple[Artifact, ...]:
    """Everything under `systemd/`."""
    services = [
        Artifact(
            SYSTEMD / unit_name(plan, service.name), render("systemd/service.j2", unit=service_unit(plan, service))
        )
        for service in plan.services
    ]
    prefetch = render("systemd/prefetch.j2", unit=prefetch_unit(plan))
    target = render("systemd/target.j2", unit=target_unit(plan))
    return (
        *services,
        Artifact(SYSTEMD / unit_name(plan, "prefetch"), prefetch),
        Artifact(SYSTEMD / f"{plan.stack}.target", target),
    )


def unit_name(plan: Plan, service: str) -> str:
    """File name of a service's unit."""
    return f"{plan.stack}-{service}.service"


def service_unit(plan: Plan, service: Service) -> ServiceUnit:
    """The unit of one server as a document."""
    install = plan.paths.install
    wants = _wants(plan, service)
    worst = start_seconds(plan, service)
    once = worst + service.timeouts.stop + _RESTART_SECONDS
    return ServiceUnit(
        stack=plan.stack,
        description=f"vLLM server {service.name} of stack {plan.stack}: {service.served_name}",
        target=f"{plan.stack}.target",
        wants=wants,
        after=wants,
        start_after=tuple(unit_name(plan, name) for name in service.start_after),
        environment=_environment(plan, ("STACKC_LOCK_DIR", f"/run/stackc-{plan.stack}")),
        credentials=_credentials(("api-key", plan.secrets.api_key)),
        has_gpu=isinstance(plan.node, GpuNode),
        preflight=(f"{install}/bin/preflight", service.name, "--wait", str(PREFLIGHT_WAIT)),
        launch=(f"{install}/bin/launch-{service.name}",),
        wait_ready=(f"{install}/bin/wait-ready", service.name, "--timeout", str(ready_seconds(plan, service))),
        start_seconds=worst,
        stop_seconds=service.timeouts.stop,
        restart_seconds=_RESTART_SECONDS,
        start_burst=_START_BURST,
        start_interval=_START_BURST * once + once,
        sandbox=_sandbox(plan),
    )


def prefetch_unit(plan: Plan) -> PrefetchUnit:
    """The unit that downloads, the only one that gets the Hub's token."""
    return PrefetchUnit(
        stack=plan.stack,
        description=f"Download of the models of stack {plan.stack}",
        environment=_environment(plan),
        credentials=_credentials(("hf-token", plan.secrets.hf_token)),
        prefetch=(f"{plan.paths.install}/bin/prefetch",),
        sandbox=_sandbox(plan),
    )


def target_unit(plan: Plan) -> TargetUnit:
    """The handle to start and stop the whole stack."""
    wants = tuple(unit_name(plan, service.name) for service in plan.services)
    return TargetUnit(plan.stack, f"All vLLM servers of stack {plan.stack}", wants)


def _wants(plan: Plan, service: Service) -> tuple[str, ...]:
    # An address of a network card can only be bound once it is up; loopback and wildcards always can.
    needs_network = not is_loopback(service.host) and not is_wildcard(service.host)
    network = ("network-online.target",) if needs_network else ()
    return network if isinstance(plan.node, CpuNode) else (*network, "nvidia-persistenced.service")


def _environment(plan: Plan, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    path = f"{PurePosixPath(plan.paths.vllm).parent}:{_SYSTEM_PATH}"
    return (("PATH", path), ("STACKC_VLLM", plan.paths.vllm), *more, *cache_environment(plan.paths.state))


def _credentials(*wanted: tuple[str, str | None]) -> tuple[tuple[str, str], ...]:
    return tuple((name, path) for name, path in wanted if path is not None)


def _sandbox(plan: Plan) -> Sandbox:
    state = PurePosixPath(plan.paths.state)
    is_below = state != _STATE_ROOT and state.is_relative_to(_STATE_ROOT)
    return Sandbox(
        user=USER,
        state=str(state),
        state_directory=str(state.relative_to(_STATE_ROOT)) if is_below else None,
        runtime_directory=f"stackc-{plan.stack}",
        writable=() if is_below else (str(state),),
        protect_home="read-only" if _uses(plan, _HOMES) else "yes",
        private_tmp=not _uses(plan, _TEMPORARY),
        private_devices=isinstance(plan.node, CpuNode),
    )


def _uses(plan: Plan, roots: tuple[PurePosixPath, ...]) -> bool:
    folders = [service.model.folder for service in plan.services if service.model.folder is not None]
    used = map(PurePosixPath, (plan.paths.install, plan.paths.state, plan.paths.vllm, *folders))
    return any(path.is_relative_to(root) for path in used for root in roots)
