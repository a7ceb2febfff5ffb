"""Plans with all that stands around the servers: what the hand-written samples have not, and every target at once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from compiler.pipeline import compile_stack
from compiler.plan.ir import Embedding, HostNeed, ModelFile, Plan
from tests.conftest import ROOT
from tests.unit.plan_samples import two_on_one_gpu, with_service


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


def with_parts() -> Plan:
    """A plan that lists its files of weights, and whose first server makes embeddings and compiles."""
    plan = two_on_one_gpu()
    model = replace(plan.services[0].model, files=(ModelFile("model.safetensors", 4096, "0" * 64),))
    return with_service(
        plan,
        "coder",
        model=model,
        embedding=Embedding(768, is_normalized=True),
        host_needs=(HostNeed("c", "x", "A=0"),),
    )
