"""`kubernetes/SERVER.yaml`: a Deployment for each pod, a Service for each server in it, and the claim of its GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.plan.ir import Plan, Service
from compiler.render.artifact import Artifact
from compiler.targets.kubernetes.documents import SERVER, STACK, Document, document, own_name, written
from compiler.targets.kubernetes.groups import LEADER, group_set, is_group
from compiler.targets.kubernetes.pods import Pod, claim, claims, pod_template, pods
from compiler.targets.kubernetes.servers import STARTUP_PERIOD, startup_failures

# A start of the next pod of a rollout, and the pull of its image, come on top of the server's own.
_PROGRESS_MARGIN = 1800


def emit_workloads(plan: Plan) -> tuple[Artifact, ...]:
    """A file for each pod."""
    return tuple(written(plan, pod.name, _documents(plan, pod), _about(pod)) for pod in pods(plan))


def _about(pod: Pod) -> str:
    names = ", ".join(f"`{service.name}`" for service in pod.services)
    return f"Servers {names}, which share GPUs." if pod.shares else f"Server {names}."


def _documents(plan: Plan, pod: Pod) -> Iterator[Document]:
    if claims(plan, pod):
        name = own_name(plan, pod.name)
        yield document(
            plan, "resource.k8s.io/v1", "ResourceClaimTemplate", name, SERVER, spec={"spec": claim(plan, pod)}
        )
    if is_group(pod):
        yield group_set(plan, pod)
    else:
        yield document(plan, "apps/v1", "Deployment", pod.name, SERVER, spec=_deployment(plan, pod))
    for service in pod.services:
        found = document(plan, "v1", "Service", service.name, SERVER, spec=_service(plan, pod, service))
        # By which its ServiceMonitor finds it.
        found["metadata"]["labels"]["stackc/server"] = service.name
        yield found


def _deployment(plan: Plan, pod: Pod) -> Document:
    """The old pod goes before the new one comes: no GPU is free for both."""
    start = sum(startup_failures(service) * STARTUP_PERIOD for service in pod.services)
    return {
        "replicas": 1,
        "revisionHistoryLimit": 5,
        "strategy": {"type": "Recreate"},
        "progressDeadlineSeconds": start + _PROGRESS_MARGIN,
        "selector": {"matchLabels": {STACK: plan.stack, "stackc/pod": pod.name}},
        "template": pod_template(plan, pod),
    }


def _service(plan: Plan, pod: Pod, service: Service) -> Document:
    spec = {
        "selector": {STACK: plan.stack, f"server.stackc/{service.name}": "true", **(LEADER if is_group(pod) else {})},
        "ports": [{"name": "http", "port": service.port, "targetPort": service.port}],
    }
    # A pod is ready when all its servers are: one that starts anew would take its neighbours' clients away.
    return spec | ({"publishNotReadyAddresses": True} if pod.shares else {})


def disruption_budgets(plan: Plan) -> Iterator[Document]:
    """Of services with several servers: nodes are drained one of them at a time. One alone would block every drain."""
    servers: dict[str, list[str]] = {}
    for service in plan.services:
        servers.setdefault(service.of, []).append(service.name)
    for name, own in servers.items():
        if len(own) > 1:
            selector = {"matchLabels": {STACK: plan.stack, f"service.stackc/{name}": "true"}}
            spec = {"maxUnavailable": 1, "selector": selector}
            yield document(plan, "policy/v1", "PodDisruptionBudget", own_name(plan, name), SERVER, spec=spec)
