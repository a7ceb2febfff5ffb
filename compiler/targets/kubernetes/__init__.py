"""`kubernetes/`: the stack as documents for a cluster, which `kubectl apply -k` takes as they are."""

from __future__ import annotations

from dataclasses import replace

from compiler.plan.ir import Plan
from compiler.render.artifact import Artifact
from compiler.targets.gateway import emit_gateway as gateway_programs
from compiler.targets.kubernetes.documents import FOLDER, Document, cluster, service_domain, written, yaml_text
from compiler.targets.kubernetes.gateway import emit_gateway
from compiler.targets.kubernetes.monitoring import emit_monitoring
from compiler.targets.kubernetes.network import emit_network
from compiler.targets.kubernetes.pools import emit_pools
from compiler.targets.kubernetes.programs import emit_programs
from compiler.targets.kubernetes.smoke_test import emit_smoke_test
from compiler.targets.kubernetes.storage import emit_storage
from compiler.targets.kubernetes.workloads import disruption_budgets, emit_workloads

__all__ = ["emit_kubernetes"]

_NAMESPACE, _DISRUPTION = "namespace", "disruption"


def emit_kubernetes(plan: Plan) -> tuple[Artifact, ...]:
    """Everything under `kubernetes/`. The smoke test stands beside the kustomization: it asks servers that are up.

    A server over several machines is in the tree of the first of them: a cluster finds the others by itself. The
    cluster's own entrance ends TLS (compiler/checks/entry/tls.py), and comes to the gateway without.
    """
    gateway = None if plan.gateway is None else replace(plan.gateway, tls=None)
    plan = replace(plan, services=plan.answering, gateway=gateway)
    if not plan.services:
        return ()
    programs = gateway_programs(plan, service_domain(plan))
    budgets = list(disruption_budgets(plan))
    resources = (
        written(plan, _NAMESPACE, [_namespace(plan)], "The namespace."),
        emit_programs(plan, programs),
        *emit_storage(plan),
        *emit_workloads(plan),
        *emit_gateway(plan, programs),
        emit_network(plan),
        *([written(plan, _DISRUPTION, budgets, "How many servers of a service may be away.")] if budgets else []),
        *emit_monitoring(plan),
        *emit_pools(plan),
    )
    return (_kustomization(resources), *resources, emit_smoke_test(plan))


def _namespace(plan: Plan) -> Document:
    name = cluster(plan).namespace
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
    }


def _kustomization(resources: tuple[Artifact, ...]) -> Artifact:
    content: Document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [artifact.path.name for artifact in resources],
    }
    head = (
        "# Written by `stackc compile`. DO NOT EDIT: name this folder among the resources of an overlay of your own.\n"
    )
    return Artifact(FOLDER / "kustomization.yaml", head + yaml_text(content))
