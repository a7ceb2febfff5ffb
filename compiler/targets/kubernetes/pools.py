"""`kubernetes/inference-pools.yaml`: the servers of each model, among which an endpoint picker chooses."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.plan.ir import Plan
from compiler.render.artifact import Artifact
from compiler.targets.kubernetes.documents import SERVER, STACK, Document, cluster, document, own_name, written

# Gateway API Inference Extension v1.6.0.
_VERSION = "inference.networking.k8s.io/v1"
POOLS = "inference-pools"


def emit_pools(plan: Plan) -> tuple[Artifact, ...]:
    """Nothing where the spec asks for none."""
    if cluster(plan).pool is None:
        return ()
    return (written(plan, POOLS, _pools(plan), "The servers of each model, for an endpoint picker."),)


def _pools(plan: Plan) -> Iterator[Document]:
    pool = cluster(plan).pool
    assert pool is not None  # noqa: S101  asked before
    for name in dict.fromkeys(service.of for service in plan.services):
        ports = sorted({service.port for service in plan.services if service.of == name})
        spec = {
            "selector": {"matchLabels": {STACK: plan.stack, f"service.stackc/{name}": "true"}},
            "targetPorts": [{"number": port} for port in ports],
            "endpointPickerRef": {
                "name": pool.picker.replace("{service}", name),
                "port": {"number": pool.port},
                # Without its picker a pool still answers, from any of its servers.
                "failureMode": "FailOpen",
            },
        }
        yield document(plan, _VERSION, "InferencePool", own_name(plan, name), SERVER, spec=spec)
