"""Rules of `gateway.tls.acme`: what an authority would not certify, or could not look at."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.checks.entry.entrance import listening_everywhere
from compiler.checks.entry.gateway import taken_ports
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.hosts import is_loopback
from compiler.spec.operations import GatewaySpec
from compiler.spec.reading.load import SpecFile
from compiler.spec.tls import TlsSpec

_TLS = ("gateway", "tls")
EXAMPLE = "llm.example.org"
_HTTP, _HTTPS = 80, 443
# Of RFC 6761, 6762, 7686, 8375 and 9476, and what ICANN keeps for private use: no name below them is anybody's.
_NOBODY_S = ("alt", "home.arpa", "internal", "invalid", "local", "localhost", "onion", "test")


def check_acme(file: SpecFile, gateway: GatewaySpec, tls: TlsSpec) -> Iterator[Diagnostic]:
    """All rules of a certificate that certbot gets. Patterns and addresses among `domains` are refused of every one."""
    yield from _check_pair(file, tls)
    yield from _check_named(file, tls)
    yield from _check_reached(file, gateway)
    yield from _check_port(file, gateway, tls)
    if len(gateway.node or ()) > 1:
        message = "with `acme` one gateway proves that the domain is its own, and this stack has two"
        notes = ("the authority asks one of the two, which may be the one that did not begin it",)
        pair = (Edit((*_TLS, "acme"), None), *_own_pair())
        text = "bring the certificate yourself, to both: `certificate` and `key` in place of `acme`"
        yield Diagnostic("E0270", message, file.at(*_TLS, "acme"), notes, (Help(text, pair),))


def _own_pair() -> tuple[Edit, ...]:
    files = {"certificate": "/etc/stackc/tls/certificate.pem", "key": "/etc/stackc/tls/key.pem"}
    return tuple(Edit((*_TLS, key), path) for key, path in files.items())


def _check_pair(file: SpecFile, tls: TlsSpec) -> Iterator[Diagnostic]:
    given = tuple(key for key in ("certificate", "key") if getattr(tls, key) is not None)
    if given:
        message = f"`acme` brings the certificate and its key, and `{given[0]}` names another"
        away = Help(
            "remove " + " and ".join(f"`{key}`" for key in given), tuple(Edit((*_TLS, key), None) for key in given)
        )
        both = (Help("remove `acme`", (Edit((*_TLS, "acme"), None),)),) if len(given) > 1 else ()
        yield Diagnostic("E0270", message, file.at(*_TLS, given[0]), helps=(away, *both))


def _check_named(file: SpecFile, tls: TlsSpec) -> Iterator[Diagnostic]:
    if not tls.domains:
        message = "`acme` is about names, and `domains` has none"
        helps = (
            Help(f"name the gateway as clients do: `domains: [{EXAMPLE}]`", (Edit((*_TLS, "domains"), (EXAMPLE,)),)),
        )
        yield Diagnostic("E0270", message, file.at(*_TLS, "acme"), helps=helps)


def not_certified(domain: str) -> str | None:
    """Why no authority would, asked as certbot is told to ask it; None where one may."""
    if domain.startswith("*."):
        return "an authority certifies a pattern by a record in DNS alone, which certbot is not told to write"
    if "." not in domain or any(domain.endswith(f".{each}") for each in _NOBODY_S):
        return "no public authority certifies it: nobody owns that name"
    return None


def _check_reached(file: SpecFile, gateway: GatewaySpec) -> Iterator[Diagnostic]:
    if is_loopback(gateway.host):
        message = f"with `acme` the authority asks from outside, and the gateway listens at {gateway.host} alone"
        where = ("host",) if "host" in gateway.model_fields_set else ("tls", "acme")
        yield Diagnostic("E0270", message, file.at("gateway", *where), helps=(listening_everywhere(),))


def _check_port(file: SpecFile, gateway: GatewaySpec, tls: TlsSpec) -> Iterator[Diagnostic]:
    if tls.http_port == _HTTP:
        return
    said = "there is no `http_port`" if tls.http_port is None else f"`http_port` is {tls.http_port}"
    message = f"with `acme` the authority asks at port {_HTTP} of each domain, and {said}"
    edits, text = [Edit((*_TLS, "http_port"), _HTTP)], f"write `http_port: {_HTTP}`"
    if gateway.port == _HTTP:
        edits.append(Edit(("gateway", "port"), _HTTPS))
        text += f" and `port: {_HTTPS}`"
    where = "acme" if tls.http_port is None else "http_port"
    helps = () if _HTTP in taken_ports(file) else (Help(text, tuple(edits)),)
    yield Diagnostic("E0270", message, file.at(*_TLS, where), helps=helps)
