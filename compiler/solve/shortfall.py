"""Infeasibility in numbers: what a service needs, what is left, and what might help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from compiler.engines.interface.problem import Problem
from compiler.engines.vllm.demand import Demand, Device
from compiler.engines.vllm.judge.variants import Variant
from compiler.engines.vllm.kv_cache.blocks import NULL_BLOCKS
from compiler.ledger import RowKind
from compiler.solve.place import Choice, Miss, Shortfall, place
from compiler.solve.remedies import remedies_for
from compiler.spec.models import ServiceSpec, Spec
from compiler.units import MIB, format_gib

# Variants, divisions and services that one message lists of each.
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Tried:
    """What was tried before a stack was given up.

    Attributes:
        variants: of each service, best first.
        least: all of them at their least, without variants.
    """

    spec: Spec
    devices: Sequence[Device]
    variants: Mapping[str, tuple[Variant, ...]]
    least: Choice


def shortfall_problem(shortfall: Shortfall, tried: Tried) -> Problem:
    """E0401: even the expected figures do not fit."""
    return _problem("E0401", "does not fit", shortfall, tried)


def margin_problem(shortfall: Shortfall, tried: Tried) -> Problem:
    """E0402: only the high ends of the estimates do not fit."""
    return _problem("E0402", "fits only within the margin of error", shortfall, tried)


def _problem(code: str, verdict: str, shortfall: Shortfall, tried: Tried) -> Problem:
    demand, spec, devices = shortfall.demand, tried.spec, tried.devices
    node = next(iter(spec.nodes))
    place_name = f"{node}:{shortfall.device}" if devices[0].capability is not None else node
    key, label = _culprit(demand, spec.services[demand.service], shortfall)
    return Problem(
        code=code,
        service=demand.service,
        path=(key,),
        message=f"service `{demand.service}` {verdict} on {place_name}",
        label=label,
        notes=(
            _left_note(shortfall, devices[shortfall.device]),
            *_need_notes(shortfall),
            *_seat_notes(shortfall),
            *_waiting_notes(shortfall),
            _model_note(demand),
            *_tried_notes(shortfall, tried),
        ),
        remedies=tuple(remedies_for(shortfall, spec, devices, code)),
    )


def _culprit(demand: Demand, service: ServiceSpec, shortfall: Shortfall) -> tuple[str, str]:
    """The key whose demand is at fault: the model where its weights alone are too much, the seats, or the context."""
    stage, terms = demand.heaviest, demand.terms
    if stage.fixed.expected > shortfall.free:
        weights = next(row for row in stage.rows if row.kind is RowKind.WEIGHTS)
        return "model", f"its weights alone take {format_gib(weights.bytes.high)} GiB per GPU"
    if demand.lacks_seats:
        return "max_num_seqs", f"{demand.seat_blocks} sequences need as many blocks, {_blocks_left(shortfall)} fit"
    cache = demand.required_blocks * stage.layout.bytes_per_block
    is_solved = service.context.is_solved or service.concurrency.is_solved
    least = ", the least of what is asked," if is_solved else ""
    length = demand.shape.max_model_len
    return "context", f"{terms.concurrency} × {length} tokens{least} need {format_gib(cache)} GiB of KV cache"


def _tried_notes(shortfall: Shortfall, tried: Tried) -> Iterator[str]:
    """Each variant of the service, every way to divide it, and what that lacked. One way alone is told already."""
    name = shortfall.demand.service
    smallest = {other: variants[-1] for other, variants in tried.variants.items()}
    notes = []
    for variant in tried.variants[name]:
        found = place(tried.least.exchanged({**smallest, name: variant}))
        if isinstance(found, Shortfall):
            notes.append((variant, found))
    if sum(len(found.misses) for _, found in notes) <= 1:
        return
    for variant, found in notes[:_SHOWN]:
        shorts = "; ".join(f"on {miss.demand.degrees} {format_gib(miss.short)} GiB short" for miss in _told(found))
        other = f"service `{found.demand.service}` " if found.demand.service != name else ""
        yield f"tried `{variant.name}` ({variant.method}): {other}{shorts}"
    if len(notes) > _SHOWN:
        yield f"and {len(notes) - _SHOWN} more variants, which are larger or as large"


def _told(shortfall: Shortfall) -> Iterator[Miss]:
    """The divisions within layers, and of those in stages the ones that came closest."""
    split = [miss for miss in shortfall.misses if miss.demand.degrees.pipeline == 1]
    staged = [miss for miss in shortfall.misses if miss.demand.degrees.pipeline > 1]
    yield from split[:_SHOWN]
    yield from sorted(staged, key=lambda miss: miss.short)[: _SHOWN if not split else 2]


def _left_note(shortfall: Shortfall, device: Device) -> str:
    parts = [f"{format_gib(device.total)} GiB total"]
    if device.reserve:
        parts.append(f"{format_gib(device.reserve)} reserve")
    parts += [f"{format_gib(demand.required.high)} {demand.service}" for demand in shortfall.before]
    if len(parts) == 1:
        return f"{parts[0]}, all of it for `{shortfall.demand.service}`"
    return f"{' − '.join(parts)} = {format_gib(shortfall.free)} GiB left for `{shortfall.demand.service}`"


def _need_notes(shortfall: Shortfall) -> Iterator[str]:
    demand, stage = shortfall.demand, shortfall.demand.heaviest
    *others, cache = (*stage.rows, *stage.cache_rows(demand.required_blocks))
    shown = (*(row for row in others if row.bytes.high >= MIB), cache)
    parts = [f"{row.title} {format_gib(row.bytes.high)}" for row in shown]
    yield f"needs at most {' + '.join(parts)} = {format_gib(demand.required.high)} GiB"
    short = demand.required.high - shortfall.free
    yield (
        f"{format_gib(short)} GiB ({short} bytes) short; "
        f"expected {format_gib(demand.required.expected)} GiB, {format_gib(demand.required.low)} at least"
    )


def _seat_notes(shortfall: Shortfall) -> Iterator[str]:
    demand = shortfall.demand
    if demand.lacks_seats:
        yield (
            f"vLLM ends with: max_num_seqs ({demand.seat_blocks}) exceeds available Mamba cache blocks "
            f"({_blocks_left(shortfall)}); a sequence that is decoded by a CUDA graph keeps its state in a block"
        )


def _blocks_left(shortfall: Shortfall) -> int:
    """Blocks of KV cache that fit in what is left; a model with states has some on every rank."""
    return max(0, shortfall.free - shortfall.demand.heaviest.fixed.high) // shortfall.demand.layout.bytes_per_block


def _waiting_notes(shortfall: Shortfall) -> Iterator[str]:
    waiting = [f"{format_gib(demand.required.high)} GiB for `{demand.service}`" for demand in shortfall.after]
    if len(waiting) > _SHOWN:
        together = format_gib(sum(demand.required.high for demand in shortfall.after[_SHOWN:]))
        waiting[_SHOWN:] = [f"{together} GiB for {len(waiting) - _SHOWN} more services"]
    if waiting:
        yield f"and still to be placed: {', '.join(waiting)}"


def _model_note(demand: Demand) -> str:
    layout, blocks = demand.layout, demand.required_blocks - NULL_BLOCKS
    over = f" over {demand.degrees}" if demand.degrees.gpus > 1 else ""
    return (
        f"`{demand.variant.name}`{over}: {layout.bytes_per_block // max(1, layout.block_size)} bytes of KV cache "
        f"per token, {blocks} blocks of {layout.block_size} tokens and vLLM's null block"
    )
