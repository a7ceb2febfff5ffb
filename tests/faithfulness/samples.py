"""Plans that together use every field of the plan: what the other samples have not, and all of it at once."""

from __future__ import annotations

from dataclasses import replace

from compiler.plan.ir import Gateway, Monitoring, Plan, Rollout, Route, Secrets
from tests.unit.plan_samples import two_on_one_gpu, with_service


def everything() -> Plan:
    """A gateway with a canary, monitoring, and every target; the second server is the candidate of the first."""
    plan = with_service(two_on_one_gpu(), "general", candidate_of="coder", served_name="coder")
    rollout = Rollout("coder", "general", "canary", 10, "header", "X-Session-Id")
    return replace(
        plan,
        stack="all",
        secrets=Secrets("/etc/stackc/hf-token", "/etc/stackc/api-key", "/etc/stackc/client-keys"),
        targets=("scripts", "systemd", "compose", "quadlet"),
        gateway=Gateway(
            kind="nginx",
            host="0.0.0.0",
            port=8080,
            image="nginx:1.28.0",
            max_body=32 << 20,
            requests_per_second=20,
            burst=40,
            connections=64,
            routes=(Route("coder", "coder", rollout, 2200),),
        ),
        monitoring=Monitoring(5.0, 15, has_grafana=True, grafana_port=3000, has_dcgm=True, dcgm_port=9400, port=9090),
        templates=(("systemd/service.j2", "0" * 64),),
    )


def behind_litellm() -> Plan:
    """The same behind LiteLLM, with no key for clients, in containers alone."""
    plan = everything()
    assert plan.gateway is not None
    gateway = replace(plan.gateway, kind="litellm", host="127.0.0.1", requests_per_second=None)
    return replace(
        plan, gateway=gateway, secrets=replace(plan.secrets, client_keys=None), targets=("scripts", "compose")
    )
