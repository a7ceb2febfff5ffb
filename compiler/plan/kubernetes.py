"""The plan's types for a cluster, and how they follow from the spec. Sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.spec.kubernetes import KubernetesSpec, TolerationSpec
from compiler.spec.models import Spec
from compiler.spec.nodes.models import NodeSpec

GPU_RESOURCE = "nvidia.com/gpu"
"""What NVIDIA's device plugin calls a whole GPU; a slice is `nvidia.com/mig-PROFILE` with its strategy `mixed`."""

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Toleration:
    """A taint of nodes that pods put up with.

    Attributes:
        key: of the taint.
        operator: `Exists` for any value of it, `Equal` for one.
        value: for `Equal`.
        effect: which effect of it; None for every one.
    """

    key: str
    operator: str
    value: str | None
    effect: str | None


@dataclass(frozen=True, slots=True)
class Storage:
    """Where models lie.

    Attributes:
        claim: one that exists already; None for one that is made.
        storage_class: of the claim that is made; None for the cluster's default.
        access: `ReadWriteOnce` or `ReadWriteMany`.
        size_bytes: that the spec asks for; None for what the models need.
    """

    claim: str | None
    storage_class: str | None
    access: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """From the cluster's own Gateway to that of the stack.

    Attributes:
        gateway: name of the former.
        namespace: where it is; None for the stack's own.
        hostnames: for which the route is; none for every one.
    """

    gateway: str
    namespace: str | None
    hostnames: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InferencePool:
    """Who chooses among the servers of a model.

    Attributes:
        picker: its Service; `{service}` in it stands for the model's service.
        port: where it listens.
    """

    picker: str
    port: int


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """What is so in the cluster.

    Attributes:
        namespace: of all objects.
        cluster_domain: of the names of Services.
        secret: that holds the keys `api-key`, `client-keys` and `hf-token`.
        gpu_resource: what a pod asks for to get a GPU.
        has_claims: GPUs are claimed by DRA from `device_class`, and servers that share some are one pod.
        checks_cards: whether labels of GPU feature discovery decide on which of the cluster's nodes pods run.
        node_selector: labels of the cluster's nodes on which pods run.
        topology: a label of nodes of which one group has those with one value; None for any nodes.
        runtime_class: of pods with GPUs.
        monitoring_namespace: from which servers may be scraped.
        monitoring_labels: of ServiceMonitors and rules.
    """

    namespace: str
    cluster_domain: str
    secret: str
    storage: Storage
    gpu_resource: str
    has_claims: bool
    device_class: str
    checks_cards: bool
    node_selector: Labels
    tolerations: tuple[Toleration, ...]
    topology: str | None
    runtime_class: str | None
    priority_class: str | None
    pull_secrets: tuple[str, ...]
    monitoring_namespace: str
    monitoring_labels: Labels
    route: HttpRoute | None
    pool: InferencePool | None


def lower_kubernetes(spec: Spec, name: str, node: NodeSpec) -> Kubernetes | None:
    """What the plan of a node says of the cluster; None without that target."""
    if "kubernetes" not in spec.targets:
        return None
    asked = spec.kubernetes or KubernetesSpec()
    return Kubernetes(
        namespace=asked.namespace or spec.stack,
        cluster_domain=asked.cluster_domain,
        secret=asked.secret or spec.stack,
        storage=Storage(asked.storage.claim, asked.storage.storage_class, asked.storage.access, asked.storage.size),
        gpu_resource=asked.gpu_resource or _resource(node),
        has_claims=asked.dra,
        device_class=asked.device_class or _class(node),
        checks_cards=asked.card_labels,
        node_selector=_labels(asked.node_selector | asked.nodes.get(name, {})),
        tolerations=tuple(map(_toleration, asked.tolerations)),
        topology=asked.topology,
        runtime_class=asked.runtime_class,
        priority_class=asked.priority_class,
        pull_secrets=asked.pull_secrets,
        monitoring_namespace=asked.monitoring_namespace,
        monitoring_labels=_labels(asked.monitoring_labels),
        route=_route(asked),
        pool=_pool(asked),
    )


def _resource(node: NodeSpec) -> str:
    profile = None if node.gpus is None else node.gpus.mig
    return GPU_RESOURCE if profile is None else f"nvidia.com/mig-{profile}"


def _class(node: NodeSpec) -> str:
    return "gpu.nvidia.com" if node.gpus is None or node.gpus.mig is None else "mig.nvidia.com"


def _labels(given: dict[str, str]) -> Labels:
    return tuple(sorted(given.items()))


def _toleration(given: TolerationSpec) -> Toleration:
    return Toleration(given.key, given.operator, given.value, given.effect)


def _route(asked: KubernetesSpec) -> HttpRoute | None:
    if asked.route is None:
        return None
    namespace, _, gateway = asked.route.gateway.rpartition("/")
    return HttpRoute(gateway, namespace or None, asked.route.hostnames)


def _pool(asked: KubernetesSpec) -> InferencePool | None:
    pool = asked.inference_pool
    return None if pool is None else InferencePool(pool.picker, pool.port)
