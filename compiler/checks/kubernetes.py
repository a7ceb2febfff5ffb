"""What a cluster would refuse, or never use, of a spec with the target `kubernetes`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.kubernetes import KubernetesSpec
from compiler.spec.reading.load import SpecFile
from compiler.spec.replicas import most_replicas

# Objects and files of every tree, whose names a server would take (compiler/targets/kubernetes).
_OWN = frozenset(
    (
        "disruption",
        "gateway",
        "gateway-programs",
        "inference-pools",
        "kustomization",
        "models",
        "monitoring",
        "namespace",
        "network",
        "plan",
        "prefetch",
        "programs",
        "questions",
        "smoke-test",
        "storage",
        "through-gateway",
    )
)


def check_kubernetes(file: SpecFile) -> Iterator[Diagnostic]:
    """All rules that need no solution."""
    asked = file.spec.kubernetes
    if "kubernetes" not in file.spec.targets:
        yield from _check_unused(file, asked)
        return
    yield from _check_names(file)
    yield from _check_uuids(file)
    yield from _check_groups(file, asked or KubernetesSpec())
    if asked is not None:
        yield from _check_nodes(file, asked)
        yield from _check_storage(file, asked)
        yield from _check_tolerations(file, asked)
        yield from _check_route(file, asked)


def _check_unused(file: SpecFile, asked: KubernetesSpec | None) -> Iterator[Diagnostic]:
    if asked is None:
        return
    message = "`kubernetes` changes nothing: it is not among the targets"
    targets = (*file.spec.targets, "kubernetes")
    helps = (
        Help("remove `kubernetes`", (Edit(("kubernetes",), None),)),
        Help("add `kubernetes` to the targets", (Edit(("targets",), targets),)),
    )
    yield Diagnostic("E0214", message, file.at_key("kubernetes"), helps=helps)


def _check_names(file: SpecFile) -> Iterator[Diagnostic]:
    """Names of objects are those of DNS, and end in a letter or a digit (RFC 1123)."""
    names: Mapping[tuple[str, ...], str] = {
        ("stack",): file.spec.stack,
        **{("services", name): name for name in file.spec.services},
        **{("nodes", name): name for name in file.spec.machines},
    }
    for path, name in names.items():
        if name.endswith("-"):
            where = file.at(*path) if path == ("stack",) else file.at_key(*path)
            message = f"Kubernetes refuses the name `{name}`: names end in a letter or a digit"
            helps = (Help(f"call it `{name.rstrip('-')}`"),)
            yield Diagnostic("E0260", message, where, helps=helps)
    for name in file.spec.services:
        if name in _OWN:
            message = f"the documents for Kubernetes have something of their own that is called `{name}`"
            helps = (Help(f"call the service `{name}-server`"),)
            yield Diagnostic("E0260", message, file.at_key("services", name), helps=helps)


def _check_uuids(file: SpecFile) -> Iterator[Diagnostic]:
    for name, node in file.spec.written_nodes.items():
        if node.gpus is not None and node.gpus.uuids:
            path = ("nodes", name, "gpus", "uuids")
            message = "a cluster chooses the GPUs of a pod itself: it cannot be held to `uuids`"
            helps = (Help("remove `uuids`", (Edit(path, None),)),)
            yield Diagnostic("E0260", message, file.at(*path), helps=helps)


def _check_groups(file: SpecFile, asked: KubernetesSpec) -> Iterator[Diagnostic]:
    """Pods of a server over several machines read one volume; several such servers must not take each other's place."""
    groups = [name for name, service in file.spec.services.items() if service.machines > 1]
    if groups and asked.storage.claim is None and asked.storage.access == "ReadWriteOnce":
        path = ("kubernetes", "storage", "access")
        message = f"the pods of `{groups[0]}` are on several machines, and a volume of one machine serves no other"
        helps = (Help("write `storage: {access: ReadWriteMany}`", (Edit(path, "ReadWriteMany"),)),)
        yield Diagnostic("E0260", message, file.at_key("services", groups[0], "machines"), helps=helps)
    several = [name for name in groups if most_replicas(file.spec, name) > 1] or groups[1:]
    if several and asked.topology is None:
        zone = "topology.kubernetes.io/zone"
        message = f"servers over several machines, such as `{several[0]}`, need a `topology` that keeps each together"
        notes = ("without one the pods of two of them may wait for each other's machines for ever",)
        helps = (
            Help(
                f"write `topology: {zone}`, or the label of your own fabric", (Edit(("kubernetes", "topology"), zone),)
            ),
        )
        yield Diagnostic("E0260", message, file.at_key("services", several[0], "machines"), notes, helps)


def _check_nodes(file: SpecFile, asked: KubernetesSpec) -> Iterator[Diagnostic]:
    for name in asked.nodes:
        if name not in file.spec.machines:
            path = ("kubernetes", "nodes", name)
            message = f"`kubernetes.nodes` has labels for `{name}`, which is no node of this stack"
            notes = (f"its nodes are {', '.join(f'`{node}`' for node in file.spec.machines)}",)
            helps = (Help(f"remove `{name}`", (Edit(path, None),)),)
            yield Diagnostic("E0260", message, file.at_key(*path), notes, helps)


def _check_storage(file: SpecFile, asked: KubernetesSpec) -> Iterator[Diagnostic]:
    storage = asked.storage
    for key in ("storage_class", "size", "access"):
        if storage.claim is not None and key in storage.model_fields_set:
            path = ("kubernetes", "storage", key)
            message = f"`{key}` is of a claim that is made, and `claim: {storage.claim}` exists already"
            helps = (
                Help(f"remove `{key}`", (Edit(path, None),)),
                Help("remove `claim`", (Edit(("kubernetes", "storage", "claim"), None),)),
            )
            yield Diagnostic("E0260", message, file.at(*path), helps=helps)


def _check_tolerations(file: SpecFile, asked: KubernetesSpec) -> Iterator[Diagnostic]:
    for index, toleration in enumerate(asked.tolerations):
        path = ("kubernetes", "tolerations", index)
        if toleration.operator == "Exists" and toleration.value is not None:
            message = "`operator: Exists` takes every value, and the toleration has one"
            helps = (
                Help("write `operator: Equal`", (Edit((*path, "operator"), "Equal"),)),
                Help("remove `value`", (Edit((*path, "value"), None),)),
            )
            yield Diagnostic("E0260", message, file.at(*path, "value"), helps=helps)
        if toleration.operator == "Equal" and toleration.value is None:
            message = "`operator: Equal` compares a value, and the toleration has none"
            help_ = Help("write `operator: Exists`", (Edit((*path, "operator"), "Exists"),))
            yield Diagnostic("E0260", message, file.at(*path, "operator"), helps=(help_,))


def _check_route(file: SpecFile, asked: KubernetesSpec) -> Iterator[Diagnostic]:
    if asked.route is not None and file.spec.gateway is None:
        message = "`kubernetes.route` leads to the stack's gateway, and it has none"
        helps = (Help("remove `route`", (Edit(("kubernetes", "route"), None),)),)
        yield Diagnostic("E0260", message, file.at_key("kubernetes", "route"), helps=helps)
