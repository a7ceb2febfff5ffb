"""`bin/`: a launch script for every server, and the programs around them."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.catalog.vllm.doors import FIXED_VARIABLES
from compiler.plan.ir import Argument, GpuNode, Plan, Service
from compiler.render.artifact import EXECUTABLE, Artifact
from compiler.render.environment import render
from compiler.render.quoting import ShellVariable
from compiler.targets.deployment import lock_wait, shared_devices
from compiler.targets.library import BIN, emit_program

_PROGRAMS = ("preflight", "prefetch", "wait-ready", "smoke-test", "bench", "evaluate")
# They install units, so that only a tree with units has them.
_INSTALLERS = ("install", "upgrade", "rollback", "uninstall")

# The server reads one folder and tells nobody; a variable of the plan or of the caller still wins.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}

Word = str | ShellVariable


@dataclass(frozen=True, slots=True)
class HubSnapshot:
    """A model in the Hugging Face cache: `folder` is the repository's, `commit` a full hash, a prefix or None."""

    folder: str
    commit: str | None
    is_pinned: bool


@dataclass(frozen=True, slots=True)
class StartLock:
    """Devices whose start lock is held from launch until ready, and the longest wait for one."""

    devices: tuple[int, ...]
    default_directory: str
    seconds: int


@dataclass(frozen=True, slots=True)
class LaunchScript:
    """`bin/launch-SERVICE`.

    Attributes:
        lines: each is an option with its value, as words.
        environment: variables that the caller's own ones replace.
        fixed: variables that they do not: another value would open the server, or keep it from starting.
    """

    stack: str
    service: str
    snapshot: HubSnapshot | None
    folder: str | None
    host: str
    lines: tuple[tuple[Word, ...], ...]
    environment: tuple[tuple[str, str], ...]
    fixed: tuple[tuple[str, str], ...]
    visible_devices: str | None
    api_key_file: str | None
    lock: StartLock | None


def emit_scripts(plan: Plan) -> tuple[Artifact, ...]:
    """Everything under `bin/` but the gateway's programs."""
    launchers = tuple(
        Artifact(BIN / f"launch-{service.name}", render_launch(launch_script(plan, service)), EXECUTABLE)
        for service in plan.services
    )
    programs = (*_PROGRAMS, *(_INSTALLERS if "systemd" in plan.targets else ()))
    return (*launchers, *map(emit_program, programs))


def render_launch(script: LaunchScript) -> str:
    """The text of a launch script."""
    return render("scripts/launch.j2", script=script)


def launch_script(plan: Plan, service: Service) -> LaunchScript:
    """The launch script of one service as a document."""
    variables = sorted((_OFFLINE | dict(service.environment)).items())
    return LaunchScript(
        stack=plan.stack,
        service=service.name,
        snapshot=_snapshot(service),
        folder=service.model.folder,
        host=service.host,
        lines=tuple(_words(argument) for argument in service.arguments),
        environment=tuple(each for each in variables if each[0] not in FIXED_VARIABLES),
        fixed=tuple(each for each in variables if each[0] in FIXED_VARIABLES),
        visible_devices=_visible_devices(plan, service),
        api_key_file=plan.secrets.api_key,
        lock=_start_lock(plan, service),
    )


def _snapshot(service: Service) -> HubSnapshot | None:
    repository = service.model.repository
    if repository is None:
        return None
    return HubSnapshot("models--" + repository.replace("/", "--"), service.model.commit, service.model.is_pinned)


def _words(argument: Argument) -> tuple[Word, ...]:
    if argument.flag == "--host":
        return (argument.flag, ShellVariable("listen_host"))
    # argparse would read a value such as `-1` or `--x` as the next option.
    if isinstance(argument.value, str) and argument.value.startswith("-"):
        return (f"{argument.flag}={argument.value}",)
    return (argument.flag, *argument.words)


def _visible_devices(plan: Plan, service: Service) -> str | None:
    if not isinstance(plan.node, GpuNode):
        return None
    uuids = plan.node.uuids
    return ",".join(uuids[device] if uuids else str(device) for device in service.devices)


def _start_lock(plan: Plan, service: Service) -> StartLock | None:
    devices = shared_devices(plan, service)
    if not devices:
        return None
    return StartLock(devices, f"{plan.paths.state}/locks", lock_wait(plan, service))
