"""Spec → what the plan says of encryption and of teams."""

from __future__ import annotations

from compiler.plan.operations import Team, Tls
from compiler.spec.operations import GatewaySpec

CHALLENGES = "/var/lib/acme-challenges"
"""Where certbot puts its answers, unless the spec says it."""


def lower_tls(stack: str, gateway: GatewaySpec) -> Tls | None:
    """The gateway's encryption; None where the spec has none, or one whose files are not both named."""
    tls = gateway.tls
    if tls is None:
        return None
    if tls.acme is not None:
        # Not certbot's own folder: its files are links out of it, which a container would not see the end of.
        folder, challenges = f"/etc/stackc/tls-{stack}", tls.challenges or CHALLENGES
        pair = f"{folder}/fullchain.pem", f"{folder}/privkey.pem"
        return Tls(*pair, tuple(tls.domains), tls.http_port, tls.hsts, challenges, tls.acme)
    if tls.certificate is None or tls.key is None:
        return None
    return Tls(tls.certificate, tls.key, tuple(tls.domains), tls.http_port, tls.hsts, tls.challenges)


def lower_teams(gateway: GatewaySpec) -> tuple[Team, ...]:
    """Teams by name, so that the order in the spec changes no file."""
    return tuple(
        Team(name, team.requests_per_second, team.burst, tuple(sorted(set(team.models or ()))))
        for name, team in sorted(gateway.teams.items())
    )
