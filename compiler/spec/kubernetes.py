"""What clusters differ in, for the target `kubernetes`. Everything else of its documents follows from the plan."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compiler.spec.base import Bytes, Name, SpecModel
from compiler.spec.forms import coined, form

# As Kubernetes checks them (k8s.io/apimachinery/pkg/util/validation).
LabelName = Annotated[
    str,
    coined(
        r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        "lower-case letters, digits and `-`, no sign at the ends, at most 63 of them",
    ),
]
ObjectName = Annotated[
    str, form(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", "lower-case letters, digits, `-` and `.`, no sign at the ends")
]
LabelKey = Annotated[
    str,
    form(
        r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
        "a label's key as Kubernetes takes it: letters, digits and any of `._-`, `PREFIX/` before it",
    ),
]
LabelValue = Annotated[
    str,
    form(
        r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$",
        "letters, digits and any of `._-`, no sign at the ends, at most 63 of them",
    ),
]
Host = Annotated[
    str, form(r"^(\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", "a name of a host in lower case, or `*.` before one")
]
Labels = dict[LabelKey, LabelValue]


class TolerationSpec(SpecModel):
    """A taint of nodes that pods put up with.

    Attributes:
        key: of the taint.
        operator: whether the taint's value must be `value`, or may be any.
        value: for `operator: Equal`.
        effect: which effect of it; every one by default.
    """

    key: LabelKey
    operator: Literal["Exists", "Equal"] = "Exists"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class StorageSpec(SpecModel):
    """Where models lie.

    Attributes:
        claim: an existing claim, instead of one that is made.
        storage_class: of the claim that is made; the cluster's default by default.
        access: `ReadWriteOnce` for pods of one node; of several `ReadWriteMany`.
        size: of the claim that is made; a tenth more than the models by default.
    """

    claim: ObjectName | None = None
    storage_class: ObjectName | None = None
    access: Literal["ReadWriteOnce", "ReadWriteMany"] = "ReadWriteOnce"
    size: Bytes | None = None


class HttpRouteSpec(SpecModel):
    """An HTTPRoute of the cluster's own Gateway to the stack's gateway.

    Attributes:
        gateway: the Gateway's name, or its namespace and name as `NAMESPACE/NAME`.
        hostnames: for which it is; every one by default.
    """

    gateway: Annotated[
        str,
        form(
            r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
            "a Gateway's name, or `NAMESPACE/NAME`, of lower-case letters, digits and `-`",
        ),
    ]
    hostnames: tuple[Host, ...] = Field(default=(), strict=False, max_length=16)


class InferencePoolSpec(SpecModel):
    """A pool of each model's servers, among which an endpoint picker that is already there chooses.

    Attributes:
        picker: the Service of the endpoint picker; `{service}` stands for the model's service.
        port: where it listens.
    """

    picker: Annotated[
        str, form(r"^[a-z0-9{][a-z0-9{}.-]{0,251}$", "a name of a Service, in which `{service}` may stand")
    ]
    port: Annotated[int, Field(ge=1, le=65535)] = 9002


class KubernetesSpec(SpecModel):
    """What clusters differ in.

    Attributes:
        namespace: of all objects; by default the stack's name.
        cluster_domain: of the names of Services, by which a gateway finds servers.
        secret: the Secret with the keys `api-key`, `client-keys` and `hf-token`; by default the stack's name.
        storage: where models lie.
        gpu_resource: what a pod asks for to get a GPU; with `mig` the profile's own by default.
        dra: GPUs are claimed by DRA, and servers that share some are one pod, which needs Kubernetes 1.34 and a driver.
        device_class: of the claims; `gpu.nvidia.com`, or `mig.nvidia.com`, by default.
        card_labels: whether pods run only where GPU feature discovery has found a card of the planned compute
            capability and memory; without it, keep others away by `node_selector`.
        node_selector: labels of the cluster's nodes on which pods may run.
        nodes: further labels for what the plan has on one of the stack's nodes, by that node's name.
        tolerations: taints that pods put up with.
        topology: a label that the cluster's nodes of one place have alike, such as `topology.kubernetes.io/zone`: a
            server over several machines has all of them in one such place, and no two servers share one.
        runtime_class: of pods with GPUs, such as `nvidia`; the cluster's default by default.
        priority_class: of the servers' pods.
        pull_secrets: with which images are pulled.
        monitoring_namespace: from which servers may be scraped, with `monitoring`.
        monitoring_labels: by which the cluster's Prometheus finds its ServiceMonitors and rules.
        route: an HTTPRoute to the gateway; None for none.
        inference_pool: an InferencePool for each model; None for none.
    """

    namespace: LabelName | None = None
    cluster_domain: ObjectName = "cluster.local"
    secret: ObjectName | None = None
    storage: StorageSpec = StorageSpec()
    gpu_resource: LabelKey | None = None
    dra: bool = False
    device_class: ObjectName | None = None
    card_labels: bool = True
    node_selector: Labels = Field(default_factory=dict, max_length=32)
    nodes: dict[Name, Labels] = Field(default_factory=dict)
    tolerations: tuple[TolerationSpec, ...] = Field(default=(), strict=False, max_length=32)
    topology: LabelKey | None = None
    runtime_class: ObjectName | None = None
    priority_class: ObjectName | None = None
    pull_secrets: tuple[ObjectName, ...] = Field(default=(), strict=False, max_length=8)
    monitoring_namespace: LabelName = "monitoring"
    monitoring_labels: Labels = Field(default_factory=dict, max_length=32)
    route: HttpRouteSpec | None = None
    inference_pool: InferencePoolSpec | None = None
