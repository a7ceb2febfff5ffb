"""Options of `engine_args` that may be given, and open something: the user is told what."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from compiler.hosts import host_of, is_loopback
from compiler.spec.models import Spec

_CODE = "the server runs the code of that file, with all that it can read and the servers' key"
_LOG = "prompts go to the log, which more people may read than the clients"


def _always(words: str) -> Callable[[Any], str | None]:
    return lambda _: words


def _if_on(words: str) -> Callable[[Any], str | None]:
    return lambda value: words if value is True else None


def _origins(value: Any) -> str | None:
    origins = _json(value)
    if isinstance(origins, list) and "*" in origins:
        return "pages of every site may use the server from the browsers of whoever reaches it"
    return None


def _credentials(value: Any) -> str | None:
    return "browsers send their logins along to the server" if value is True else None


def _endpoint(value: Any) -> str | None:
    host = host_of(value) if isinstance(value, str) else None
    if host is None or is_loopback(host):
        return None
    return f"the server sends traces to {host}, and its unit lets it reach other machines"


def _json(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None


_DOORS: Mapping[str, Callable[[Any], str | None]] = {
    "--allow-credentials": _credentials,
    "--allowed-local-media-path": _always("clients may have the server read every file below that folder"),
    "--allowed-origins": _origins,
    "--enable-log-outputs": _if_on("answers go to the log, which more people may read than the clients"),
    "--enable-log-requests": _if_on(_LOG),
    "--enable-tokenizer-info-endpoint": _if_on("`/tokenizer_info` shows the chat template to whoever reaches the port"),
    "--log-config-file": _always("the file decides where logs go, and which classes of Python write them"),
    "--log-error-stack": _if_on("errors show the server's own code in its log"),
    "--logging-config": _always("it decides where logs go, and which classes of Python write them"),
    "--otlp-traces-endpoint": _endpoint,
    "--reasoning-parser-plugin": _always(_CODE),
    "--tool-parser-plugin": _always(_CODE),
}


def opened(option: str, value: Any) -> str | None:
    """What an option opens, as a sentence; None if nothing."""
    door = _DOORS.get(option)
    return door(value) if door is not None else None


# What clients must not read, or what the unit's sandbox hides: a server would find nothing there.
_NEVER_READ = (
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt/stackc", "/proc", "/root", "/run", "/sbin",
    "/sys", "/tmp", "/usr", "/var",  # noqa: S108 (compared with, never used)
)  # fmt: skip
_LEAST_DEPTH = 3  # `/`, `srv` and `images`: a folder below the root holds more than pictures


def why_not_read(folder: Any, spec: Spec) -> str | None:
    """Why clients must not read every file below a folder, as a half-sentence; None if they may."""
    path = PurePosixPath(folder) if isinstance(folder, str) else PurePosixPath("")
    if not path.is_absolute() or ".." in path.parts or str(path) != folder:
        return "it takes the absolute path of a folder, as the system writes it"
    if len(path.parts) < _LEAST_DEPTH:
        return "it takes a folder of its own, such as /srv/images"
    used = (*_NEVER_READ, *_places(spec))
    near = next((other for other in map(PurePosixPath, used) if _overlap(path, other)), None)
    return None if near is None else f"clients could read {near}, or it is hidden from the server"


def _places(spec: Spec) -> Iterator[str]:
    """Files and folders of the stack."""
    for section in (spec.secrets, spec.paths):
        yield from (path for path in section.model_dump().values() if path is not None)
    yield from (service.model for service in spec.services.values() if service.model.startswith("/"))


def _overlap(one: PurePosixPath, other: PurePosixPath) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
