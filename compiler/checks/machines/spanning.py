"""Servers that span machines: which nodes can be those machines, and how a model may be divided over them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.alike import alike, whole_nodes
from compiler.spec.nodes.models import NodeSpec
from compiler.spec.reading.load import SpecFile

Kinds = Mapping[NodeSpec, list[str]]


def check_machines(file: SpecFile) -> Iterator[Diagnostic]:
    """All rules of this module."""
    for name, service in file.spec.services.items():
        if service.split_over_network and service.machines == 1:
            yield _without_machines(file, name)
        if service.machines > 1:
            found = tuple(_check_nodes(file, name))
            yield from found
            if not found:
                yield from _check_division(file, name)


def _without_machines(file: SpecFile, name: str) -> Diagnostic:
    where = ("services", name, "split_over_network")
    message = f"`split_over_network` changes nothing: service `{name}` runs on one machine"
    return Diagnostic("E0250", message, file.at(*where), helps=(Help("remove it", (Edit(where, None),)),))


def _check_nodes(file: SpecFile, name: str) -> Iterator[Diagnostic]:
    """As many nodes as it wants are alike, and find each other."""
    spec, service = file.spec, file.spec.services[name]
    where = ("services", name, "machines")
    kinds: dict[NodeSpec, list[str]] = {}
    for node, each in whole_nodes(spec).items():
        kinds.setdefault(alike(each), []).append(node)
    most = max(map(len, kinds.values()), default=0)
    if most < service.machines:
        message = f"service `{name}` wants {service.machines} machines, and the stack has {len(spec.machines)}"
        notes: tuple[str, ...] = ()
        if len(spec.machines) >= service.machines:
            message = f"service `{name}` wants {service.machines} machines, and no {service.machines} nodes are alike"
            notes = (*_kinds_told(kinds), _WHY_ALIKE)
        yield Diagnostic("E0250", message, file.at(*where), notes, tuple(_fewer(name, most)))
        return
    able = (nodes for nodes in kinds.values() if len(nodes) >= service.machines)
    lacking = [[node for node in nodes if not _finds(spec.nodes[node])] for nodes in able]
    ready = (len(nodes) - len(lacks) for nodes, lacks in zip(_able(kinds, service.machines), lacking, strict=True))
    if all(count < service.machines for count in ready):
        yield from (_unknown_place(file, node, name) for node in min(lacking, key=len))


def _able(kinds: Kinds, machines: int) -> Iterator[list[str]]:
    return (nodes for nodes in kinds.values() if len(nodes) >= machines)


_WHY_ALIKE = "each machine holds as many ranks, and the smallest KV cache of them all is everyone's"


def _kinds_told(kinds: Kinds) -> Iterator[str]:
    for kind, nodes in kinds.items():
        names = ", ".join(f"`{node}`" for node in nodes)
        yield f"{names}: {_hardware(kind)}"


def _hardware(node: NodeSpec) -> str:
    if node.gpus is None:
        return f"a CPU with {node.cpu.memory if node.cpu is not None else 0} bytes"
    gpus = node.gpus
    title = gpus.model or f"GPU of compute capability {gpus.compute_capability}"
    own = f" of {gpus.memory} bytes" if gpus.memory is not None else ""
    kept = f", {node.reserve} bytes in reserve" if node.reserve else ""
    return f"{node.gpu_count} × {title}{own}{kept}"


def _fewer(name: str, most: int) -> Iterator[Help]:
    where = ("services", name, "machines")
    if most > 1:
        yield Help(f"write `machines: {most}`", (Edit(where, most),))
    yield Help("remove `machines`, and let it run on one", (Edit(where, None),))


def _finds(node: NodeSpec) -> bool:
    return node.address is not None and node.interface is not None


def _unknown_place(file: SpecFile, node: str, service: str) -> Diagnostic:
    given = file.spec.nodes[node]
    lacks = [key for key in ("address", "interface") if getattr(given, key) is None]
    message = f"node `{node}` has no {' and no '.join(f'`{key}`' for key in lacks)}: service `{service}` spans machines"
    notes = ("its ranks find each other by `address`, and talk over `interface` alone; `ip -brief address` shows both",)
    removal = Help("remove `machines`, and let it run on one", (Edit(("services", service, "machines"), None),))
    examples = {"address": "address: 10.0.0.11", "interface": "interface: eth1"}
    wanted = Help(f"add {' and '.join(f'`{examples[key]}`' for key in lacks)}, as the machine has them")
    return Diagnostic("E0250", message, file.at_key("nodes", node), notes, (wanted, removal))


def _check_division(file: SpecFile, name: str) -> Iterator[Diagnostic]:
    """Each machine runs as many ranks, and layers are split over the network only where the spec says so."""
    service = file.spec.services[name]
    count = max(node.gpu_count or 1 for node in file.spec.nodes.values())
    sizes = {key: getattr(service, key) for key in ("tensor_parallel_size", "pipeline_parallel_size")}
    given = {key: size for key, size in sizes.items() if size is not None}
    tensor, ranks, machines = service.tensor_parallel_size, math.prod(given.values()), service.machines
    key = next(iter(given), "machines")
    listed = " and ".join(f"`{each}`" for each in given)
    removal = Help(f"remove {listed}", tuple(Edit(("services", name, each), None) for each in given))
    where = file.at("services", name, key)
    if (
        tensor is not None
        and not service.split_over_network
        and _crosses(tensor, ranks, machines, count, is_whole=len(given) > 1)
    ):
        yield _over_network(file, name, tensor, count)
    elif len(given) > 1 and ranks % machines:
        message = f"service `{name}` asks for {ranks} ranks, which do not divide over {machines} machines"
        yield Diagnostic("E0250", message, where, helps=(removal,))
    elif ranks > count * machines:
        message = f"service `{name}` asks for {ranks} GPUs, {machines} machines have {count * machines} at most"
        yield Diagnostic("E0211", message, where, helps=(removal,))
    elif "tensor_parallel_size" in given and service.split_over_network:
        yield _slow(file, name)


def _crosses(tensor: int, ranks: int, machines: int, count: int, *, is_whole: bool) -> bool:
    """Whether parts of a layer would be on several machines: ranks are numbered stage by stage."""
    if tensor > count:
        return True
    return is_whole and ranks % machines == 0 and (ranks // machines) % tensor != 0


def _over_network(file: SpecFile, name: str, tensor: int, count: int) -> Diagnostic:
    where = ("services", name)
    message = f"`tensor_parallel_size: {tensor}` splits each layer of `{name}` over machines of {count} GPUs"
    notes = (
        "two all-reduces a layer and step would cross the network, which is 10 to 100 times slower than NVLink",
        "by default layers are split inside a machine, and divided into stages over the machines",
    )
    inside = Help("remove `tensor_parallel_size`", (Edit((*where, "tensor_parallel_size"), None),))
    allowed = Help("`split_over_network: true` allows it", (Edit((*where, "split_over_network"), value=True),))
    return Diagnostic("E0250", message, file.at(*where, "tensor_parallel_size"), notes, (inside, allowed))


def _slow(file: SpecFile, name: str) -> Diagnostic:
    message = f"each layer of service `{name}` waits for the network twice a step"
    notes = ("stackc does not know how fast the network is, and promises no speed of such a server",)
    return Diagnostic("W0250", message, file.at("services", name, "split_over_network"), notes)
