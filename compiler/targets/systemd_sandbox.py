"""What a unit may see, write and ask of the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.plan.ir import Plan
from compiler.targets.deployment import user_of
from compiler.targets.systemd_network import Network

_STATE_ROOT = PurePosixPath("/var/lib")
_HOMES = tuple(map(PurePosixPath, ("/home", "/root", "/run/user")))
_TEMPORARY = (PurePosixPath("/tmp"), PurePosixPath("/var/tmp"))  # noqa: S108 (compared with, never used)
_PRIVILEGED_PORTS = 1024


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a unit may see and write.

    Attributes:
        state_directory: below /var/lib, made by systemd; None if the state lies elsewhere.
        writable: paths to open for writing; empty where `state_directory` does it.
        umask: what new files are not to allow, in octal.
        protect_home: `yes`, or `read-only` if something of the stack lies in a home.
        private_tmp: False if something of the stack lies in /tmp, which would be hidden.
        uses_gpu: its driver needs device files and calls that a tighter sandbox would take away.
        binds_privileged: it listens on a port below 1024, for which it keeps one capability.
        network: the addresses with which it may exchange packets.
        hidden: paths that it is not to read, whether or not they are there.
    """

    user: str
    state: str
    state_directory: str | None
    runtime_directory: str
    writable: tuple[str, ...]
    umask: str
    protect_home: str
    private_tmp: bool
    uses_gpu: bool
    binds_privileged: bool
    network: Network
    hidden: tuple[str, ...] = ()


def sandbox(plan: Plan, *, network: Network, uses_gpu: bool, port: int | None = None, umask: str = "0027") -> Sandbox:
    """The sandbox of one unit, with all that the stack's paths need left visible; `port` is where it listens."""
    state = PurePosixPath(plan.paths.state)
    is_below = state != _STATE_ROOT and state.is_relative_to(_STATE_ROOT)
    return Sandbox(
        user=user_of(plan.stack),
        state=str(state),
        state_directory=str(state.relative_to(_STATE_ROOT)) if is_below else None,
        runtime_directory=runtime_directory(plan),
        writable=() if is_below else (str(state),),
        umask=umask,
        protect_home="read-only" if _uses(plan, _HOMES) else "yes",
        private_tmp=not _uses(plan, _TEMPORARY),
        uses_gpu=uses_gpu,
        binds_privileged=port is not None and port < _PRIVILEGED_PORTS,
        network=network,
    )


def runtime_directory(plan: Plan) -> str:
    """The stack's folder below /run, by name."""
    return f"stackc-{plan.stack}"


def _uses(plan: Plan, roots: tuple[PurePosixPath, ...]) -> bool:
    models = [model for service in plan.services for model in service.models]
    folders = [model.folder for model in models if model.folder is not None]
    programs = [engine.program for engine in plan.engines.values()]
    if plan.gateway is not None:
        programs += [plan.paths.nginx, plan.paths.litellm]
    used = [PurePosixPath(path).parts for path in (plan.paths.install, plan.paths.state, *programs, *folders)]
    return any(parts[: len(root.parts)] == root.parts for parts in used for root in roots)
