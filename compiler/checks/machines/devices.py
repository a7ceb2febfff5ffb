"""Whether the GPUs that services ask for are there, and are ones that a server can run on together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.spec.nodes.counted import entry_of
from compiler.spec.nodes.models import NodeSpec
from compiler.spec.nodes.parts import kinds_of, whole
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec


def check_devices(file: SpecFile) -> Iterator[Diagnostic]:
    """Indices and degrees stay within the GPUs of one model on one node, which a server does not leave."""
    words = {word: whole(file.spec.nodes[names[0]]) for word, names in file.spec.members().items()}
    for name, service in file.spec.services.items():
        node = _node(service, words)
        yield from _check_indices(file, name, node)
        yield from _check_ranks(file, name, node)


def _node(service: ServiceSpec, words: Mapping[str, NodeSpec]) -> NodeSpec:
    """The one that it names, else the one with most GPUs."""
    named = words.get(service.node or "")
    able = [node for node in words.values() if node.cpu is not None] if service.device == "cpu" else []
    return named if named is not None else max(able or words.values(), key=lambda node: node.gpu_count)


def _most_alike(node: NodeSpec) -> int:
    """How many cards of one model it has at most."""
    return max((len(kind.indices) for kind in kinds_of(node)), default=0)


def _check_indices(file: SpecFile, name: str, node: NodeSpec) -> Iterator[Diagnostic]:
    service, where = file.spec.services[name], ("services", name, "gpus")
    help_ = Help("remove `gpus` and let them be chosen", (Edit(where, None),))
    outside = [index for index in service.gpus if index >= node.gpu_count]
    if outside:
        message = f"service `{name}` asks for GPU {outside[0]}, the node has {_numbered(node.gpu_count)}"
        yield Diagnostic("E0211", message, file.at(*where), helps=(help_,))
    if len(set(service.gpus)) != len(service.gpus):
        yield Diagnostic("E0211", f"service `{name}` names a GPU twice", file.at(*where))
    kinds = [kind for kind in kinds_of(node) if not set(service.gpus).isdisjoint(kind.indices)]
    if len(kinds) > 1:
        told = [next(index for index in service.gpus if index in kind.indices) for kind in kinds[:2]]
        what = "have not one compute capability" if node.mixed else "are cards of two models"
        message = f"service `{name}` asks for GPUs {told[0]} and {told[1]}, which {what}"
        notes = ("the slowest card and the one with least memory decide for all ranks of a server",)
        can_share = any(set(service.gpus) <= set(kind.indices) for kind in kinds_of(_mixed(node)))
        more = _mixing(file, name) if can_share else ()
        yield Diagnostic("E0211", message, file.at(*where), notes, (help_, *more))


def _mixed(node: NodeSpec) -> NodeSpec:
    return node.model_copy(update={"mixed": True})


def _mixing(file: SpecFile, name: str) -> tuple[Help, ...]:
    """To let servers have cards of several models, where these are ones that they can have together."""
    named, entries = file.spec.services[name].node, file.spec.written_nodes
    node = next((entry for entry in entries if named in (None, entry) or entry_of(str(named), 1) == entry), None)
    if node is None:
        return ()
    return (Help(f"write `mixed: true` for node `{node}`", (Edit(("nodes", node, "mixed"), value=True),)),)


def _check_ranks(file: SpecFile, name: str, node: NodeSpec) -> Iterator[Diagnostic]:
    """The parallel sizes, multiplied, are GPUs that the node has and the service names."""
    service, where, count = file.spec.services[name], ("services", name), _most_alike(node)
    if service.machines > 1:
        return  # check_machines judges it
    sizes = {key: getattr(service, key) for key in ("tensor_parallel_size", "pipeline_parallel_size")}
    given = {key: size for key, size in sizes.items() if size is not None}
    if not given:
        return
    key, ranks = next(iter(given)), math.prod(given.values())
    helps = (Help(f"remove `{key}`", (Edit((*where, key), None),)),)
    if ranks > max(count, 1):
        several = service.node is None and len(file.spec.machines) > 1
        owner = "no node has more than" if several else "the node has"
        notes = ("a server spans nodes only with `machines`",) if several else ()
        alike = "" if not _has_several_models(file) else " of one model"
        message = f"service `{name}` asks for {ranks} GPUs, {owner} {count}{alike}"
        more = _mixing(file, name) if ranks <= _most_alike(_mixed(node)) else ()
        yield Diagnostic("E0211", message, file.at(*where, key), notes, (*helps, *more))
    # One size alone leaves the other to the number of GPUs.
    open_size = len(given) == 1 and len(service.gpus) % ranks == 0
    if service.gpus and ranks != len(service.gpus) and not open_size:
        product = " × ".join(f"`{key}: {size}`" for key, size in given.items())
        message = f"{product} and {len(service.gpus)} GPUs contradict each other"
        yield Diagnostic("E0211", message, file.at(*where, key), helps=helps)


def _has_several_models(file: SpecFile) -> bool:
    return len(file.spec.nodes) > len(file.spec.machines)


def _numbered(count: int) -> str:
    return "none" if count == 0 else f"0 to {count - 1}" if count > 1 else "only 0"
