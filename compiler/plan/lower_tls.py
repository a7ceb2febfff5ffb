"""Spec → what the plan says of encryption and of teams."""

from __future__ import annotations

from compiler.plan.operations import Team, Tls
from compiler.spec.operations import GatewaySpec


def lower_tls(gateway: GatewaySpec) -> Tls | None:
    """The gateway's encryption; None where the spec has none, or one whose files are not both named."""
    tls = gateway.tls
    if tls is None or tls.certificate is None or tls.key is None:
        return None
    return Tls(tls.certificate, tls.key, tuple(tls.domains), tls.http_port, tls.hsts, tls.challenges)


def lower_teams(gateway: GatewaySpec) -> tuple[Team, ...]:
    """Teams by name, so that the order in the spec changes no file."""
    return tuple(
        Team(name, team.requests_per_second, team.burst, tuple(sorted(set(team.models or ()))))
        for name, team in sorted(gateway.teams.items())
    )
