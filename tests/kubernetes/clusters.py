"""Plans with the target `kubernetes`, their documents, and volumes as a pod would see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan
from compiler.plan.kubernetes import HttpRoute, InferencePool, Kubernetes, Storage, Toleration
from compiler.targets.kubernetes import emit_kubernetes
from tests.conftest import ROOT
from tests.unit.plan_samples import one_on_cpu, one_on_two_gpus, two_on_one_gpu

Document = dict[str, Any]

CLUSTER = Kubernetes(
    namespace="models",
    cluster_domain="cluster.example",
    secret="keys",
    storage=Storage(claim=None, storage_class="fast", access="ReadWriteOnce", size_bytes=None),
    gpu_resource="nvidia.com/gpu",
    has_claims=True,
    device_class="gpu.nvidia.com",
    checks_cards=True,
    node_selector=(("pool", "gpus"),),
    tolerations=(Toleration("nvidia.com/gpu", "Exists", None, "NoSchedule"),),
    topology="topology.kubernetes.io/zone",
    runtime_class="nvidia",
    priority_class="serving",
    pull_secrets=("registry",),
    monitoring_namespace="observability",
    monitoring_labels=(("release", "prometheus"),),
    route=HttpRoute("edge", "gateways", ("llm.example.org",)),
    pool=InferencePool("{service}-picker", 9002),
)


def in_cluster(plan: Plan, **changes: Any) -> Plan:
    """The plan with that target, in a cluster that has everything."""
    return replace(plan, targets=("scripts", "kubernetes"), kubernetes=replace(CLUSTER, **changes))


@cache
def team() -> Plan:
    """Three servers on one GPU, with a gateway, a rollout and monitoring; every commit known."""
    compiled, _ = compile_stack(ROOT / "stacks/team-96gb.yaml", "stacks/team-96gb.yaml")
    assert compiled is not None
    (plan,) = compiled.plans
    services = tuple(
        replace(each, model=replace(each.model, commit="c" * 40, is_pinned=True)) for each in plan.services
    )
    return in_cluster(replace(plan, services=services))


@cache
def group() -> Plan:
    """The first machine of a server over two."""
    compiled, _ = compile_stack(ROOT / "stacks/reasoning-2x4090.yaml", "stacks/reasoning-2x4090.yaml")
    assert compiled is not None
    storage = replace(CLUSTER.storage, access="ReadWriteMany")
    return in_cluster(next(plan for plan in compiled.plans if plan.answering), has_claims=False, storage=storage)


PLANS = (team(), group(), *map(in_cluster, (two_on_one_gpu(), one_on_two_gpus(), one_on_cpu())))


# Plans are no keys; those of the tests live as long as they do.
_FILES: dict[int, tuple[Plan, dict[str, str]]] = {}
_DOCUMENTS: dict[int, list[Document]] = {}


def files(plan: Plan) -> dict[str, str]:
    """What is below `kubernetes/`, by name."""
    if id(plan) not in _FILES:
        _FILES[id(plan)] = (plan, {each.path.name: each.text for each in emit_kubernetes(plan)})
    return _FILES[id(plan)][1]


def documents(plan: Plan) -> list[Document]:
    """All objects, those of the smoke test too."""
    if id(plan) not in _DOCUMENTS:
        texts = files(plan).values()
        _DOCUMENTS[id(plan)] = [each for text in texts for each in read(text) if each["kind"] != "Kustomization"]
    return _DOCUMENTS[id(plan)]


def read(text: str) -> Iterator[Document]:
    """Objects of a file."""
    yield from (dict(each) for each in YAML(typ="safe").load_all(text))


def named(plan: Plan, kind: str, name: str) -> Document:
    """The one object of a kind and a name."""
    (found,) = [each for each in documents(plan) if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def templates(plan: Plan) -> Iterator[Document]:
    """Of the pods of every workload."""
    for each in documents(plan):
        if each["kind"] in ("Deployment", "Job"):
            yield each["spec"]["template"]
        elif each["kind"] == "LeaderWorkerSet":
            both = each["spec"]["leaderWorkerTemplate"]
            yield from (both["leaderTemplate"], both["workerTemplate"])


def pod_specs(plan: Plan) -> Iterator[Document]:
    """Of every workload."""
    return (each["spec"] for each in templates(plan))


def server(plan: Plan, name: str) -> Document:
    """The container of a server that answers."""
    (found,) = [
        container
        for spec in pod_specs(plan)
        for container in (*spec["containers"], *spec.get("initContainers", ()))
        if container["name"] == name and "livenessProbe" in container
    ]
    return found


def mounted(plan: Plan, volume: Mapping[str, Any], folder: Path) -> Path:
    """A volume of ConfigMaps as the kubelet writes it: the files in a folder of their own, and links to them."""
    sources = volume["projected"]["sources"] if "projected" in volume else [volume]
    content = folder / "..2026"
    for source in (each["configMap"] for each in sources):
        data = named(plan, "ConfigMap", source["name"])["data"]
        for item in source["items"]:
            path = content / item["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(data[item["key"]])
            path.chmod(0o555)
    (folder / "..data").symlink_to(content.name)
    for each in sorted({path.relative_to(content).parts[0] for path in content.rglob("*")}):
        (folder / each).symlink_to(f"..data/{each}")
    return folder
