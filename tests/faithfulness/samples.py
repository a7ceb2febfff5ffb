"""Plans with all that stands around the servers: what the hand-written samples have not, and every target at once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan
from tests.conftest import ROOT


@cache
def everything() -> Plan:
    """The shipped stack with a gateway, a canary and monitoring, for every target."""
    compiled, _ = compile_stack(ROOT / "stacks" / "team-96gb.yaml", "team-96gb.yaml")
    assert compiled is not None
    targets = ("scripts", "systemd", "compose", "quadlet")
    return replace(compiled.plan, targets=targets, templates=(("systemd/service.j2", "0" * 64),))


def behind_litellm() -> Plan:
    """The same behind LiteLLM, with no key for clients, without units."""
    plan = everything()
    assert plan.gateway is not None
    gateway = replace(plan.gateway, kind="litellm", host="127.0.0.1", requests_per_second=None)
    return replace(
        plan, gateway=gateway, secrets=replace(plan.secrets, client_keys=None), targets=("scripts", "compose")
    )
