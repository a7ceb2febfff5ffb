"""`kubernetes/network.yaml`: who may reach whom. A cluster whose network enforces no policies lets everybody in."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.plan.ir import Plan, Service
from compiler.render.artifact import Artifact
from compiler.targets.kubernetes.documents import (
    GATEWAY,
    PART,
    PREFETCH,
    SERVER,
    SMOKE_TEST,
    STACK,
    Document,
    cluster,
    document,
    own_name,
    written,
)
from compiler.targets.kubernetes.groups import group_policy

_NAMESPACE = "kubernetes.io/metadata.name"
_OUTSIDE = {
    "0.0.0.0/0": ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"],
    "::/0": ["fc00::/7", "fe80::/10"],
}
"""Every address but private ones and those of a machine's own link."""
_DNS = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def emit_network(plan: Plan) -> Artifact:
    """A policy for each part."""
    return written(plan, "network", _policies(plan), "Who may reach whom.")


def _policies(plan: Plan) -> Iterator[Document]:
    yield _policy(plan, SERVER, ["Ingress", "Egress"], ingress=_to_servers(plan), egress=[_DNS])
    for service in plan.services:
        if service.group is not None:
            yield group_policy(plan, service)
        if service.media_domains:
            yield _media_policy(plan, service)
    yield _policy(plan, PREFETCH, ["Ingress"])
    yield _policy(plan, SMOKE_TEST, ["Ingress"])
    if plan.gateway is not None:
        entrance = [{"ports": [{"port": plan.gateway.port}]}]
        out = [_DNS, {"to": [_part(plan, SERVER)]}]
        yield _policy(plan, GATEWAY, ["Ingress", "Egress"], ingress=entrance, egress=out)


def _to_servers(plan: Plan) -> list[Document]:
    """Of its gateway and its smoke test; without a gateway, of every pod of the namespace."""
    asking = [_part(plan, GATEWAY), _part(plan, SMOKE_TEST)] if plan.gateway is not None else [{"podSelector": {}}]
    if plan.monitoring is not None:
        asking.append({"namespaceSelector": {"matchLabels": {_NAMESPACE: cluster(plan).monitoring_namespace}}})
    ports = [{"port": port} for port in sorted({each.port for each in plan.services})]
    # A gateway with the inference extension asks servers itself, and runs where the cluster's operators put it.
    return [{"ports": ports}] if cluster(plan).pool is not None else [{"from": asking, "ports": ports}]


def _media_policy(plan: Plan, service: Service) -> Document:
    """What a server fetches for its clients lies outside; where a cloud keeps its own keys it never does."""
    out = [{"to": [{"ipBlock": {"cidr": cidr, "except": kept}} for cidr, kept in _OUTSIDE.items()]}]
    spec: Document = {
        "podSelector": {"matchLabels": {STACK: plan.stack, f"server.stackc/{service.name}": "true"}},
        "policyTypes": ["Egress"],
        "egress": out,
    }
    return document(plan, "networking.k8s.io/v1", "NetworkPolicy", f"{service.name}-media", SERVER, spec=spec)


def _part(plan: Plan, part: str) -> Document:
    return {"podSelector": {"matchLabels": {STACK: plan.stack, PART: part}}}


def _policy(
    plan: Plan,
    part: str,
    kinds: list[str],
    ingress: list[Document] | None = None,
    egress: list[Document] | None = None,
) -> Document:
    spec: Document = {"podSelector": _part(plan, part)["podSelector"], "policyTypes": kinds}
    spec |= {} if ingress is None else {"ingress": ingress}
    spec |= {} if egress is None else {"egress": egress}
    return document(plan, "networking.k8s.io/v1", "NetworkPolicy", own_name(plan, part), part, spec=spec)
