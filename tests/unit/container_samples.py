"""Plans with what only containers make interesting: a gateway, monitoring, slices, files of the host, patches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from compiler.plan.ir import Argument, Gateway, GpuNode, Monitoring, Patches, Plan, Rollout, Route, Secrets
from tests.unit.gguf_samples import alone_on_cpu, beside_vllm
from tests.unit.plan_samples import UUIDS, one_on_cpu, one_on_two_gpus, two_on_one_gpu, with_service


def behind_gateway(kind: str = "nginx") -> Plan:
    """Two servers of one GPU behind a gateway that every address reaches, with keys, monitoring and a rollout."""
    plan = two_on_one_gpu()
    rollout = Rollout("coder", "general", "canary", 10, "none", "X-Session-Id")
    image = {"nginx": "nginx:1.28.0", "litellm": "ghcr.io/berriai/litellm:v1.80.0-stable"}[kind]
    gateway = Gateway(kind, "0.0.0.0", 8080, image, 2**25, None, 20, 64, (Route("coder", "coder", rollout, 600),))
    return replace(
        plan,
        gateway=gateway,
        monitoring=Monitoring(5.0, 0.1, (), 15, True, 3001, True, 9401, 9091),
        secrets=Secrets("/etc/stackc/hf-token", "/etc/stackc/api-key", "/etc/stackc/client-keys"),
    )


def monitored_slices() -> Plan:
    """A server on a MIG slice, with monitoring and no gateway."""
    plan = two_on_one_gpu()
    node = GpuNode("gpu03", "NVIDIA H100 80GB HBM3", 1, 39 * 2**30, (9, 0), ("MIG-" + UUIDS[0][4:],), "3g.40gb")
    return replace(plan, node=node, monitoring=Monitoring(5.0, 0.1, (), 15, False, 3000, True, 9400, 9090))


def with_files() -> Plan:
    """A server whose options name files of the host."""
    plan = one_on_two_gpus()
    named = (
        Argument("--chat-template", "/srv/templates/big.jinja", "engine_args"),
        Argument("--allowed-local-media-path", "/srv/images", "engine_args"),
    )
    return with_service(plan, "big", arguments=plan.service("big").arguments + named)


def patched(plan: Plan, **patches: Any) -> Plan:
    """The plan with patches."""
    return replace(plan, patches=Patches(**patches))


def every_plan() -> list[Plan]:
    """One of each kind."""
    plans = [
        two_on_one_gpu(),
        one_on_two_gpus(),
        one_on_cpu(),
        behind_gateway(),
        replace(behind_gateway("litellm"), monitoring=None),
        monitored_slices(),
        with_files(),
        beside_vllm(),
        alone_on_cpu(),
    ]
    return [replace(plan, stack=f"{plan.stack}{index}") for index, plan in enumerate(plans)]
