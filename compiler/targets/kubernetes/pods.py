"""Which servers are one pod, and the pod: those that share GPUs claim them together and start one after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from compiler.plan.ir import GpuNode, Plan, ServedModel, Service
from compiler.targets.containers import TREE, prefetch_container
from compiler.targets.kubernetes.documents import SERVER, Document, cluster, labels, own_name, present
from compiler.targets.kubernetes.programs import TREE_MOUNT, tree_volume
from compiler.targets.kubernetes.servers import (
    GROUP,
    HF_HOME,
    LINKS_MOUNT,
    USER,
    grace_seconds,
    links,
    repository_folder,
    server_container,
    server_volumes,
)
from compiler.units import MIB

CLAIM = "gpu"

_FREE = 1024
_DRIVER = "gpu.nvidia.com"
_HOST = "kubernetes.io/hostname"
# Of GPU feature discovery (docs/gpu-feature-discovery/README.md of NVIDIA/k8s-device-plugin); the memory is in MiB.
_CARD_MEMORY = "nvidia.com/gpu.memory"
_CARD_CAPABILITY = ("nvidia.com/gpu.compute.major", "nvidia.com/gpu.compute.minor")

SEALED: Document = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
"""Of containers that write into their volumes alone."""

SCRATCH_MOUNT: Document = {"name": "scratch", "mountPath": "/tmp"}  # noqa: S108


@dataclass(frozen=True, slots=True)
class Pod:
    """Servers that run together, in start order. `devices` of the node, ascending; empty without GPUs."""

    services: tuple[Service, ...]
    devices: tuple[int, ...]

    @property
    def name(self) -> str:
        """That of its first server."""
        return self.services[0].name

    @property
    def shares(self) -> bool:
        """Whether several servers use its GPUs."""
        return len(self.services) > 1


def pods(plan: Plan) -> tuple[Pod, ...]:
    """Every server of the plan, in start order of the first of each pod."""
    found: list[list[Service]] = []
    for service in plan.services:
        beside = [pod for pod in found if _share(plan, service, pod)]
        merged = [each for pod in beside for each in pod]
        found = [pod for pod in found if pod not in beside]
        found.append([*merged, service])
    order = {service.name: index for index, service in enumerate(plan.services)}
    in_order = (sorted(pod, key=lambda each: order[each.name]) for pod in found)
    return tuple(sorted((_pod(plan, pod) for pod in in_order), key=lambda pod: order[pod.name]))


def _share(plan: Plan, service: Service, pod: Iterable[Service]) -> bool:
    return any(set(_devices(plan, service)) & set(_devices(plan, each)) for each in pod)


def _devices(plan: Plan, service: Service) -> tuple[int, ...]:
    return service.devices if isinstance(plan.node, GpuNode) and service.uses_gpus else ()


def _pod(plan: Plan, services: Sequence[Service]) -> Pod:
    devices = sorted({device for service in services for device in _devices(plan, service)})
    return Pod(tuple(services), tuple(devices))


def pod_template(plan: Plan, pod: Pod) -> Document:
    """A pod of one server, or of several of which each starts when the one before is ready.

    These are native sidecars, which Kubernetes has from 1.29 on
    (kubernetes.io/docs/concepts/workloads/pods/sidecar-containers).
    """
    own = cluster(plan)
    *first, last = (server_container(plan, each, _visible(pod, each)) for each in pod.services)
    marks = {
        f"{word}.stackc/{name}": "true"
        for each in pod.services
        for word, name in (("server", each.name), ("service", each.of))
    }
    spec = {
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        # A sidecar is told to stop when the containers after it have ended.
        "terminationGracePeriodSeconds": sum(map(grace_seconds, pod.services)),
        "securityContext": security_context(USER, *(each.port for each in pod.services)),
        **placement(plan),
        "affinity": affinity(plan, pod.devices),
        "runtimeClassName": own.runtime_class if pod.devices else None,
        "priorityClassName": own.priority_class,
        "resourceClaims": [{"name": CLAIM, "resourceClaimTemplateName": own_name(plan, pod.name)}]
        if claims(plan, pod)
        else None,
        "initContainers": [_waiting(plan, pod), *({**each, "restartPolicy": "Always"} for each in first)],
        "containers": [last],
        "volumes": list(_volumes(plan, pod)),
    }
    return {"metadata": {"labels": {**labels(plan, SERVER, pod=pod.name), **marks}}, "spec": present(spec)}


def security_context(user: int, *ports: int) -> Document:
    """Of a pod: nobody's own user, and files of volumes for its group.

    Args:
        ports: that it listens on; those that only root may take it takes by a setting that every cluster allows.
    """
    low = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}] if min(ports, default=_FREE) < _FREE else []
    return {
        **({"sysctls": low} if low else {}),
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": GROUP,
        "fsGroup": GROUP,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def placement(plan: Plan) -> Document:
    """On which of the cluster's nodes pods may run, and with which secrets their images are pulled."""
    own = cluster(plan)
    return present(
        {
            "nodeSelector": dict(own.node_selector),
            "tolerations": [
                present({"key": each.key, "operator": each.operator, "value": each.value, "effect": each.effect})
                for each in own.tolerations
            ],
            "imagePullSecrets": [{"name": name} for name in own.pull_secrets],
        }
    )


def claims(plan: Plan, pod: Pod) -> bool:
    """Whether its GPUs are claimed: all of a stack's or none.

    A machine on which one driver counts the GPUs and another gives them away by claims gives one of them twice.
    """
    return cluster(plan).has_claims and bool(pod.devices)


def affinity(plan: Plan, devices: tuple[int, ...]) -> Document:
    """On a machine with the planned cards, and on that of the other servers, whose volume no other machine can have.

    Args:
        devices: that a pod asks for.
    """
    own, found = cluster(plan), Document()
    if devices and isinstance(plan.node, GpuNode) and own.checks_cards and not own.has_claims:
        terms = [{"matchExpressions": _cards(plan.node)}]
        found["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    if own.storage.claim is None and own.storage.access == "ReadWriteOnce":
        near = {"labelSelector": {"matchLabels": labels(plan, SERVER)}, "topologyKey": _HOST}
        found["podAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": [near]}
    return found


def _cards(node: GpuNode) -> list[Document]:
    """The planned compute capability, and the memory that CUDA reports, of which a driver has a little more."""
    found: list[Document] = [
        {"key": key, "operator": "In", "values": [str(value)]}
        for key, value in zip(_CARD_CAPABILITY, node.compute_capability, strict=True)
    ]
    if node.mig is None:
        found.append({"key": _CARD_MEMORY, "operator": "Gt", "values": [str(node.memory // MIB - 1)]})
    return found


def _visible(pod: Pod, service: Service) -> tuple[int, ...] | None:
    return tuple(pod.devices.index(device) for device in service.devices) if pod.shares else None


def _waiting(plan: Plan, pod: Pod) -> Document:
    """Until its models are there whole: a server must not read half of one.

    Preflight asks, which writes nothing: the volume is mounted read only, and a download would want to lock it.
    """
    names = " ".join(service.name for service in pod.services)
    asks = f"python3 -I {TREE}/bin/preflight {names} --only model"
    linked = [each for service in pod.services for each in links(service)]
    script = " && ".join([f"until {asks}; do sleep 10; done", *(_link(link, model) for link, model in linked)])
    return {
        "name": "models",
        "image": prefetch_container(plan).image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        "env": checking_environment(plan),
        "securityContext": SEALED,
        "volumeMounts": [
            TREE_MOUNT,
            {"name": "models", "mountPath": HF_HOME, "readOnly": True},
            SCRATCH_MOUNT,
            *([LINKS_MOUNT] if linked else []),
        ],
    }


def _link(link: str, model: ServedModel) -> str:
    folder = repository_folder(model)
    return f'ln -sfn "{folder}/snapshots/$(cat {folder}/refs/main)" {link}'


def checking_environment(plan: Plan) -> list[Document]:
    """Of a container that asks whether all is there."""
    values = dict(prefetch_container(plan).environment)
    values.pop("STACKC_HF_TOKEN_FILE", None)  # it downloads nothing
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def _volumes(plan: Plan, pod: Pod) -> Iterator[Document]:
    yield models_volume(plan, reads_only=True)
    yield tree_volume(plan)
    yield {"name": "scratch", "emptyDir": {}}
    seen: set[str] = set()
    for volume in (each for service in pod.services for each in server_volumes(plan, service)):
        if volume["name"] not in seen:
            seen.add(volume["name"])
            yield volume


def models_volume(plan: Plan, *, reads_only: bool) -> Document:
    """The claim with the models."""
    name = cluster(plan).storage.claim or own_name(plan, "models")
    return {"name": "models", "persistentVolumeClaim": present({"claimName": name, "readOnly": reads_only or None})}


def claim(plan: Plan, pod: Pod) -> Document:
    """As many GPUs as its servers use, each with the memory that the plan counts on (resource.k8s.io/v1), or slices."""
    assert isinstance(plan.node, GpuNode)  # noqa: S101  only GPUs are claimed
    enough = f"device.capacity['{_DRIVER}'].memory.compareTo(quantity('{plan.node.memory // MIB}Mi')) >= 0"
    if plan.node.mig is not None:
        enough = f"device.attributes['{_DRIVER}'].profile == '{plan.node.mig}'"
    exactly = {
        "deviceClassName": cluster(plan).device_class,
        "allocationMode": "ExactCount",
        "count": len(pod.devices),
        "selectors": [{"cel": {"expression": enough}}],
    }
    return {"devices": {"requests": [{"name": CLAIM, "exactly": exactly}]}}
