"""Infeasibility in numbers: what a service needs, what is left, and what might help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compiler.memory.kv_cache import NULL_BLOCKS
from compiler.memory.ledger import RowKind
from compiler.solve.demand import Demand, Device
from compiler.solve.place import Shortfall
from compiler.solve.problem import Problem
from compiler.solve.remedies import remedies_for
from compiler.spec.models import ServiceSpec, Spec
from compiler.units import MIB, format_gib


def shortfall_problem(shortfall: Shortfall, spec: Spec, devices: Sequence[Device]) -> Problem:
    """E0401: even the expected figures do not fit."""
    return _problem("E0401", "does not fit", shortfall, spec, devices)


def margin_problem(shortfall: Shortfall, spec: Spec, devices: Sequence[Device]) -> Problem:
    """E0402: only the high ends of the estimates do not fit."""
    return _problem("E0402", "fits only within the margin of error", shortfall, spec, devices)


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
        notes=(
            _left_note(shortfall, devices[shortfall.device]),
            *_need_notes(shortfall),
            *_waiting_notes(shortfall),
            _model_note(demand),
        ),
        remedies=tuple(remedies_for(shortfall, spec, devices, code)),
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
    if len(parts) == 1:
        return f"{parts[0]}, all of it for `{shortfall.demand.service}`"
    return f"{' − '.join(parts)} = {format_gib(shortfall.free)} GiB left for `{shortfall.demand.service}`"


def _need_notes(shortfall: Shortfall) -> Iterator[str]:
    demand = shortfall.demand
    cache = demand.required_blocks * demand.layout.bytes_per_block
    parts = [f"{row.title} {format_gib(row.bytes.high)}" for row in demand.rows if row.bytes.high >= MIB]
    parts.append(f"KV cache {format_gib(cache)}")
    yield f"needs at most {' + '.join(parts)} = {format_gib(demand.required.high)} GiB"
    short = demand.required.high - shortfall.free
    yield (
        f"{format_gib(short)} GiB ({short} bytes) short; "
        f"expected {format_gib(demand.required.expected)} GiB, {format_gib(demand.required.low)} at least"
    )


def _waiting_notes(shortfall: Shortfall) -> Iterator[str]:
    waiting = [f"{format_gib(demand.required.high)} GiB for `{demand.service}`" for demand in shortfall.after]
    if waiting:
        yield f"and still to be placed: {', '.join(waiting)}"


def _model_note(demand: Demand) -> str:
    blocks = demand.required_blocks - NULL_BLOCKS
    ranks = demand.shape.tensor_parallel_size
    over = f" over {ranks} GPUs" if ranks > 1 else ""
    return (
        f"`{demand.variant.name}`{over}: {demand.layout.bytes_per_block // demand.layout.block_size} bytes of KV cache "
        f"per token, {blocks} blocks of {demand.layout.block_size} tokens and vLLM's null block"
    )
