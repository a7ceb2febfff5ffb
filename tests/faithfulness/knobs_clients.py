"""Rows of how clients come to the gateway: encryption and teams."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from compiler.plan.ir import Plan, Team, Tls
from tests.faithfulness.knobs_around import CONTAINER, NGINX, SCRIPT, STACK, UNIT
from tests.faithfulness.samples import everything
from tests.faithfulness.table import around

RELOAD, WATCH = "team-96gb-gateway-reload.service", "team-96gb-gateway-reload.path"
TLS, TEAM = ("gateway", "tls"), ("gateway", "teams", 0)


@cache
def secure() -> Plan:
    """The same stack with TLS, and a team with all its limits."""
    plan = everything()
    assert plan.gateway is not None
    tls = Tls("/etc/stackc/tls/a.pem", "/etc/stackc/tls/b.pem", ("llm.example.org",), 8081, 60, "/var/lib/acme/one")
    teams = (Team("research", 5, 7, ("general",)),)
    return replace(plan, gateway=replace(plan.gateway, tls=tls, teams=teams))


OF_CLIENTS = (
    around("Tls.certificate", (*TLS, "certificate"), "/etc/x/c.pem", {
        "plan.json": {"gateway.tls.certificate": "/etc/x/c.pem"},
        "systemd": {
            f"{UNIT} Service LoadCredential": "tls-certificate:/etc/x/c.pem",
            f"{RELOAD} Service LoadCredential": "tls-certificate:/etc/x/c.pem",
            f"{WATCH} Path PathChanged": "/etc/x/c.pem",
        },
        "compose": {}, "quadlet": {CONTAINER: "/etc/x:/etc/x:ro"}, "bin/gateway": {SCRIPT: "/etc/x/c.pem"},
    }, secure),
    around("Tls.key", (*TLS, "key"), "/etc/x/k.pem", {
        "plan.json": {"gateway.tls.key": "/etc/x/k.pem"},
        "systemd": {
            f"{UNIT} Service LoadCredential": "tls-key:/etc/x/k.pem",
            f"{WATCH} Path PathChanged": "/etc/x/k.pem",
        },
        "compose": {}, "quadlet": {CONTAINER: "/etc/x:/etc/x:ro"}, "bin/gateway": {SCRIPT: "/etc/x/k.pem"},
    }, secure),
    around("Tls.domains", (*TLS, "domains"), ("b.example.org",), {
        "plan.json": {"gateway.tls.domains": ["b.example.org"]},
    }, secure),
    around("Tls.http_port", (*TLS, "http_port"), 8082, {
        "plan.json": {"gateway.tls.http_port": 8082}, "compose": {"services.gateway.ports.1.target": 8082},
        "quadlet": {CONTAINER: "0.0.0.0:8082:8082"}, "bin/gateway": {SCRIPT: "8082"},
    }, secure),
    around("Tls.hsts", (*TLS, "hsts"), 77, {
        "plan.json": {"gateway.tls.hsts": 77}, "gateway": {NGINX: "77"},
    }, secure),
    around("Tls.challenges", (*TLS, "challenges"), "/srv/acme", {
        "plan.json": {"gateway.tls.challenges": "/srv/acme"}, "gateway": {NGINX: "/srv/acme"},
        "compose": {}, "quadlet": {CONTAINER: "/srv/acme:/srv/acme:ro"},
    }, secure),
    around("Tls.acme", (*TLS, "acme"), "ops@example.org", {
        "plan.json": {"gateway.tls.acme": "ops@example.org"},
    }, secure),
    around("Team.name", (*TEAM, "name"), "x", {
        "plan.json": {"gateway.teams.0.name": "x"}, "gateway": {NGINX: "stackc_team_x", STACK: "x"},
    }, secure),
    around("Team.requests_per_second", (*TEAM, "requests_per_second"), 77, {
        "plan.json": {"gateway.teams.0.requests_per_second": 77}, "gateway": {NGINX: "77r/s"},
    }, secure),
    around("Team.burst", (*TEAM, "burst"), 77, {
        "plan.json": {"gateway.teams.0.burst": 77}, "gateway": {NGINX: "77"},
    }, secure),
    around("Team.models", (*TEAM, "models"), ("coder",), {
        "plan.json": {"gateway.teams.0.models": ["coder"]}, "gateway": {STACK: "coder"},
    }, secure),
)  # fmt: skip
