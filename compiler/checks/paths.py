"""Where a stack's folders may lie: in places of its own, which nothing else on the machine uses.

The installer writes to them as root, the servers as the stack's user, and an uninstall cleans them.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile

ROOTS = {"install": "/opt/stackc", "state": "/var/lib/stackc"}
"""Below them each stack has a folder of its name."""

_PROGRAMS = {"vllm": None, "vllm_cpu": None, "nginx": "/usr/sbin/nginx", "litellm": "/opt/stackc/litellm/bin/litellm"}
_SECRETS = {
    "hf_token": "/etc/stackc/hf-token",
    "api_key": "/etc/stackc/api-key",
    "client_keys": "/etc/stackc/client-keys",
}
# What a purge removes of the state (templates/lib/stack/install/state.py).
_MADE = ("baselines", "cache", "hf", "locks", "rollout")

# Nothing below them is an administrator's to give away, or it is gone at the next boot, or everybody writes there.
_SYSTEM = (
    "/bin", "/boot", "/dev", "/efi", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found", "/proc", "/root",
    "/run", "/sbin", "/snap", "/sys", "/usr", "/var/backups", "/var/cache/apt", "/var/lib/apt",
    "/var/lib/containerd", "/var/lib/containers", "/var/lib/dbus", "/var/lib/docker", "/var/lib/dpkg",
    "/var/lib/kubelet", "/var/lib/misc", "/var/lib/private", "/var/lib/rpm", "/var/lib/snapd", "/var/lib/systemd",
    "/var/lock", "/var/log", "/var/mail", "/var/run", "/var/spool",
)  # fmt: skip
# Whoever comes first has the name.
_EVERYBODYS = ("/tmp", "/var/tmp")  # noqa: S108 (compared with, never used)
# Their entries are of others: users' homes, disks, programs' folders. Below an entry there is room.
_PARENTS = ("/home", "/media", "/mnt", "/net", "/var", "/volumes")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a path, at the key that has it, and edits of which the first that mends it is offered."""

    code: str
    message: str
    where: tuple[str, ...]
    edits: tuple[tuple[str, Edit], ...]


def default_folder(key: str, stack: str) -> str:
    """Where a folder of the stack lies if the spec does not say."""
    return f"{ROOTS[key]}/{stack}"


def check_paths(file: SpecFile) -> Iterator[Diagnostic]:
    """Every path is written plainly, no folder is the system's or shared, and none lies in another one."""
    for finding in findings(file.spec):
        helps = tuple(_mending(file.spec, finding))
        yield Diagnostic(finding.code, finding.message, file.at(*finding.where), helps=helps)


def _mending(spec: Spec, finding: Finding) -> Iterator[Help]:
    """Those edits that leave nothing to be found at this place."""
    for text, edit in finding.edits:
        left = [each for each in findings(_edited(spec, edit)) if each.where == finding.where]
        if not left:
            yield Help(text, (edit,))
            return
    if not finding.edits:
        yield Help("move it to a folder of its own, such as one below /srv/models")


def _edited(spec: Spec, edit: Edit) -> Spec:
    section, key = str(edit.path[0]), str(edit.path[1])
    return spec.model_copy(update={section: getattr(spec, section).model_copy(update={key: edit.value})})


def findings(spec: Spec) -> Iterator[Finding]:
    """Everything that is wrong with the paths of a spec, each key once."""
    found: dict[tuple[str, ...], Finding] = {}
    for each in (*_odd(spec), *_shared(spec), *_nested(spec), *_models(spec)):
        found.setdefault(each.where, each)
    yield from found.values()


def _odd(spec: Spec) -> Iterator[Finding]:
    for section in ("paths", "secrets"):
        for key, path in _given(spec, section):
            parts = [part for part in path.split("/")[1:] if part in ("", ".", "..")]
            if parts:
                message = f"`{path}` is not written plainly: a part of it is {f'`{parts[0]}`' if parts[0] else 'empty'}"
                plain = "/" + posixpath.normpath(path).lstrip("/")
                edits = (_write(section, key, plain), *_defaults(spec, section, key))
                yield Finding("E0220", message, (section, key), edits)


def _given(spec: Spec, section: str) -> Iterator[tuple[str, str]]:
    for key, path in getattr(spec, section):
        if path is not None:
            yield key, path


def _write(section: str, key: str, path: str) -> tuple[str, Edit]:
    return f"write `{key}: {path}`", Edit((section, key), path)


def _defaults(spec: Spec, section: str, key: str) -> tuple[tuple[str, Edit], ...]:
    if section == "secrets":
        return (_write(section, key, _SECRETS[key]),)
    if key in ROOTS:
        return (_write(section, key, default_folder(key, spec.stack)),)
    return ((f"remove `{key}`", Edit((section, key), None)),)


def _shared(spec: Spec) -> Iterator[Finding]:
    """Folders that are the system's, hold other things, or are of another stack."""
    for key in ROOTS:
        path = getattr(spec.paths, key)
        reason = None if path is None else shared_because(path)
        if path is not None and reason is not None:
            own = f"{path}/{spec.stack}" if path.endswith("/stackc") else f"{path}/stackc/{spec.stack}"
            edits = (_write("paths", key, own), *_defaults(spec, "paths", key))
            yield Finding("E0220", f"`{path}` is no folder for one stack: {reason}", ("paths", key), edits)
        other = None if path is None else _other_stack(path, spec.stack)
        if other is not None:
            message = f"`{path}` is in the folder of what is called `{other}`, and this stack is `{spec.stack}`"
            yield Finding("E0221", message, ("paths", key), _defaults(spec, "paths", key))


def shared_because(path: str) -> str | None:
    """Why a folder cannot be one stack's; None if it can."""
    place = PurePosixPath(path)
    root = next((root for root in _SYSTEM if place.is_relative_to(root)), None)
    if root is not None:
        return f"{root} is the system's"
    if any(place.is_relative_to(root) for root in _EVERYBODYS):
        return "everybody can write there"
    if len(place.parts) <= 2:  # noqa: PLR2004 (the root and one name)
        return "what lies directly below / is everybody's"
    if path in (*_PARENTS, *ROOTS.values()):
        return "it holds the folders of others"
    if str(place.parent) in _PARENTS:
        return f"each folder in {place.parent} is somebody's, or a whole disk"
    return None


def _other_stack(path: str, stack: str) -> str | None:
    place = PurePosixPath(path)
    for root in ROOTS.values():
        if place.is_relative_to(root) and path != root:
            name = place.relative_to(root).parts[0]
            return name if name != stack else None
    return None


def _nested(spec: Spec) -> Iterator[Finding]:
    """An uninstall would remove, or the servers could write, what lies in a folder of the stack."""
    folders = {key: getattr(spec.paths, key) or default_folder(key, spec.stack) for key in ROOTS}
    if _overlap(folders["install"], folders["state"]):
        key = "state" if spec.paths.state is not None else "install"
        message = f"`install: {folders['install']}` and `state: {folders['state']}` lie in one another"
        yield Finding("E0221", message, ("paths", key), _apart(spec, key))
    programs = {key: getattr(spec.paths, key) or default for key, default in _PROGRAMS.items()}
    yield from _inside(spec, folders, "paths", programs)
    yield from _inside(spec, folders, "secrets", dict(_given(spec, "secrets")))


def _apart(spec: Spec, key: str) -> tuple[tuple[str, Edit], ...]:
    other = "install" if key == "state" else "state"
    return (*_defaults(spec, "paths", key), *_defaults(spec, "paths", other))


def _inside(spec: Spec, folders: Mapping[str, str], section: str, paths: Mapping[str, str | None]) -> Iterator[Finding]:
    for name, folder in folders.items():
        for key, path in paths.items():
            if path is not None and _overlap(folder, path):
                is_given = getattr(getattr(spec, section), key) is not None
                message = f"`{key}: {path}` and `{name}: {folder}` lie in one another"
                where = (section, key) if is_given else ("paths", name)
                own = _write("paths", key, f"/opt/{key}/bin/{key}") if section == "paths" else None
                edits = (*_defaults(spec, section, key), *((own,) if own else ()))
                yield Finding("E0221", message, where if _is_written(spec, where) else ("stack",), edits)


def _is_written(spec: Spec, where: tuple[str, ...]) -> bool:
    return getattr(getattr(spec, where[0]), where[1]) is not None


def _models(spec: Spec) -> Iterator[Finding]:
    """A model that somebody copied to the machine is not the installer's to remove."""
    state = spec.paths.state or default_folder("state", spec.stack)
    install = spec.paths.install or default_folder("install", spec.stack)
    for name, service in spec.services.items():
        model = service.model
        held = next((each for each in (install, *(f"{state}/{made}" for made in _MADE)) if _within(model, each)), None)
        if model.startswith("/") and (held is not None or _within(state, model) or _within(install, model)):
            message = f"the model's folder `{model}` and `{held or model}` of the stack lie in one another"
            yield Finding("E0221", message, ("services", name, "model"), ())


def _within(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)


def _overlap(one: str, other: str) -> bool:
    return _within(one, other) or _within(other, one)
