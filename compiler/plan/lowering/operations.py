"""Spec and servers → monitoring and patches of the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from compiler.engines.interface.host import HostFacts
from compiler.plan.ir import Service
from compiler.plan.operations import Monitoring, Patches, Slurm
from compiler.spec.models import Spec


def server_metrics(hosts: Iterable[HostFacts]) -> tuple[str, ...]:
    """All that rules and panels may ask of the servers of these engines; the smoke test looks for each of them."""
    return tuple(sorted({series for host in hosts for series in host.signals.values()}))


def lower_monitoring(spec: Spec, hosts: Iterable[HostFacts]) -> Monitoring | None:
    """The monitoring as the spec has it; None where it has none."""
    monitoring = spec.monitoring
    if monitoring is None:
        return None
    return Monitoring(
        ttft_p95_seconds=monitoring.ttft_p95_seconds,
        inter_token_p95_seconds=monitoring.inter_token_p95_seconds,
        metrics=server_metrics(hosts),
        scrape_seconds=monitoring.scrape_seconds,
        has_grafana=monitoring.grafana,
        grafana_port=monitoring.grafana_port,
        has_dcgm=monitoring.dcgm and spec.has_gpus,
        dcgm_port=monitoring.dcgm_port,
        port=monitoring.port,
    )


def lower_patches(spec: Spec, services: Sequence[Service]) -> Patches:
    """The patches as the spec has them, but for those of services that run on another node; of all their replicas."""
    elsewhere = spec.services.keys() - {service.name for service in services}
    compose = dict(spec.patches.compose)
    if "services" in compose:
        compose["services"] = _here(compose["services"], services, elsewhere)
    return Patches(
        _in_order(_here(spec.patches.systemd, services, elsewhere)),
        _in_order(compose),
        _in_order(_here(spec.patches.quadlet, services, elsewhere)),
    )


def _here(patch: Mapping[str, Any], services: Sequence[Service], elsewhere: AbstractSet[str]) -> dict[str, Any]:
    of_replicas = {each.name: patch[each.of] for each in services if each.replica_of in patch}
    return {name: value for name, value in patch.items() if name not in elsewhere} | of_replicas


def _in_order(value: Any) -> Any:
    """Maps by their keys, so that the same spec written in another order gives the same files; lists as they are."""
    if isinstance(value, Mapping):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def lower_slurm(spec: Spec) -> Slurm | None:
    """What jobs ask for; on CPUs, or of a partition that counts no GPUs, none of these."""
    asked = spec.slurm
    if asked is None or "slurm" not in spec.targets:
        return None
    gres = None if asked.gres == "none" or not spec.has_gpus else asked.gres or "gpu"
    return Slurm(asked.partition, asked.account, asked.qos, asked.time, gres, asked.constraint)
