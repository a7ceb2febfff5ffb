"""Rules of `gateway.tls` and `gateway.teams`: what would not start, would lock clients out, or would do nothing."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from compiler.checks.entry.gateway import free_port, taken_ports
from compiler.checks.entry.tls.acme import EXAMPLE, check_acme, not_certified
from compiler.checks.paths import ROOTS, default_folder, shared_because
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.operations import GatewaySpec
from compiler.spec.reading.load import SpecFile
from compiler.spec.tls import TeamSpec, TlsSpec

_TLS, _TEAMS = ("gateway", "tls"), ("gateway", "teams")
_FILES = {"certificate": "/etc/stackc/tls/certificate.pem", "key": "/etc/stackc/tls/key.pem"}
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)*{_LABEL}", re.ASCII)
# Hidden from units by ProtectHome= and PrivateTmp=.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 (compared with, never used)


def check_tls(file: SpecFile) -> Iterator[Diagnostic]:
    """All rules of encryption. What LiteLLM does not do is told elsewhere."""
    gateway = file.spec.gateway
    if gateway is None or gateway.tls is None or gateway.kind != "nginx":
        return
    yield from _check_targets(file)
    if gateway.tls.acme is None:
        yield from _check_pair(file, gateway.tls)
    else:
        yield from check_acme(file, gateway, gateway.tls)
    yield from _check_files(file, gateway.tls)
    yield from _check_folders(file, gateway.tls)
    yield from _check_domains(file, gateway.tls)
    yield from _check_http_port(file, gateway, gateway.tls)
    yield from _check_challenges(file, gateway.tls)
    if gateway.tls.hsts is not None and not gateway.tls.domains:
        message = "`hsts` is about a name, and `domains` has none: browsers ignore it of an address"
        helps = (_remove(_TLS, "hsts"),)
        yield Diagnostic("E0270", message, file.at(*_TLS, "hsts"), helps=helps)


def _check_targets(file: SpecFile) -> Iterator[Diagnostic]:
    """A cluster's own entrance has the certificates there, and hands requests on."""
    targets, cluster = file.spec.targets, file.spec.kubernetes
    if "kubernetes" in targets and (cluster is None or cluster.route is None):
        message = "in a cluster its own entrance ends TLS, and no `kubernetes.route` leads from there to the gateway"
        notes = (
            "`kubernetes: {route: {gateway: NAME}}` names that entrance; cert-manager and others renew its certificate",
        )
        left = tuple(each for each in targets if each != "kubernetes")
        others = (Help(f"write `targets: [{', '.join(left)}]`", (Edit(("targets",), left),)),) if left else ()
        yield Diagnostic("E0270", message, file.at_key(*_TLS), notes, (_remove(("gateway",), "tls"), *others))


def _remove(where: tuple[str, ...], key: str) -> Help:
    return Help(f"remove `{key}`", (Edit((*where, key), None),))


def _write(key: str, value: str | int) -> Help:
    return Help(f"write `{key}: {value}`", (Edit((*_TLS, key), value),))


def _check_pair(file: SpecFile, tls: TlsSpec) -> Iterator[Diagnostic]:
    missing = [key for key in _FILES if getattr(tls, key) is None]
    if missing:
        given = next((key for key in _FILES if key not in missing), None)
        message = f"`tls` has no `{missing[0]}`"
        message += f" to its `{given}`" if given is not None else ": encryption needs a certificate and its key"
        edits = tuple(Edit((*_TLS, key), _FILES[key]) for key in missing)
        text = "name it: " + ", ".join(f"`{key}: {_FILES[key]}`" for key in missing)
        helps = (Help(text, edits), _remove(("gateway",), "tls"))
        place = file.at_key(*_TLS) if given is None else file.at(*_TLS, given)
        yield Diagnostic("E0270", message, place, helps=helps)


def _given(tls: TlsSpec) -> Iterator[tuple[str, str]]:
    for key in (*_FILES, "challenges"):
        path = getattr(tls, key)
        if path is not None:
            yield key, path


def _check_files(file: SpecFile, tls: TlsSpec) -> Iterator[Diagnostic]:
    """An uninstall would remove what lies in a folder of the stack; a path with dots may lie anywhere."""
    spec = file.spec
    folders = [getattr(spec.paths, key) or default_folder(key, spec.stack) for key in ROOTS]
    for key, path in _given(tls):
        plain = "/" + posixpath.normpath(path).lstrip("/")
        other = _FILES.get(key, "/var/lib/acme-challenges")
        if path != plain:
            message = f"`{path}` is not written plainly"
            mended = other if key in _FILES and _too_much(PurePosixPath(plain).parent, _secrets(file)) else plain
            yield Diagnostic("E0270", message, file.at(*_TLS, key), helps=(_write(key, mended),))
        elif any(PurePosixPath(path).is_relative_to(folder) for folder in folders):
            message = f"`{key}: {path}` lies in a folder of the stack, which an uninstall removes"
            yield Diagnostic("E0270", message, file.at(*_TLS, key), helps=(_write(key, other),))


def _check_folders(file: SpecFile, tls: TlsSpec) -> Iterator[Diagnostic]:
    """A container is shown the whole folder: of a file alone it would see the old one after a renewal."""
    if not {"compose", "quadlet"} & set(file.spec.targets):
        return
    for key, own in _FILES.items():
        path = getattr(tls, key)
        reason = None if path is None else _too_much(PurePosixPath(path).parent, _secrets(file))
        if reason is not None:
            message = f"a container is shown the folder of `{key}`, and {reason}"
            notes = ("of one file alone it would keep the old one after a renewal",)
            yield Diagnostic("E0270", message, file.at(*_TLS, key), notes, (_write(key, own),))


def _secrets(file: SpecFile) -> list[str]:
    return [path for _, path in file.spec.secrets if path is not None]


def _too_much(folder: PurePosixPath, secrets: list[str]) -> str | None:
    found = next((path for path in secrets if PurePosixPath(path).is_relative_to(folder)), None)
    if found is not None:
        return f"`{found}` lies in it too"
    is_wide = len(folder.parts) <= 2 or str(folder) in ("/etc/ssl", "/etc/pki")  # noqa: PLR2004 (the root and one name)
    return f"{folder} holds what is not the gateway's" if is_wide else None


def _check_domains(file: SpecFile, tls: TlsSpec) -> Iterator[Diagnostic]:
    lowered = dict.fromkeys(domain.lower() for domain in tls.domains)
    good = tuple(domain for domain in lowered if _no_domain(tls, domain, []) is None)
    # certbot has to be told some name.
    left = good or ((EXAMPLE,) if tls.acme is not None else None)
    for index, domain in enumerate(tls.domains):
        reason = _no_domain(tls, domain, tls.domains[:index])
        if reason is not None:
            message = f"`{domain}` is no name by which clients reach a gateway"
            text = f"write `domains: [{', '.join(left)}]`" if left else "remove `domains`"
            helps = (Help(text, (Edit((*_TLS, "domains"), left),)),)
            yield Diagnostic("E0270", message, file.at(*_TLS, "domains", index), (reason,), helps)


def _no_domain(tls: TlsSpec, domain: str, before: list[str]) -> str | None:
    try:
        ipaddress.ip_address(domain.strip("[]"))
    except ValueError:
        pass
    else:
        return "it is an address: a certificate of it is asked for by that address, and needs no entry here"
    reason = not_certified(domain.lower()) if tls.acme is not None else None
    if reason is not None:
        return reason
    if domain.startswith("*."):
        return "nobody asks for a pattern: write the name itself, which a certificate of the pattern is good for"
    if domain in before:
        return "it is named twice"
    return None if _DOMAIN.fullmatch(domain) else "names are letters, digits, dashes and dots, in lower case"


def _check_http_port(file: SpecFile, gateway: GatewaySpec, tls: TlsSpec) -> Iterator[Diagnostic]:
    port = tls.http_port
    if port is None:
        return
    owner = "the encrypted port" if port == gateway.port else taken_ports(file).get(port)
    if owner is not None:
        message = f"`http_port` and {owner} are both {port}"
        # Without it nothing would serve the challenges.
        without = () if tls.challenges is not None else (_remove(_TLS, "http_port"),)
        helps = (_free_http_port(file, gateway), *without)
        yield Diagnostic("E0270", message, file.at(*_TLS, "http_port"), helps=helps)


def _free_http_port(file: SpecFile, gateway: GatewaySpec) -> Help:
    port = free_port(file, 80)
    return _write("http_port", port if port != gateway.port else free_port(file, port + 1))


def _check_challenges(file: SpecFile, tls: TlsSpec) -> Iterator[Diagnostic]:
    if tls.challenges is None:
        return
    where = file.at(*_TLS, "challenges")
    hidden = next((root for root in _HIDDEN if PurePosixPath(tls.challenges).is_relative_to(root)), None)
    reason = f"{hidden} is hidden from the gateway's unit" if hidden else shared_because(tls.challenges)
    if reason is not None:
        message = f"`challenges: {tls.challenges}` is served to everybody, and {reason}"
        yield Diagnostic("E0270", message, where, helps=(_write("challenges", "/var/lib/acme-challenges"),))
    if tls.http_port is None and tls.acme is None:
        message = "`challenges` are served by `http_port`, and there is none"
        notes = ("an ACME server asks at port 80 of the domain",)
        gateway = file.spec.gateway
        helps = (*((_free_http_port(file, gateway),) if gateway is not None else ()), _remove(_TLS, "challenges"))
        yield Diagnostic("E0270", message, where, notes, helps)


def check_teams(file: SpecFile) -> Iterator[Diagnostic]:
    """All rules of teams."""
    gateway = file.spec.gateway
    if gateway is None or gateway.kind != "nginx":
        return
    if gateway.teams and file.spec.secrets.client_keys is None:
        message = "teams are known by their keys, and the stack has no `secrets.client_keys`"
        keys = Help("give them keys", (Edit(("secrets", "client_keys"), "/etc/stackc/client-keys"),))
        yield Diagnostic("E0271", message, file.at_key(*_TEAMS), helps=(keys, _remove(("gateway",), "teams")))
    for name, team in gateway.teams.items():
        yield from _check_limits(file, name, team, is_only=len(gateway.teams) == 1)
        yield from _check_models(file, name, team)


def _check_limits(file: SpecFile, name: str, team: TeamSpec, *, is_only: bool) -> Iterator[Diagnostic]:
    where = (*_TEAMS, name)
    away = _remove(("gateway",), "teams") if is_only else Help(f"remove `{name}`", (Edit(where, None),))
    if team.requests_per_second is None and team.models is None:
        message = f"team `{name}` has no limit: without an entry here its keys work just the same"
        rate = Help("write `requests_per_second: 5`", (Edit((*where, "requests_per_second"), 5),))
        yield Diagnostic("E0271", message, file.at_key(*where), helps=(rate, away))
    elif team.requests_per_second is None and "burst" in team.model_fields_set:
        message = f"`burst` goes beyond a rate, and team `{name}` has no `requests_per_second`"
        yield Diagnostic("E0271", message, file.at(*where, "burst"), helps=(_remove(where, "burst"),))


def _check_models(file: SpecFile, name: str, team: TeamSpec) -> Iterator[Diagnostic]:
    served = _served(file)
    for index, model in enumerate(team.models or ()):
        if model not in served:
            where = (*_TEAMS, name, "models")
            left = tuple(each for each in team.models or () if each in served) or tuple(served[:1])
            message = f"team `{name}` may ask for `{model}`, which no service is served as"
            notes = (f"served names: {', '.join(served)}",)
            helps = (Help(f"write `models: [{', '.join(left)}]`", (Edit(where, left),)),)
            yield Diagnostic("E0271", message, file.at(*where, index), notes, helps)


def _served(file: SpecFile) -> list[str]:
    """All that a request may name: models, and adapters by their own names."""
    found: dict[str, None] = {}
    for name, service in file.spec.services.items():
        if file.spec.candidate_of(name) is None:
            found |= dict.fromkeys((service.served_name or name, *(each.name for each in service.adapters)))
    return list(found)
