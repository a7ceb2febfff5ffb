"""Infeasibility in numbers: what a service needs, what is left, and what might help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compiler.catalog.gpus import next_larger
from compiler.diagnostics import Edit
from compiler.memory.kv_cache import NULL_BLOCKS
from compiler.memory.ledger import RowKind
from compiler.memory.server import ServerShape
from compiler.solve.demand import Demand, Device
from compiler.solve.place import NoSplit, Shortfall
from compiler.solve.problem import Problem
from compiler.spec.models import NodeSpec, ServiceSpec, Spec
from compiler.units import KIB, format_gib, format_tokens

Remedy = tuple[str, tuple[Edit, ...]]

_TRIED_ONE_BY_ONE = 16


def shortfall_problem(shortfall: Shortfall, spec: Spec, devices: Sequence[Device]) -> Problem:
    """E0401: even the expected figures do not fit."""
    return _problem("E0401", "does not fit", shortfall, spec, devices)


def margin_problem(shortfall: Shortfall, spec: Spec, devices: Sequence[Device]) -> Problem:
    """E0402: only the high ends of the estimates do not fit."""
    return _problem("E0402", "fits only within the margin of error", shortfall, spec, devices)


def split_problem(failure: NoSplit, spec: Spec) -> Problem:
    """E0404: no legal number of GPUs."""
    service = spec.services[failure.service]
    key = "tensor_parallel_size" if service.tensor_parallel_size is not None else "gpus" if service.gpus else "model"
    message = f"service `{failure.service}` cannot be split over the GPUs it asks for"
    remedy: Remedy = (f"remove `{key}` and let the GPUs be chosen", (Edit(("services", failure.service, key), None),))
    edits = (remedy,) if key != "model" else ()
    return Problem("E0404", failure.service, (key,), message, notes=failure.reasons, candidate_edits=edits)


def _problem(code: str, verdict: str, shortfall: Shortfall, spec: Spec, devices: Sequence[Device]) -> Problem:
    demand = shortfall.demand
    node = next(iter(spec.nodes))
    place = f"{node}:{shortfall.device}" if devices[0].capability is not None else node
    service = spec.services[demand.service]
    key, label = _culprit(demand, service, shortfall)
    return Problem(
        code=code,
        service=demand.service,
        path=(key,),
        message=f"service `{demand.service}` {verdict} on {place}",
        label=label,
        notes=(_left_note(shortfall, devices[shortfall.device]), *_need_notes(shortfall), _model_note(demand)),
        candidate_edits=tuple(_remedies(shortfall, spec, devices)),
    )


def _culprit(demand: Demand, service: ServiceSpec, shortfall: Shortfall) -> tuple[str, str]:
    """The key whose demand is at fault: the model where its weights alone are too much, else the context."""
    if demand.fixed.expected > shortfall.free:
        weights = next(row for row in demand.rows if row.kind is RowKind.WEIGHTS)
        return "model", f"its weights alone take {format_gib(weights.bytes.high)} GiB per GPU"
    cache = demand.required_blocks * demand.layout.bytes_per_block
    needs = f"{service.concurrency} × {service.context} tokens need {format_gib(cache)} GiB of KV cache"
    return "context", needs


def _left_note(shortfall: Shortfall, device: Device) -> str:
    parts = [f"{format_gib(device.total)} GiB total"]
    if device.reserve:
        parts.append(f"{format_gib(device.reserve)} reserve")
    parts += [f"{format_gib(demand.required.high)} {demand.service}" for demand in shortfall.before]
    return f"{' − '.join(parts)} = {format_gib(shortfall.free)} GiB left for `{shortfall.demand.service}`"


def _need_notes(shortfall: Shortfall) -> Iterator[str]:
    demand = shortfall.demand
    cache = demand.required_blocks * demand.layout.bytes_per_block
    parts = [f"{row.title} {format_gib(row.bytes.high)}" for row in demand.rows]
    parts.append(f"KV cache {format_gib(cache)}")
    yield f"needs at most {' + '.join(parts)} = {format_gib(demand.required.high)} GiB"
    short = demand.required.high - shortfall.free
    yield (
        f"{format_gib(short)} GiB ({short} bytes) short; "
        f"expected {format_gib(demand.required.expected)} GiB, {format_gib(demand.required.low)} at least"
    )


def _model_note(demand: Demand) -> str:
    blocks = demand.required_blocks - NULL_BLOCKS
    ranks = demand.shape.tensor_parallel_size
    over = f" over {ranks} GPUs" if ranks > 1 else ""
    return (
        f"`{demand.variant.name}`{over}: {demand.layout.bytes_per_block // demand.layout.block_size} bytes of KV cache "
        f"per token, {blocks} blocks of {demand.layout.block_size} tokens and vLLM's null block"
    )


def _remedies(shortfall: Shortfall, spec: Spec, devices: Sequence[Device]) -> Iterator[Remedy]:
    """Changes worth checking, cheapest for the user first."""
    name = shortfall.demand.service
    order = [name, *(other for other in spec.services if other != name)]
    for other in order:
        yield from _smaller_batch(other, spec.services[other], shortfall.demand.shape)
    for other in order:
        yield from _less_concurrency(other, spec.services[other])
    for other in order:
        yield from _less_context(other, spec.services[other])
    yield from _everything_smaller(spec)
    for other in order:
        yield from _fp8_cache(other, spec.services[other], devices[0])
    for other in order:
        yield from _other_variant(other, spec.services[other])
    yield from _more_gpus(spec)
    yield from _larger_gpu(spec, devices[0])


def _set(name: str, key: str, value: str | int) -> Remedy:
    return f"`{key}: {value}` for `{name}`", (Edit(("services", name, key), value),)


def _halves(value: int, least: int) -> Iterator[int]:
    while (value := value // 2) >= least:
        yield value


def _smaller_batch(name: str, service: ServiceSpec, shape: ServerShape) -> Iterator[Remedy]:
    start = service.max_num_seqs or shape.max_num_seqs
    for value in _halves(start, max(8, service.concurrency)):
        yield _set(name, "max_num_seqs", value)


def _less_concurrency(name: str, service: ServiceSpec) -> Iterator[Remedy]:
    few = service.concurrency <= _TRIED_ONE_BY_ONE
    values = range(service.concurrency - 1, 0, -1) if few else _halves(service.concurrency, 1)
    for value in values:
        yield _set(name, "concurrency", value)


def _less_context(name: str, service: ServiceSpec) -> Iterator[Remedy]:
    for value in _halves(service.context, KIB):
        yield _set(name, "context", format_tokens(value))


def _everything_smaller(spec: Spec) -> Iterator[Remedy]:
    """All services at concurrency 1, then with ever shorter contexts: the least that a stack of these models can be."""
    single = [Edit(("services", name, "concurrency"), 1) for name, s in spec.services.items() if s.concurrency > 1]
    if single:
        yield "`concurrency: 1` for every service", tuple(single)
    longest = max(service.context for service in spec.services.values())
    for limit in _halves(longest, 2 * KIB):
        shorter = [
            Edit(("services", name, "context"), format_tokens(limit))
            for name, service in spec.services.items()
            if service.context > limit
        ]
        yield (
            f"`concurrency: 1` for every service and at most `context: {format_tokens(limit)}`",
            (*single, *shorter),
        )


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
        yield f"`count: {count}` of these GPUs", edits


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
        yield f"`model: {gpu.name}`, a card with {format_gib(gpu.memory)} GiB", tuple(edits)


def _only_node(spec: Spec) -> tuple[str, NodeSpec]:
    return next(iter(spec.nodes.items()))
