"""Rows of what clusters differ in, which only documents for Kubernetes and plan.json show."""

from __future__ import annotations

from typing import Any

from tests.faithfulness.table import Found, Knob
from tests.kubernetes.clusters import group, in_cluster, team
from tests.unit.plan_samples import one_on_two_gpus

SILENT = "the other targets have no cluster"
SERVER, CLAIM, GATEWAY, MONITORS = "coder.yaml", "storage.yaml", "gateway.yaml", "monitoring.yaml"


def _row(name: str, value: object, found: object, file: str, *path: str | int, sample: Any = team) -> Knob:
    """Args: path: below `kubernetes`, where it is not the field itself."""
    record, _, field = name.partition(".")
    where = path or (field,)
    told: Found = {"kubernetes." + ".".join(map(str, where)): value} if isinstance(value, str | int | bool) else {}
    shows = {"plan.json": told, "kubernetes": {f"kubernetes/{file}": found}}
    return Knob(f"{record}.{field}", ("kubernetes", *where), value, shows, SILENT, sample)


OF_CLUSTER = (
    _row("Kubernetes.namespace", "other", "other", SERVER),
    _row("Kubernetes.cluster_domain", "other.example", "general.models.svc.other.example", "programs.yaml"),
    _row("Kubernetes.secret", "other", "other", SERVER),
    _row("Kubernetes.gpu_resource", "example.com/gpu", "example.com/gpu", "big.yaml", sample=lambda: PAIR),
    _row("Kubernetes.has_claims", value=False, found="coder", file=SERVER),
    _row("Kubernetes.device_class", "other.example.com", "other.example.com", SERVER),
    _row("Kubernetes.checks_cards", value=False, found="big", file="big.yaml", sample=lambda: PAIR),
    _row("Kubernetes.node_selector", (("zone", "b"),), "zone", SERVER),
    _row("Kubernetes.topology", "zone", "zone", "reasoning.yaml", sample=lambda: GROUP),
    _row("Kubernetes.runtime_class", "other", "other", SERVER),
    _row("Kubernetes.priority_class", "other", "other", SERVER),
    _row("Kubernetes.pull_secrets", ("other",), "other", SERVER),
    _row("Kubernetes.monitoring_namespace", "other", "other", "network.yaml", sample=lambda: WITHOUT_POOLS),
    _row("Kubernetes.monitoring_labels", (("team", "ml"),), "team", MONITORS),
    _row("Storage.claim", "other", "other", SERVER, "storage", "claim"),
    _row("Storage.storage_class", "other", "other", CLAIM, "storage", "storage_class"),
    _row("Storage.access", "ReadWriteMany", "ReadWriteMany", CLAIM, "storage", "access"),
    _row("Storage.size_bytes", 77 * 2**30, "77Gi", CLAIM, "storage", "size_bytes"),
    _row("Toleration.key", "other", "other", SERVER, "tolerations", 0, "key"),
    _row("Toleration.operator", "Equal", "Equal", SERVER, "tolerations", 0, "operator"),
    _row("Toleration.value", "other", "other", SERVER, "tolerations", 0, "value"),
    _row("Toleration.effect", "NoExecute", "NoExecute", SERVER, "tolerations", 0, "effect"),
    _row("HttpRoute.gateway", "other", "other", GATEWAY, "route", "gateway"),
    _row("HttpRoute.namespace", "other", "other", GATEWAY, "route", "namespace"),
    _row("HttpRoute.hostnames", ("other.example.org",), "other.example.org", GATEWAY, "route", "hostnames"),
    _row("InferencePool.picker", "other", "other", "inference-pools.yaml", "pool", "picker"),
    _row("InferencePool.port", 7777, "7777", "inference-pools.yaml", "pool", "port"),
)
GROUP = group()
WITHOUT_POOLS = in_cluster(team(), pool=None)
PAIR = in_cluster(one_on_two_gpus(), has_claims=False)
