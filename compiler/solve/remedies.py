"""Changes to a spec that may make it fit. None is checked here; the solver's front offers those that work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compiler.catalog.gpus import next_larger
from compiler.diagnostics import Edit
from compiler.memory.shape import ServerShape
from compiler.solve.demand import Device
from compiler.solve.place import Shortfall
from compiler.solve.problem import Remedy
from compiler.spec.models import NodeSpec, ServiceSpec, Spec
from compiler.units import KIB, format_gib, format_tokens

# How finely contexts and concurrencies are lowered before the solver is asked again.
_STEPS = 32


def remedies_for(shortfall: Shortfall, spec: Spec, devices: Sequence[Device], code: str) -> Iterator[Remedy]:
    """Changes worth checking for E0401 and E0402, those that cost the user least first."""
    name = shortfall.demand.service
    order = [name, *(other for other in spec.services if other != name)]
    for other in order:
        yield from _smaller_batch(other, spec.services[other], shortfall.demand.shape)
    for other in order:
        yield from _less_concurrency(other, spec.services[other])
    for other in order:
        yield from _less_context(other, spec.services[other])
    if len(order) > 1:
        yield from _everything_smaller(spec)
    for other in order:
        yield from _fp8_cache(other, spec.services[other], devices[0])
    for other in order:
        yield from _other_variant(other, spec.services[other])
    if code == "E0402":
        edit = Edit(("policy", "margin"), "allow")
        yield Remedy("`margin: allow` in `policy`, which takes the risk", (edit,), kind="margin")
    yield from _more_gpus(spec)
    yield from _larger_gpu(spec, devices[0])


def _set(name: str, key: str, value: str | int) -> Remedy:
    return Remedy(f"`{key}: {value}` for `{name}`", (Edit(("services", name, key), value),), kind=f"{key} of {name}")


def _halves(value: int, least: int) -> Iterator[int]:
    while (value := value // 2) >= least:
        yield value


def _smaller_batch(name: str, service: ServiceSpec, shape: ServerShape) -> Iterator[Remedy]:
    start = service.max_num_seqs or shape.max_num_seqs
    for value in _halves(start, max(8, service.concurrency)):
        yield _set(name, "max_num_seqs", value)


def _less_concurrency(name: str, service: ServiceSpec) -> Iterator[Remedy]:
    step = max(1, service.concurrency // _STEPS)
    for value in range((service.concurrency - 1) // step * step, 0, -step):
        yield _set(name, "concurrency", value)


def _less_context(name: str, service: ServiceSpec) -> Iterator[Remedy]:
    step = max(KIB, service.context // _STEPS // KIB * KIB)
    for value in range((service.context - 1) // step * step, 0, -step):
        yield _set(name, "context", format_tokens(value))


def _everything_smaller(spec: Spec) -> Iterator[Remedy]:
    """All services at concurrency 1, then with ever shorter contexts: the least that a stack of these models can be."""
    single = [Edit(("services", name, "concurrency"), 1) for name, s in spec.services.items() if s.concurrency > 1]
    if single:
        yield Remedy("`concurrency: 1` for every service", tuple(single), kind="all smaller")
    longest = max(service.context for service in spec.services.values())
    for limit in _halves(longest, 2 * KIB):
        shorter = [
            Edit(("services", name, "context"), format_tokens(limit))
            for name, service in spec.services.items()
            if service.context > limit
        ]
        text = f"`concurrency: 1` for every service and at most `context: {format_tokens(limit)}`"
        yield Remedy(text, (*single, *shorter), kind="all smaller")


def _fp8_cache(name: str, service: ServiceSpec, device: Device) -> Iterator[Remedy]:
    if service.kv_cache_dtype == "auto" and device.capability is not None:
        yield _set(name, "kv_cache_dtype", "fp8")


def _other_variant(name: str, service: ServiceSpec) -> Iterator[Remedy]:
    if service.quantization != ("auto",):
        yield _set(name, "quantization", "auto")


def _more_gpus(spec: Spec) -> Iterator[Remedy]:
    node_name, node = _only_node(spec)
    if node.gpus is None:
        return
    unpin = tuple(
        Edit(("services", name, key), None)
        for name, service in spec.services.items()
        for key, given in (("gpus", service.gpus), ("tensor_parallel_size", service.tensor_parallel_size))
        if given
    )
    for count in range(node.gpus.count + 1, min(8, 2 * node.gpus.count + 2) + 1):
        edits = (Edit(("nodes", node_name, "gpus", "count"), count), *unpin)
        yield Remedy(f"`count: {count}` of these GPUs", edits, kind="count")


def _larger_gpu(spec: Spec, device: Device) -> Iterator[Remedy]:
    node_name, node = _only_node(spec)
    if node.gpus is None or node.gpus.model is None:
        return
    for gpu in next_larger(device.total):
        edits = [Edit(("nodes", node_name, "gpus", "model"), gpu.name)]
        edits += [
            Edit(("nodes", node_name, "gpus", key), None)
            for key, given in (("memory", node.gpus.memory), ("compute_capability", node.gpus.compute_capability))
            if given is not None
        ]
        yield Remedy(f"`model: {gpu.name}`, a card with {format_gib(gpu.memory)} GiB", tuple(edits), kind="card")


def _only_node(spec: Spec) -> tuple[str, NodeSpec]:
    return next(iter(spec.nodes.items()))
