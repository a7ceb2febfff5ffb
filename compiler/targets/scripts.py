"""`bin/`: a launch script for every server, and the programs around them."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.engines.interface.host import Program
from compiler.engines.interface.launch import AdapterWord, Placeholder
from compiler.engines.interface.launch import Word as PlannedWord
from compiler.plan.ir import Argument, GpuNode, Plan, ServedModel, Service
from compiler.render.artifact import EXECUTABLE, Artifact
from compiler.render.environment import render
from compiler.render.quoting import ShellParts, ShellVariable
from compiler.targets.deployment import lock_wait, shared_devices
from compiler.targets.library import BIN, emit_program

_PROGRAMS = ("preflight", "prefetch", "wait-ready", "smoke-test", "bench", "evaluate")
# They install units, so that only a tree with units has them.
_INSTALLERS = ("install", "upgrade", "rollback", "uninstall")

Word = str | ShellVariable


@dataclass(frozen=True, slots=True)
class HubSnapshot:
    """A model in the Hugging Face cache.

    Attributes:
        folder: the repository's.
        commit: a full hash, a prefix or None.
        file: that the server is given, below the snapshot; None where it is given all of it.
        projector: likewise, beside its model; None where it is given none.
    """

    folder: str
    commit: str | None
    is_pinned: bool
    file: str | None
    projector: str | None


@dataclass(frozen=True, slots=True)
class DraftPlace:
    """Where the model lies that guesses tokens: a snapshot in the Hugging Face cache, or an absolute path."""

    snapshot: HubSnapshot | None
    path: str | None


@dataclass(frozen=True, slots=True)
class LaunchedAdapter:
    """An adapter as a launch script finds it.

    Attributes:
        variable: of the script, that holds its folder.
        folder: an absolute path, for an adapter that is not the Hub's.
    """

    name: str
    variable: str
    snapshot: HubSnapshot | None
    folder: str | None


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
        model: an absolute path, for a model that is not the Hub's.
        engine: for people.
        program: what the command begins with; `words` follow it.
        key_variable: through which the server gets its API key.
        draft: the model that guesses tokens; None where none does.
        lines: each is an option with its value, as words.
        environment: variables that the caller's own ones replace.
        fixed: variables that they do not: another value would open the server, or keep it from starting.
        closed: beginnings of variables that are taken from nobody.
    """

    stack: str
    service: str
    snapshot: HubSnapshot | None
    model: str | None
    projector: str | None
    host: str
    engine: str
    program: Program
    key_variable: str
    words: tuple[Word | ShellParts, ...]
    lines: tuple[tuple[Word, ...], ...]
    environment: tuple[tuple[str, str], ...]
    fixed: tuple[tuple[str, str], ...]
    closed: tuple[str, ...]
    visible_devices: str | None
    api_key_file: str | None
    lock: StartLock | None
    adapters: tuple[LaunchedAdapter, ...] = ()
    draft: DraftPlace | None = None


def emit_scripts(plan: Plan) -> tuple[Artifact, ...]:
    """Everything under `bin/` but the gateway's programs."""
    launchers = tuple(
        Artifact(BIN / f"launch-{service.name}", render_launch(launch_script(plan, service)), EXECUTABLE)
        for service in plan.services
    )
    joining = ("join-group",) if any(service.group is not None for service in plan.services) else ()
    programs = (*_PROGRAMS, *joining, *(_INSTALLERS if "systemd" in plan.targets else ()))
    return (*launchers, *map(emit_program, programs))


def render_launch(script: LaunchScript) -> str:
    """The text of a launch script."""
    return render("scripts/launch.j2", script=script)


def launch_script(plan: Plan, service: Service) -> LaunchScript:
    """The launch script of one service as a document."""
    host = plan.engine_of(service).host
    variables = sorted((dict(host.offline) | dict(service.environment)).items())
    return LaunchScript(
        stack=plan.stack,
        service=service.name,
        snapshot=_snapshot(service.model),
        model=_local_model(service.model),
        projector=_local_projector(service.model),
        host=service.host,
        engine=host.title,
        program=host.program,
        key_variable=host.key_variable,
        words=tuple(map(_word, service.words)),
        lines=tuple(_words(argument) for argument in service.arguments),
        environment=tuple(each for each in variables if each[0] not in host.fixed),
        fixed=tuple(each for each in variables if each[0] in host.fixed),
        closed=host.closed,
        visible_devices=_visible_devices(plan, service),
        api_key_file=plan.secrets.api_key,
        lock=_start_lock(plan, service),
        adapters=tuple(
            LaunchedAdapter(each.name, _adapter_variable(index), _snapshot(each.model), each.model.folder)
            for index, each in enumerate(service.adapters)
        ),
        draft=_draft(service),
    )


def _word(word: PlannedWord) -> Word | ShellParts:
    if isinstance(word, AdapterWord):
        return ShellParts((word.before, ShellVariable(_adapter_variable(word.index)), word.after))
    return ShellVariable(word.value) if isinstance(word, Placeholder) else word


def _adapter_variable(index: int) -> str:
    return f"adapter_{index}"


def _draft(service: Service) -> DraftPlace | None:
    model = None if service.draft is None else service.draft.model
    return None if model is None else DraftPlace(_snapshot(model), model.folder)


def _snapshot(model: ServedModel) -> HubSnapshot | None:
    repository = model.repository
    if repository is None:
        return None
    return HubSnapshot(
        "models--" + repository.replace("/", "--"), model.commit, model.is_pinned, model.file, model.projector
    )


def _local_model(model: ServedModel) -> str | None:
    """What the server is given of a folder."""
    return model.folder if model.folder is None or model.file is None else f"{model.folder}/{model.file}"


def _local_projector(model: ServedModel) -> str | None:
    return None if model.folder is None or model.projector is None else f"{model.folder}/{model.projector}"


def _words(argument: Argument) -> tuple[Word, ...]:
    if argument.flag == "--host":
        return (argument.flag, ShellVariable("listen_host"))
    if isinstance(argument.value, Placeholder):
        return (argument.flag, ShellVariable(argument.value.value))
    # argparse would read a value such as `-1` or `--x` as the next option.
    if isinstance(argument.value, str) and argument.value.startswith("-"):
        return (f"{argument.flag}={argument.value}",)
    return (argument.flag, *argument.words)


def _visible_devices(plan: Plan, service: Service) -> str | None:
    if not isinstance(plan.node, GpuNode):
        return None
    if not service.uses_gpus:
        return ""
    uuids = plan.node.uuids
    return ",".join(uuids[device] if uuids else str(device) for device in service.devices)


def _start_lock(plan: Plan, service: Service) -> StartLock | None:
    devices = shared_devices(plan, service)
    if not devices:
        return None
    return StartLock(devices, f"{plan.paths.state}/locks", lock_wait(plan, service))
