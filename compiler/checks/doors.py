"""What a stack opens: servers without a key, hosts that media may come from, one file for two secrets."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.hosts import is_loopback
from compiler.spec.media_hosts import not_a_host
from compiler.spec.reading.load import SpecFile

# vLLM asks for the key below these alone (vllm/entrypoints/serve/middleware/authenticate.py, 0.33.0).
_GUARDED = "`/v1`, `/v2`, `/inference` and `/cohere`"
_UNGUARDED = "`/invocations`, which answers prompts as `/v1` does, `/tokenize` and `/metrics`"
_API_KEY, _CLIENT_KEYS = "/etc/stackc/api-key", "/etc/stackc/client-keys"


def check_doors(file: SpecFile) -> Iterator[Diagnostic]:
    """All rules of this module."""
    yield from _check_open_servers(file)
    yield from _check_secret_files(file)
    for name in file.spec.services:
        yield from _check_domains(file, name)
    yield from _check_patches(file)


def _check_open_servers(file: SpecFile) -> Iterator[Diagnostic]:
    """Without a gateway, whoever reaches a server uses it. Behind one, gateway_checks.py says where servers listen."""
    if file.spec.gateway is not None:
        return
    for name, service in file.spec.services.items():
        if is_loopback(service.host):
            continue
        where = ("services", name, "host")
        shut = Help("write `host: 127.0.0.1`", (Edit(where, "127.0.0.1"),))
        if file.spec.secrets.api_key is None:
            yield _open_server(file, name, shut)
        else:
            message = f"without a key too, whoever reaches service `{name}` on {service.host} can use it"
            notes = (f"vLLM asks for the key below {_GUARDED}, and not at {_UNGUARDED}", _GATEWAY_NOTE)
            yield Diagnostic("W0220", message, file.at(*where), notes, (shut,))


_GATEWAY_NOTE = "a `gateway` opens the paths of the API alone, to clients with keys of their own, and hides the rest"


def _open_server(file: SpecFile, name: str, shut: Help) -> Diagnostic:
    host = file.spec.services[name].host
    message = f"service `{name}` on {host} would serve everybody who reaches it"
    path = _free_file(file, _API_KEY)
    key = Help(f"`api_key: {path}` in `secrets` gives the servers a key", (Edit(("secrets", "api_key"), path),))
    notes = (f"a key guards {_GUARDED}; {_UNGUARDED} stay open to whoever reaches the port", _GATEWAY_NOTE)
    return Diagnostic("E0216", message, file.at("services", name, "host"), notes, (key, shut))


_SECRETS = ("hf_token", "api_key", "client_keys")


def _check_secret_files(file: SpecFile) -> Iterator[Diagnostic]:
    """One file for two secrets hands each of them to whoever may see the other."""
    owners: dict[str, str] = {}
    for key in _SECRETS:
        path = getattr(file.spec.secrets, key)
        if path is None:
            continue
        owner = owners.setdefault(_normal(path), key)
        if owner != key:
            free = _free_file(file, f"/etc/stackc/{key.replace('_', '-')}")
            message = f"`{owner}` and `{key}` are one file, {_normal(path)}"
            helps = (Help(f"write `{key}: {free}`", (Edit(("secrets", key), free),)),)
            yield Diagnostic("E0224", message, file.at("secrets", key), (_WHY_TWO[owner, key],), helps)


_WHY_TWO = {
    ("hf_token", "api_key"): "each client of the servers would know the token of the Hub",
    ("hf_token", "client_keys"): "a client of the gateway would know the token of the Hub",
    ("api_key", "client_keys"): "a client of the gateway would know the servers' key, and the file of the one "
    "holds a key, that of the other a list",
}


def _normal(path: str) -> str:
    # A path that begins with two slashes keeps them.
    return posixpath.normpath(path).replace("//", "/", 1)


def _free_file(file: SpecFile, wanted: str) -> str:
    taken = {_normal(path) for key in _SECRETS if (path := getattr(file.spec.secrets, key)) is not None}
    return next(path for path in (wanted, *(f"{wanted}-{number}" for number in range(2, 9))) if path not in taken)


def _check_domains(file: SpecFile, name: str) -> Iterator[Diagnostic]:
    domains = file.spec.services[name].allowed_media_domains
    where = ("services", name, "allowed_media_domains")
    for index, domain in enumerate(domains):
        reason, written = not_a_host(domain), None
        if reason is None and domain in domains[:index]:
            reason = "it is there twice"
        elif reason is not None and not_a_host(domain.lower()) is None:
            written = domain.lower()
        if reason is not None:
            message = f"media cannot come from `{domain}`: {reason}"
            helps = (Help(*_without(where, domains, index, written)),)
            yield Diagnostic("E0223", message, file.at(*where, index), _HOST_NOTES, helps)


_HOST_NOTES = (
    "vLLM compares the host name of a URL with each of these, letter by letter and in lower case; scheme and port are "
    "not compared, and a name does not stand for those below it",
)


def _without(
    where: tuple[str, ...], domains: tuple[str, ...], index: int, written: str | None
) -> tuple[str, tuple[Edit, ...]]:
    """The list without one of its hosts and all that are none, or with one that is written as vLLM reads it."""
    hosts = [written if at == index and written else each for at, each in enumerate(domains)]
    left = tuple(dict.fromkeys(each for each in hosts if not_a_host(each) is None))
    text = f"write `{written}`" if written else f"remove `{domains[index]}`"
    return text, (Edit(where, left or None),)


def _check_patches(file: SpecFile) -> Iterator[Diagnostic]:
    """Addresses that a patch allows win over all that the unit denies."""
    for unit, sections in file.spec.patches.systemd.items():
        where = ("patches", "systemd", unit, "Service", "IPAddressAllow")
        if "IPAddressAllow" in sections.get("Service", {}):
            message = f"the unit of `{unit}` may talk to more than it needs"
            notes = ("what `IPAddressAllow` names wins over what the unit denies, a cloud's metadata included",)
            yield Diagnostic("W0220", message, file.at_key(*where), notes)
