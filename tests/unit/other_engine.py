"""An engine that is not vLLM in anything that a plan says of one, and a stack in which it stands beside vLLM."""

from __future__ import annotations

from dataclasses import replace

from compiler.catalog.metrics import Metric, MetricKind, metric_catalog
from compiler.engines.interface.host import ContainerFacts, HostFacts, Installing, Program, Signal
from compiler.engines.interface.launch import Argument, Placeholder
from compiler.plan.ir import Engine, Plan
from tests.unit.plan_samples import two_on_one_gpu, with_service

HOST = HostFacts(
    name="other",
    title="Other",
    program=Program("other-server", "STACKC_OTHER", "/opt/other/bin/other-server", "other"),
    key_variable="OTHER_API_KEY",
    installing=Installing("an archive", ("curl --fail URL",)),
    guarded="all paths",
    container=ContainerFacts("other:1", "other", "other-cache"),
    cuda=None,
    minimum_driver=None,
    packages=None,
    kernels=(),
    fixed=frozenset({"OTHER_DOOR"}),
    offline=(("OTHER_OFFLINE", "1"),),
    caches=(("OTHER_CACHE", "other"),),
    file_options=("--template-file",),
    client_paths={"chat": ("/v1/chat/completions",)},
    provider="openai",
    ranking_provider="hosted_vllm",
    start=None,
    metrics=metric_catalog(
        "Other", Metric("other:running", MetricKind.GAUGE), Metric("other:waiting", MetricKind.GAUGE)
    ),
    signals={Signal.RUNNING: "other:running", Signal.WAITING: "other:waiting"},
    unmeasured="without --metrics",
)
OTHER = Engine("1.0", "other:1", "/opt/other/bin/other-server", HOST)


def with_another_engine() -> Plan:
    """Both engines are there, and vLLM still serves everything."""
    plan = two_on_one_gpu()
    return replace(plan, engines={**plan.engines, "other": OTHER})


def shared_with_vllm() -> Plan:
    """`coder` on vLLM and `general` on the other, on one GPU."""
    arguments = (Argument("--port", "8002", "spec"), Argument("--template-file", "/srv/general.jinja", "spec"))
    return with_service(
        with_another_engine(),
        "general",
        engine="other",
        words=("-m", Placeholder.MODEL),
        arguments=arguments,
        environment=(("OTHER_DOOR", "0"),),
        figures={"n_gpu_layers": 49},
    )
