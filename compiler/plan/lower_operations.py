"""Spec and servers → gateway, rollouts, monitoring and patches of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from compiler.catalog.images import GATEWAY_IMAGES
from compiler.plan.ir import Service
from compiler.plan.operations import Gateway, Monitoring, Patches, Rollout, Route
from compiler.spec.models import ServiceSpec, Spec
from compiler.spec.rollouts import candidate_name

# An answer that is not streamed comes all at once: after the queue, the prompt and every token of it.
_READ_SECONDS = 600
_SECONDS_PER_TOKEN = 0.1


def lower_gateway(spec: Spec, services: Sequence[Service]) -> Gateway | None:
    """The gateway with a route for each served name; None where the spec has none."""
    gateway = spec.gateway
    if gateway is None:
        return None
    return Gateway(
        kind=gateway.kind,
        host=gateway.host,
        port=gateway.port,
        image=gateway.image or GATEWAY_IMAGES[gateway.kind].reference,
        max_body=gateway.max_body,
        requests_per_second=gateway.requests_per_second,
        burst=gateway.burst,
        connections=2 * sum(service.max_num_seqs for service in services),
        routes=tuple(_routes(spec, services)),
        cors_origins=() if gateway.cors is None else tuple(sorted(gateway.cors.origins)),
    )


def _routes(spec: Spec, services: Sequence[Service]) -> Iterator[Route]:
    for service in services:
        if service.candidate_of is None:
            seconds = _READ_SECONDS + int(_SECONDS_PER_TOKEN * service.max_model_len)
            rollout = _rollout(service.name, spec.services[service.name])
            yield Route(service.served_name, service.name, rollout, seconds)


def _rollout(name: str, service: ServiceSpec) -> Rollout | None:
    rollout = service.rollout
    if rollout is None:
        return None
    weight = 0 if rollout.strategy == "blue-green" else rollout.weight
    return Rollout(
        stable=name,
        candidate=candidate_name(name),
        strategy=rollout.strategy,
        weight=DEFAULT_WEIGHT if weight is None else weight,
        sticky=rollout.sticky,
        header=rollout.header,
    )


DEFAULT_WEIGHT = 10
"""Percent of requests that a canary gets where the spec does not say."""


SERVER_METRICS = (
    "http_requests_total",
    "process_start_time_seconds",
    "vllm:cache_config_info",
    "vllm:e2e_request_latency_seconds_bucket",
    "vllm:generation_tokens_total",
    "vllm:inter_token_latency_seconds_bucket",
    "vllm:iteration_tokens_total_count",
    "vllm:kv_cache_usage_perc",
    "vllm:num_preemptions_total",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:prefix_cache_hits_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prompt_tokens_total",
    "vllm:request_success_total",
    "vllm:time_to_first_token_seconds_bucket",
)
"""All that rules and panels may ask of a server; the smoke test looks for each of them."""


def lower_monitoring(spec: Spec) -> Monitoring | None:
    """The monitoring as the spec has it; None where it has none."""
    monitoring = spec.monitoring
    if monitoring is None:
        return None
    return Monitoring(
        ttft_p95_seconds=monitoring.ttft_p95_seconds,
        inter_token_p95_seconds=monitoring.inter_token_p95_seconds,
        metrics=SERVER_METRICS,
        scrape_seconds=monitoring.scrape_seconds,
        has_grafana=monitoring.grafana,
        grafana_port=monitoring.grafana_port,
        has_dcgm=monitoring.dcgm and spec.has_gpus,
        dcgm_port=monitoring.dcgm_port,
        port=monitoring.port,
    )


def lower_patches(spec: Spec, services: Sequence[Service]) -> Patches:
    """The patches as the spec has them, but for those of services that run on another node."""
    elsewhere = spec.services.keys() - {service.name for service in services}
    compose = dict(spec.patches.compose)
    if "services" in compose:
        compose["services"] = _without(compose["services"], elsewhere)
    return Patches(
        _in_order(_without(spec.patches.systemd, elsewhere)),
        _in_order(compose),
        _in_order(_without(spec.patches.quadlet, elsewhere)),
    )


def _without(patch: Mapping[str, Any], names: AbstractSet[str]) -> dict[str, Any]:
    return {name: value for name, value in patch.items() if name not in names}


def _in_order(value: Any) -> Any:
    """Maps by their keys, so that the same spec written in another order gives the same files; lists as they are."""
    if isinstance(value, Mapping):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value
