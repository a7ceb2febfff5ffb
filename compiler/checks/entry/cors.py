"""Rules of `gateway.cors`: websites are named as browsers name them, and none gets a gateway that knows no clients."""

from __future__ import annotations

import re
from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.reading.load import SpecFile

ANY = "*"
# What a browser sends as Origin: scheme and host in lower case, a port that is not the scheme's own, and no path.
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = rf"({_LABEL}(\.{_LABEL})*|\[[0-9a-f:.]{{2,45}}\])"
_ORIGIN = re.compile(rf"[a-z][a-z0-9+.-]*://{_HOST}(:[1-9][0-9]{{0,4}})?", re.ASCII)
_DEFAULT_PORTS = (("http", ":80"), ("https", ":443"))
_MAX_LENGTH = 253
_ORIGINS = ("gateway", "cors", "origins")


def check_cors(file: SpecFile) -> Iterator[Diagnostic]:
    """All rules of `cors`."""
    gateway = file.spec.gateway
    if gateway is None or gateway.cors is None:
        return
    origins = gateway.cors.origins
    for index, origin in enumerate(origins):
        yield from _check_origin(file, origins, index, origin)
    yield from _check_any(file, origins)


def _check_origin(file: SpecFile, origins: list[str], index: int, origin: str) -> Iterator[Diagnostic]:
    reason = _reason(origin)
    if reason is None and origin in origins[:index]:
        message = f"`{origin}` is named twice"
        helps = (Help("name it once", (Edit(_ORIGINS, tuple(dict.fromkeys(origins))),)),)
        yield Diagnostic("E0225", message, file.at(*_ORIGINS, index), helps=helps)
    elif reason is not None:
        message = f"no browser sends `{_shown(origin)}` as a page's origin"
        yield Diagnostic("E0225", message, file.at(*_ORIGINS, index), (reason,), _helps(origins, index, origin))


def _shown(origin: str) -> str:
    text = origin if len(origin) <= _MAX_LENGTH else origin[:_MAX_LENGTH] + "…"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _reason(origin: str) -> str | None:
    """Why it is no origin; None if it is one."""
    if origin == ANY or (_is_origin(origin) and not _has_default_port(origin)):
        return None
    if origin == "null":
        return "`null` stands for pages that have no website, such as files and sandboxed frames of anybody"
    if _is_origin(origin):
        return "browsers leave out the port that belongs to the scheme"
    return "an origin is `https://HOST` or `https://HOST:PORT`, in lower case and without a path; there are no patterns"


def _is_origin(origin: str) -> bool:
    port = origin.rpartition(":")[2]
    is_port = not port.isdecimal() or int(port) <= 65535  # noqa: PLR2004 (the last port)
    return len(origin) <= _MAX_LENGTH and _ORIGIN.fullmatch(origin) is not None and is_port


def _has_default_port(origin: str) -> bool:
    return any(origin.startswith(f"{scheme}://") and origin.endswith(port) for scheme, port in _DEFAULT_PORTS)


def _helps(origins: list[str], index: int, origin: str) -> tuple[Help, ...]:
    meant = _meant(origin)
    removed = Help("remove `cors`: pages of no website may ask then", (Edit(("gateway", "cors"), None),))
    if origin == "null" or _reason(meant) is not None or meant in origins:
        return (removed,)
    return (Help(f"write `{meant}`", (Edit((*_ORIGINS, index), meant),)), removed)


def _meant(origin: str) -> str:
    """The origin of an address that somebody copied."""
    scheme, separator, rest = origin.strip().lower().rpartition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    meant = f"{scheme if separator else 'https'}://{host}"
    for name, port in _DEFAULT_PORTS:
        if meant.startswith(f"{name}://"):
            meant = meant.removesuffix(port)
    return meant


def _check_any(file: SpecFile, origins: list[str]) -> Iterator[Diagnostic]:
    if ANY not in origins:
        return
    where = file.at(*_ORIGINS, origins.index(ANY))
    if len(origins) > 1:
        named = tuple(origin for origin in dict.fromkeys(origins) if origin != ANY)
        helps = [Help("write `*` alone", (Edit(_ORIGINS, (ANY,)),))]
        helps += [Help("remove `*`", (Edit(_ORIGINS, named),))] if named else []
        yield Diagnostic("E0225", "`*` is every website, and others are named beside it", where, helps=tuple(helps))
    if file.spec.secrets.client_keys is None:
        message = "pages of every website could use the gateway, which asks for no key"
        notes = ("the browser of whoever reaches the gateway would carry the requests of any page that is open in it",)
        keys = Edit(("secrets", "client_keys"), "/etc/stackc/client-keys")
        helps = [Help("give its clients keys", (keys,)), Help("remove `cors`", (Edit(("gateway", "cors"), None),))]
        yield Diagnostic("E0226", message, where, notes, tuple(helps))
