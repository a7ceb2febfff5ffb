"""`gateway.tls` and `gateway.teams`: how clients reach the gateway, and what each group of them may ask of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from compiler.spec.base import AbsolutePath, ServedName, SpecModel

Domain = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:*-]{1,253}$")]
Email = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,190}$")]


class TlsSpec(SpecModel):
    """Encryption between clients and the gateway. Paths are of files on the server, as those of `secrets` are.

    Attributes:
        certificate: in PEM, followed by those of the authorities between it and a root.
        key: of the certificate, in PEM and without a passphrase.
        acme: in place of `certificate` and `key`, a mail address for Let's Encrypt: certbot gets a certificate for
            `domains` and renews it.
        domains: names by which clients reach the gateway; the smoke test looks for them in the certificate.
        http_port: without encryption, to send browsers on to the encrypted port; None for no such port.
        hsts: seconds for which browsers are to ask this host by TLS alone, on all its ports; None says nothing.
        challenges: a folder from which `http_port` serves what an ACME client (certbot, lego) puts there.
    """

    certificate: AbsolutePath | None = None
    key: AbsolutePath | None = None
    acme: Email | None = None
    domains: list[Domain] = Field(default_factory=list, max_length=100)
    http_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    hsts: Annotated[int, Field(ge=1, le=63_072_000)] | None = None
    challenges: AbsolutePath | None = None


class TeamSpec(SpecModel):
    """Limits of those whose keys stand under one name in `secrets.client_keys`.

    Attributes:
        requests_per_second: of all its keys together, instead of the gateway's own; None for no limit of its own.
        burst: requests that may come at once beyond that rate.
        models: served names that it may ask for; None for all.
    """

    requests_per_second: Annotated[int, Field(ge=1, le=100_000)] | None = None
    burst: Annotated[int, Field(ge=0, le=100_000)] = 20
    models: Annotated[list[ServedName], Field(min_length=1, max_length=1000)] | None = None
