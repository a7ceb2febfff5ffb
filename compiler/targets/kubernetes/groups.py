"""One server over several machines as a LeaderWorkerSet: a pod for each machine, of which the first answers.

Source: github.com/kubernetes-sigs/lws v0.10 (api/leaderworkerset/v1, pkg/utils/pod): every container gets
LWS_LEADER_ADDRESS, LWS_GROUP_SIZE and LWS_WORKER_INDEX before its own variables, so that its arguments may name them.
"""

from __future__ import annotations

from compiler.plan.ir import Plan, Service
from compiler.targets.kubernetes.documents import SERVER, STACK, Document, cluster, document
from compiler.targets.kubernetes.pods import Pod, pod_template

VERSION = "leaderworkerset.x-k8s.io/v1"
LEADER: Document = {"leaderworkerset.sigs.k8s.io/worker-index": "0"}
_TOPOLOGY = "leaderworkerset.sigs.k8s.io/exclusive-topology"
_OF_CLIENTS = ("ports", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle")


def is_group(pod: Pod) -> bool:
    """Whether its server spans machines."""
    return any(service.group is not None for service in pod.services)


def group_label(service: Service) -> Document:
    """Of all pods of a group, and of no others."""
    return {f"group.stackc/{service.name}": "true"}


def group_set(plan: Plan, pod: Pod) -> Document:
    """The group, started and ended as one: a process that is lost leaves the others waiting for it."""
    (service,) = pod.services
    assert service.group is not None  # noqa: S101  asked before
    leader = pod_template(plan, pod)
    leader["metadata"]["labels"] |= group_label(service)
    spec = {
        "replicas": 1,
        # The leader is ready when the others have joined, so that they cannot wait for that.
        "startupPolicy": "LeaderCreated",
        "rolloutStrategy": {
            "type": "RollingUpdate",
            "rollingUpdateConfiguration": {"maxSurge": 0, "maxUnavailable": 1},
        },
        "leaderWorkerTemplate": {
            "size": service.group.size,
            "restartPolicy": "RecreateGroupOnPodRestart",
            "leaderTemplate": leader,
            "workerTemplate": _worker(leader),
        },
    }
    # Its own Service, by which the pods find each other, has the name of the set.
    found = document(plan, VERSION, "LeaderWorkerSet", f"{pod.name}-group", SERVER, spec=spec)
    if cluster(plan).topology is not None:
        found["metadata"]["annotations"] = {_TOPOLOGY: cluster(plan).topology}
    return found


def _worker(leader: Document) -> Document:
    """The same without what is for clients: it serves no HTTP, and no Service may find it."""
    marks = {key: value for key, value in leader["metadata"]["labels"].items() if not _is_of_clients(key)}
    (server,) = leader["spec"]["containers"]
    own = {key: value for key, value in server.items() if key not in _OF_CLIENTS}
    own["args"] = [*server["args"], "--headless"]
    return {"metadata": {"labels": marks}, "spec": {**leader["spec"], "containers": [own]}}


def _is_of_clients(label: str) -> bool:
    return label.startswith(("server.stackc/", "service.stackc/"))


def group_policy(plan: Plan, service: Service) -> Document:
    """Between the machines of a group every port is open: NCCL and the engine's queues choose theirs as they start."""
    own = {"podSelector": {"matchLabels": {STACK: plan.stack, **group_label(service)}}}
    spec = {**own, "policyTypes": ["Ingress", "Egress"], "ingress": [{"from": [own]}], "egress": [{"to": [own]}]}
    return document(plan, "networking.k8s.io/v1", "NetworkPolicy", f"{service.name}-group", SERVER, spec=spec)
