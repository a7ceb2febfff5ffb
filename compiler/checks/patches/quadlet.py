"""`patches.quadlet`: keys to add to the sections of a container's unit for Podman."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from compiler.catalog.quadlet import FLOOR, KEYS, REFUSED_SERVICE_KEYS
from compiler.checks.engines import fixed_variables
from compiler.checks.patches.compose import server_environment
from compiler.checks.patches.tree import Appendable, Decided, Tree
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.interface.engine import Engines
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Directives that may be added to the sections that are systemd's own; all of them are older than systemd 252. What the
# generator or stackc writes is not among them.
_SYSTEMD_KEYS = {
    "Unit": _words(
        """
        After AssertFileNotEmpty AssertPathExists AssertPathIsMountPoint Before BindsTo ConditionFileNotEmpty
        ConditionHost ConditionPathExists ConditionPathIsMountPoint Conflicts Documentation OnFailure OnSuccess PartOf
        Requires RequiresMountsFor Requisite Wants
        """
    ),
    "Service": _words(
        """
        AllowedCPUs AllowedMemoryNodes BlockIOWeight CPUQuota CPUWeight Environment EnvironmentFile ExecCondition
        ExecStartPost ExecStartPre ExecStopPost IOWeight LimitNOFILE LogRateLimitBurst LogRateLimitIntervalSec
        MemoryHigh MemoryMax MemorySwapMax Nice OOMScoreAdjust RestartForceExitStatus RestartPreventExitStatus Slice
        SuccessExitStatus TasksMax
        """
    ),
    "Install": frozenset(("Alias", "RequiredBy", "UpheldBy", "WantedBy")),
}
SECTIONS = ("Unit", "Container", "Service", "Install")

_PLAN = Decided("it follows from the plan")
_ISOLATION = Decided("it would undo the isolation from the machine and from other containers")
_NETWORK = Decided("it follows from `gateway`, and from `host` and `port` where there is none")
_USER = Decided("the volumes belong to the container's user")
_IMAGE = Decided("it follows from `engine` or `gateway`")
_SCRIPT = Decided("the container runs a script of the tree")

# Of a section [Container]. A key that is not here, and may be given more than once, is added to those that are written.
_DECIDED: Mapping[str, Decided] = {
    "AddCapability": _ISOLATION,
    "AddDevice": Decided("it would give the container GPUs that the plan has not counted"),
    "AutoUpdate": Decided("the image is the one that the plan was proven with"),
    "ContainerName": _PLAN,
    "ContainersConfModule": _ISOLATION,
    "DropCapability": _ISOLATION,
    "Entrypoint": _SCRIPT,
    "Exec": _SCRIPT,
    "GIDMap": _USER,
    "GlobalArgs": Decided("it could change what stackc writes"),
    "Group": _USER,
    **dict.fromkeys(
        _words(
            "HealthCmd HealthInterval HealthOnFailure HealthRetries HealthStartPeriod HealthStartupCmd "
            "HealthStartupInterval HealthStartupRetries HealthStartupSuccess HealthStartupTimeout HealthTimeout Notify"
        ),
        Decided("a server is ready when its own check says so, within the time that its start may take"),
    ),
    "IP": _NETWORK,
    "IP6": _NETWORK,
    "Image": _IMAGE,
    "Network": _NETWORK,
    "NoNewPrivileges": _ISOLATION,
    "Pod": _NETWORK,
    "PublishPort": _NETWORK,
    "Pull": _IMAGE,
    "RemapGid": _USER,
    "RemapUid": _USER,
    "RemapUidSize": _USER,
    "RemapUsers": _USER,
    "Rootfs": _IMAGE,
    "ReadOnly": _ISOLATION,
    "ReadOnlyTmpfs": _ISOLATION,
    "RunInit": _PLAN,
    "Secret": Decided("each container gets the secrets that it needs"),
    "SeccompProfile": _ISOLATION,
    "SecurityLabelDisable": _ISOLATION,
    "ShmSize": Decided("it follows from the number of workers"),
    "StopTimeout": Decided("it must be longer than the server's own `--shutdown-timeout`"),
    "SubGIDMap": _USER,
    "SubUIDMap": _USER,
    "UIDMap": _USER,
    "Unmask": _ISOLATION,
    "User": _USER,
    "UserNS": _USER,
}
# Options of `podman run` that change nothing that stackc writes; those without a key of their own in the oldest Podman.
PODMAN_OPTIONS = frozenset(
    """
    add-host blkio-weight cgroup-parent cpu-period cpu-quota cpu-shares cpus cpuset-cpus cpuset-mems log-opt memory
    memory-reservation memory-swap oom-score-adj pids-limit
    """.split()  # noqa: SIM905  (a table reads better as words)
)
_LIMITS = ("core", "memlock", "nofile", "stack")


def check_quadlet_patch(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """A patch adds keys that the oldest Podman knows, and changes none that stackc writes."""
    units, environment = _units(file.spec), server_environment(fixed_variables(file, engines))
    for unit, sections in file.spec.patches.quadlet.items():
        where = ("patches", "quadlet", unit)
        if unit not in units:
            message = f"`{unit}` is no container of the stack"
            yield _refusal(file, where, message, units)
            continue
        for section, keys in sections.items():
            if section not in SECTIONS or (unit == "prefetch" and section == "Install"):
                message = f"the unit of `{unit}` has no section [{section}]"
                yield _refusal(file, (*where, section), message, SECTIONS)
                continue
            for key, value in keys.items():
                yield from _check_key(file, (*where, section, key), value, environment)


def _units(spec: Spec) -> tuple[str, ...]:
    return (*spec.services, *(["gateway"] if spec.gateway is not None else []), "prefetch")


def _check_key(file: SpecFile, path: tuple[str, ...], value: Any, environment: Tree) -> Iterator[Diagnostic]:
    section, key = path[-2:]
    known = KEYS["Container"] if section == "Container" else dict.fromkeys(_SYSTEMD_KEYS[section], FLOOR)
    if section == "Container" and key in _DECIDED:
        yield _refusal(file, path, f"stackc decides `{key}=`: {_DECIDED[key].why}", ())
    elif section == "Service" and key in REFUSED_SERVICE_KEYS:
        yield _refusal(file, path, f"Podman refuses `{key}=` in the section [Service]", ())
    elif key not in known:
        yield _refusal(file, path, f"`{key}=` cannot be added to the section [{section}]", known)
    elif known[key] > FLOOR:
        message = f"`{key}=` came with Podman {_dotted(known[key])}, the files are for {_dotted(FLOOR)} and newer"
        yield _refusal(file, path, message, ())
    else:
        why = next(_wrong_values(section, key, value if isinstance(value, list) else [value], environment), None)
        if why is not None:
            options = ", ".join(f"`--{option}=`" for option in sorted(PODMAN_OPTIONS))
            notes = (f"options that can be added: {options}",) if key == "PodmanArgs" else ()
            yield _refusal(file, path, f"`{key}=` cannot be written as it is: {why}", (), notes)


def _wrong_values(section: str, key: str, values: list[Any], environment: Tree) -> Iterator[str]:
    for value in values:
        if not isinstance(value, str | int | float) or value != value:  # noqa: PLR0124 (NaN is not itself)
            yield "it must be text, a number, or a list of them"
            continue
        text = str(value)
        if not text.isprintable() or text != text.strip() or text.endswith("\\"):
            yield "it must be one line without spaces around it"
        if section == "Container":
            yield from _wrong_text(key, text, environment)


def _wrong_text(key: str, text: str, environment: Tree) -> Iterator[str]:
    names = re.findall(r"(?:^|[\s\"'])([A-Za-z_][A-Za-z0-9_]*)=", text)
    if key == "Environment":
        yield from (_decided_variable(name, environment[name]) for name in names if name in environment)
    if key == "Ulimit" and names and names[0] in _LIMITS:
        yield f"stackc decides the limit `{names[0]}`"
    if key == "PodmanArgs" and not _is_harmless_option(text):
        yield "it must be one option with its value, and one that changes nothing that stackc writes"


def _decided_variable(name: str, why: Decided | Appendable | Tree) -> str:
    return f"stackc decides `{name}`" + (f": {why.why}" if isinstance(why, Decided) else "")


def _is_harmless_option(text: str) -> bool:
    option = re.fullmatch(r"--([a-z-]+)=\S+", text)
    return option is not None and option[1] in PODMAN_OPTIONS


def _refusal(
    file: SpecFile, path: tuple[str, ...], message: str, known: Collection[str], notes: tuple[str, ...] = ()
) -> Diagnostic:
    near = [name for name in difflib.get_close_matches(path[-1], known, n=1) if name != path[-1]]
    helps = tuple(Help(f"did you mean `{name}`?") for name in near)
    removal = Help(f"remove `{path[-1]}` from the patch", (Edit(path, None),))
    return Diagnostic("E0217", message, file.at_key(*path), notes, (*helps, removal))


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
