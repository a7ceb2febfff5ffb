"""`gateway/` and the programs beside it: one port for the whole stack, on nginx or on LiteLLM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from compiler.plan.ir import Gateway, Plan
from compiler.render.artifact import EXECUTABLE, Artifact
from compiler.render.environment import read_verbatim, render
from compiler.targets.gateway.litellm import litellm_config
from compiler.targets.gateway.nginx import nginx_config
from compiler.targets.gateway.routes import routing
from compiler.targets.gateway.script import gateway_script
from compiler.targets.library import BIN, emit_program

GATEWAY = PurePosixPath("gateway")


def emit_gateway(plan: Plan, domain: str | None = None) -> tuple[Artifact, ...]:
    """The gateway's configuration and programs; nothing where the plan has no gateway.

    Args:
        domain: below which servers of all nodes have their names, for a gateway in a container; None where they are
            found by their names alone.
    """
    gateway = plan.gateway
    if gateway is None:
        return ()
    if gateway.kind == "litellm":
        return _emit_litellm(plan, gateway, domain)
    return _emit_nginx(plan, gateway, domain)


def _emit_nginx(plan: Plan, gateway: Gateway, domain: str | None) -> tuple[Artifact, ...]:
    script = render("gateway/gateway_nginx.j2", script=gateway_script(plan, gateway, domain))
    return (
        Artifact(GATEWAY / "nginx.conf", render("gateway/nginx.conf.j2", config=nginx_config(plan, gateway))),
        Artifact(GATEWAY / "route.js", read_verbatim("gateway/route.js")),
        Artifact(GATEWAY / "stack.js", render("gateway/stack.js.j2", routing=routing(plan, gateway))),
        Artifact(BIN / "gateway", script, EXECUTABLE),
        *map(emit_program, _programs(plan, gateway)),
    )


def _programs(plan: Plan, gateway: Gateway) -> Iterator[str]:
    """Those that change what the gateway does while it runs."""
    if gateway.rollouts:
        yield "rollout"
    if plan.secrets.client_keys is not None:
        yield "keys"
    if gateway.tls is not None and gateway.tls.acme is not None:
        yield "certificate"


def _emit_litellm(plan: Plan, gateway: Gateway, domain: str | None) -> tuple[Artifact, ...]:
    script = render("gateway/gateway_litellm.j2", script=gateway_script(plan, gateway, domain))
    config = render("gateway/litellm.yaml.j2", config=litellm_config(plan, gateway))
    return (Artifact(GATEWAY / "litellm.yaml", config), Artifact(BIN / "gateway", script, EXECUTABLE))
