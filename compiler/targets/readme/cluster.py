"""What the README says of a cluster."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.plan.ir import GpuNode, Plan
from compiler.plan.kubernetes import Kubernetes
from compiler.targets.readme.page import ClusterPage


def cluster_page(plan: Plan) -> ClusterPage | None:
    """None without that target, and on machines of a server that answers on another one."""
    cluster = plan.kubernetes
    if cluster is None or not plan.answering:
        return None
    return ClusterPage(cluster.namespace, cluster.secret, tuple(_needs(plan, cluster)))


def _needs(plan: Plan, cluster: Kubernetes) -> Iterator[str]:
    if isinstance(plan.node, GpuNode):
        yield from _of_gpus(plan.node, cluster)
    else:
        yield "Kubernetes 1.29 or newer"
    access = f"a volume with `{cluster.storage.access}`"
    yield access if cluster.storage.claim is None else f"the claim `{cluster.storage.claim}` for the models"
    if any(service.group is not None for service in plan.services):
        yield "the LeaderWorkerSet controller, 0.6 or newer"
    if plan.monitoring is not None:
        yield "the Prometheus operator, for `kubernetes/monitoring.yaml`"
    if cluster.route is not None:
        yield "the Gateway API, for the route"
    if cluster.pool is not None:
        yield "the Gateway API Inference Extension, and its endpoint picker"
    yield "a network that enforces policies, or every pod of the cluster reaches the servers"


def _of_gpus(node: GpuNode, cluster: Kubernetes) -> Iterator[str]:
    if cluster.has_claims:
        yield f"Kubernetes 1.34 or newer with NVIDIA's DRA driver, whose device class is `{cluster.device_class}`"
        return
    yield f"Kubernetes 1.29 or newer with NVIDIA's device plugin, which counts `{cluster.gpu_resource}`"
    if cluster.checks_cards:
        off = "`kubernetes: {card_labels: false}` does without"
        yield f"labels of GPU feature discovery, by which pods find a {node.title}; {off}"
