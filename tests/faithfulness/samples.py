"""Plans with all that stands around the servers: what the hand-written samples have not, and every target at once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from compiler.engines.interface.launch import AdapterWord, Placeholder
from compiler.pipeline import compile_stack
from compiler.plan.ir import Draft, Embedding, Entrance, HostNeed, ModelFile, Objectives, Plan, ServedAdapter
from tests.conftest import ROOT
from tests.unit.plan_samples import two_on_one_gpu, with_service


@cache
def everything() -> Plan:
    """The shipped stack with a gateway, a canary and monitoring, for every target."""
    compiled, _ = compile_stack(ROOT / "stacks" / "team-96gb.yaml", "team-96gb.yaml")
    assert compiled is not None
    targets = ("scripts", "systemd", "compose", "quadlet")
    return replace(compiled.plan, targets=targets, templates=(("systemd/service.j2", "0" * 64),))


def cluster() -> Plan:
    """A node whose servers a gateway of another one serves."""
    plan = two_on_one_gpu()
    return replace(
        plan,
        node=replace(plan.node, address="10.0.0.12"),
        services=tuple(replace(each, host="10.0.0.12") for each in plan.services),
        entrances=(Entrance("gpu01", "10.0.0.11"),),
    )


def replicated() -> Plan:
    """The first, with a route to two servers, by session."""
    plan = everything()
    assert plan.gateway is not None
    first, second = plan.gateway.routes
    upstreams = (*second.upstreams, replace(second.upstreams[0], service="coder"))
    route = replace(second, upstreams=upstreams, sticky="header")
    return replace(plan, gateway=replace(plan.gateway, routes=(first, route)))


def behind_litellm() -> Plan:
    """The same behind LiteLLM, with no key for clients, without units."""
    plan = everything()
    assert plan.gateway is not None
    gateway = replace(plan.gateway, kind="litellm", host="127.0.0.1", requests_per_second=None)
    return replace(
        plan, gateway=gateway, secrets=replace(plan.secrets, client_keys=None), targets=("scripts", "compose")
    )


def ranking_behind_litellm() -> Plan:
    """The same, and its first server ranks texts."""
    return with_service(behind_litellm(), "coder", task="score")


def with_adapters() -> Plan:
    """A plan whose first server has two adapters, and is told of the first."""
    plan = two_on_one_gpu()
    model = plan.services[0].model
    first, second = (replace(model, repository=f"org/{name}", quantization="none") for name in ("sql", "german"))
    word = AdapterWord(0, '{"name": "sql", "path": "', '"}')
    return with_service(
        plan,
        "coder",
        words=("serve", Placeholder.MODEL, "--lora-modules", word),
        adapters=(ServedAdapter("sql", first, 16, "org/base"), ServedAdapter("german", second, 8, None)),
    )


def with_parts() -> Plan:
    """A plan that lists its files of weights, and whose first server embeds, compiles, drafts and is to be fast."""
    plan = two_on_one_gpu()
    model = replace(plan.services[0].model, files=(ModelFile("model.safetensors", 4096, "0" * 64),))
    return with_service(
        plan,
        "coder",
        model=model,
        embedding=Embedding(768, is_normalized=True),
        host_needs=(HostNeed("c", "x", "A=0"),),
        objectives=Objectives(ttft_p95=2.5, tokens_per_second=30.0),
        draft=Draft("ngram", 3),
    )
