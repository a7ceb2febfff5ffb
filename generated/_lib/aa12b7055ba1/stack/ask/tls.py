"""Encryption between this program and the gateway: whom it trusts, and how long the certificate is good for.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from typing import NamedTuple

from stack import JsonObject, StackError, Warned

# Let's Encrypt's certificates are good for 90 days and renewed 30 before their end; shorter ones at a third of theirs.
WARN_DAYS = 14.0
_DAY = 86_400.0
_CONNECT_SECONDS = 5.0
# Of OpenSSL, whose name Python has from 3.10 on: a certificate that is trusted needs no authority that is.
_PARTIAL_CHAIN = 0x80000


class Encryption(NamedTuple):
    """How the gateway is asked. `name` must stand in its certificate; None where the plan has none."""

    context: ssl.SSLContext
    name: str | None

    def wrap(self, plain: socket.socket) -> ssl.SSLSocket:
        """The connection, encrypted. Raises OSError where it cannot be, or with another than the gateway."""
        return self.context.wrap_socket(plain, server_hostname=self.name)


def encryption_of(gateway: JsonObject) -> Encryption | None:
    """As the plan has it; None for plain HTTP. The planned certificate is trusted beside the system's authorities."""
    tls = gateway.get("tls")
    if tls is None:
        return None
    name = tls["domains"][0] if tls["domains"] else None
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    try:
        context.load_verify_locations(cadata=Path(tls["certificate"]).read_text("ascii"))
        context.verify_flags |= _PARTIAL_CHAIN
    except (OSError, ValueError):
        # It may be closed to this user; then an authority of the system must know it.
        pass
    return Encryption(context, name)


def check_certificate(host: str, port: int, encryption: Encryption, domains: list[str], exit_code: int) -> str:
    """The certificate that is served is trusted, for every domain, and for long enough."""
    days = [_days_left(host, port, encryption._replace(name=name), exit_code) for name in domains or [encryption.name]]
    left = min(days)
    names = ", ".join(domains) or "no name that the plan has"
    said = f"good for {names}, and for {left:.0f} days"
    if left < WARN_DAYS:
        raise Warned(f"{said}: renew it, or look why nothing did")
    return said


def _days_left(host: str, port: int, encryption: Encryption, exit_code: int) -> float:
    try:
        with (
            socket.create_connection((host, port), timeout=_CONNECT_SECONDS) as plain,
            encryption.wrap(plain) as secure,
        ):
            found = secure.getpeercert()
    except OSError as error:
        name = f" as {encryption.name}" if encryption.name else ""
        raise StackError(exit_code, f"{host}:{port}{name}: {error}") from error
    end = str((found or {})["notAfter"])
    return (ssl.cert_time_to_seconds(end) - time.time()) / _DAY
