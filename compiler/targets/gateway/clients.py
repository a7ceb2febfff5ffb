"""How clients come to nginx: encryption, and limits of teams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.plan.ir import Gateway, Team

_HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class NginxTls:
    """Encryption as nginx.conf has it.

    Attributes:
        origin: where the encrypted port is, from the one without: nginx's variable of the host, and the port.
        http_port: whether there is a port that sends browsers on.
        hsts: seconds; None says nothing.
        challenges: a folder that `http_port` serves; None for none.
    """

    origin: str
    http_port: bool
    hsts: int | None
    challenges: str | None


@dataclass(frozen=True, slots=True)
class NginxLimit:
    """Requests a second of a group of clients, and the map that says who is in it.

    Attributes:
        key: nginx's variable that is the same for all who share the rate, and empty for those outside.
        default: what the variable is for clients that are not in `names`.
        names: clients, with what the variable is for them.
    """

    key: str
    zone: str
    requests_per_second: int
    burst: int
    default: str
    names: tuple[tuple[str, str], ...]


def nginx_tls(gateway: Gateway) -> NginxTls | None:
    """None where the gateway speaks plain HTTP."""
    tls = gateway.tls
    if tls is None:
        return None
    port = "" if gateway.port == _HTTPS_PORT else f":{gateway.port}"
    return NginxTls(f"https://$host{port}", tls.http_port is not None, tls.hsts, tls.challenges)


def nginx_limits(gateway: Gateway) -> tuple[NginxLimit, ...]:
    """Rates of teams, and that of all other clients where teams have some of their own.

    nginx refuses to reload a zone whose key has another name than before, so that neither depends on the order of
    teams, and the clients' own rate has another zone than without teams.
    """
    limited = tuple(team for team in gateway.teams if team.requests_per_second is not None)
    return (*_others(gateway, limited), *_teams(limited))


def _others(gateway: Gateway, limited: tuple[Team, ...]) -> Iterator[NginxLimit]:
    if gateway.requests_per_second is not None and limited:
        names = tuple((team.name, "") for team in limited)
        rate, burst = gateway.requests_per_second, gateway.burst
        yield NginxLimit("stackc_others", "stackc_others", rate, burst, "$stackc_client", names)


def _teams(limited: tuple[Team, ...]) -> Iterator[NginxLimit]:
    for team in limited:
        if team.requests_per_second is not None:
            # A team's name has no underscore, so that no two are one.
            name = f"stackc_team_{team.name.replace('-', '_')}"
            yield NginxLimit(name, name, team.requests_per_second, team.burst, "", ((team.name, team.name),))
