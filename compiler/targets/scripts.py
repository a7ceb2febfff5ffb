"""`bin/`: a launch script for every server, and the Python programs around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.catalog.doors import FIXED_VARIABLES
from compiler.plan.ir import Argument, GpuNode, Plan, Service
from compiler.render.artifact import EXECUTABLE, PLAIN, Artifact
from compiler.render.environment import read_verbatim, render
from compiler.render.quoting import ShellVariable
from compiler.targets.deployment import lock_wait, shared_devices

BIN = PurePosixPath("bin")
EVALUATION = PurePosixPath("evaluation")

_PROGRAMS = {
    "preflight": "preflight.py",
    "prefetch": "prefetch.py",
    "wait-ready": "wait_ready.py",
    "smoke-test": "smoke_test.py",
    "bench": "bench.py",
    "evaluate": "evaluate.py",
    "supervise": "supervise.sh",
}
_MODULES = (
    "_answer_checks.py",
    "_answers.py",
    "_baseline.py",
    "_check_gateway.py",
    "_check_gpu.py",
    "_check_machine.py",
    "_check_tools.py",
    "_copy.py",
    "_download.py",
    "_endpoint.py",
    "_evaluation.py",
    "_evaluation_report.py",
    "_gpu.py",
    "_keys.py",
    "_load.py",
    "_media.py",
    "_measure.py",
    "_model.py",
    "_nodes.py",
    "_packages.py",
    "_pooled.py",
    "_probes.py",
    "_process.py",
    "_report.py",
    "_sandbox.py",
    "_server.py",
    "_stack.py",
    "_through.py",
    "_usage.py",
    "_verify.py",
)
# They install units, so that only a tree with units has them.
_INSTALLERS = {name: f"{name}.py" for name in ("install", "upgrade", "rollback", "uninstall")}
_INSTALLER_MODULES = (
    "_host.py",
    "_removal.py",
    "_state.py",
    "_switch.py",
    "_units.py",
    "_user.py",
    "_versions.py",
)

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
    """Everything under `bin/`."""
    launchers = tuple(
        Artifact(BIN / f"launch-{service.name}", render_launch(launch_script(plan, service)), EXECUTABLE)
        for service in plan.services
    )
    installers = _verbatim(_INSTALLERS, _INSTALLER_MODULES) if "systemd" in plan.targets else ()
    return launchers + _verbatim(_PROGRAMS, _MODULES) + installers + _evaluation(plan)


def _evaluation(plan: Plan) -> tuple[Artifact, ...]:
    """A first evaluation for stacks with a chat service: its cases are conversations."""
    if not any(service.task == "chat" for service in plan.services):
        return ()
    return (Artifact(EVALUATION / "smoke.yaml", read_verbatim("scripts/evaluation_smoke.yaml"), PLAIN),)


def render_launch(script: LaunchScript) -> str:
    """The text of a launch script."""
    return render("scripts/launch.j2", script=script)


def _verbatim(programs: Mapping[str, str], modules: Iterable[str]) -> tuple[Artifact, ...]:
    files = [Artifact(BIN / name, read_verbatim(f"scripts/{file}"), EXECUTABLE) for name, file in programs.items()]
    return (*files, *(Artifact(BIN / name, read_verbatim(f"scripts/{name}"), PLAIN) for name in modules))


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
