"""Infeasibility in numbers: what a service needs, what is left, and what might help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from compiler.engines.interface.demand import Demand, Variant
from compiler.engines.interface.device import Device
from compiler.engines.interface.pinned import PinnedEngines
from compiler.engines.interface.problem import Problem
from compiler.ledger import HOST, RowKind
from compiler.solve.exact import find_place
from compiler.solve.place import Choice, Miss, Shortfall
from compiler.solve.remedies import remedies_for
from compiler.spec.models import Spec
from compiler.spec.nodes.parts import index_on_machine, machine_of_part
from compiler.spec.services import ServiceSpec
from compiler.units import MIB, format_gib

# Variants, divisions and services that one message lists of each.
_SHOWN = 6
# Of more variants, as of a repository of GGUF files, only the smallest are placed once more.
_MOST_VARIANTS = 12


@dataclass(frozen=True, slots=True)
class Tried:
    """What was tried before a stack was given up.

    Attributes:
        variants: of each service, best first.
        least: all of them at their least, without variants.
    """

    spec: Spec
    engines: PinnedEngines
    variants: Mapping[str, tuple[Variant, ...]]
    least: Choice


def shortfall_problem(shortfall: Shortfall, tried: Tried) -> Problem:
    """E0401: even the expected figures do not fit."""
    return _problem("E0401", "does not fit", shortfall, tried)


def margin_problem(shortfall: Shortfall, tried: Tried) -> Problem:
    """E0402: only the high ends of the estimates do not fit."""
    return _problem("E0402", "fits only within the margin of error", shortfall, tried)


def _problem(code: str, verdict: str, shortfall: Shortfall, tried: Tried) -> Problem:
    demand, spec = shortfall.demand, tried.spec
    devices = tried.least.machine.devices
    key, label = _culprit(demand, spec.services[demand.service], shortfall)
    return Problem(
        code=code,
        service=demand.service,
        path=(key,),
        message=f"service `{demand.service}` {verdict} on {_place_name(shortfall, tried)}",
        label=label,
        notes=(
            _left_note(shortfall, _device(shortfall, tried)),
            *_need_notes(shortfall),
            *(shortage.notes if (shortage := demand.shortage(shortfall.free)) is not None else ()),
            *_waiting_notes(shortfall),
            demand.cache_note,
            *_tried_notes(shortfall, tried),
        ),
        remedies=tuple(remedies_for(shortfall, spec, tried.engines, devices, code)),
    )


def _device(shortfall: Shortfall, tried: Tried) -> Device:
    machine = tried.least.machine
    return machine.host if shortfall.device == HOST and machine.host is not None else machine.devices[shortfall.device]


def _place_name(shortfall: Shortfall, tried: Tried) -> str:
    name, part = next(iter(tried.spec.nodes.items()))
    node = machine_of_part(name)
    if shortfall.device == HOST:
        return f"the main memory of {node}"
    return (
        f"{node}:{index_on_machine(part, shortfall.device)}"
        if _device(shortfall, tried).capability is not None
        else node
    )


def _culprit(demand: Demand, service: ServiceSpec, shortfall: Shortfall) -> tuple[str, str]:
    """The key whose demand is at fault: the model where its weights alone are too much, the seats, or the context."""
    rank, terms = shortfall.rank, demand.terms
    caches = rank.cache_rows(demand.least_units)
    if rank.fixed.expected > shortfall.free or not caches:
        weights = next(row for row in rank.rows if row.kind is RowKind.WEIGHTS)
        each = " per GPU" if shortfall.device != HOST else ""
        return "model", f"its weights alone take {format_gib(weights.bytes.high)} GiB{each}"
    if (shortage := demand.shortage(shortfall.free)) is not None:
        return shortage.key, shortage.label
    least = ", the least of what is asked," if service.context.is_solved or service.concurrency.is_solved else ""
    cache = format_gib(caches[-1].bytes.high)
    return "context", f"{terms.concurrency} × {demand.length} tokens{least} need {cache} GiB of KV cache"


def _tried_notes(shortfall: Shortfall, tried: Tried) -> Iterator[str]:
    """Each variant of the service, every way to divide it, and what that lacked. One way alone is told already."""
    name = shortfall.demand.service
    smallest = {other: variants[-1] for other, variants in tried.variants.items()}
    notes = []
    variants = tried.variants[name]
    for variant in variants if len(variants) <= _MOST_VARIANTS else variants[-_SHOWN:]:
        found = find_place(tried.least.exchanged({**smallest, name: variant}))
        if isinstance(found, Shortfall):
            notes.append((variant, found))
    if sum(len(found.misses) for _, found in notes) <= 1:
        return
    for variant, found in notes[:_SHOWN]:
        shorts = "; ".join(map(_miss, _told(found)))
        other = f"service `{found.demand.service}` " if found.demand.service != name else ""
        yield f"tried `{variant.name}` ({variant.method}): {other}{shorts}"
    if len(variants) > _MOST_VARIANTS:
        yield f"and {len(variants) - _SHOWN} more variants, which are larger"
    elif len(notes) > _SHOWN:
        yield f"and {len(notes) - _SHOWN} more variants, which are larger or as large"


def _miss(miss: Miss) -> str:
    of = " of main memory" if miss.device == HOST else ""
    return f"on {miss.demand.division} {format_gib(miss.short)} GiB{of} short"


def _told(shortfall: Shortfall) -> Iterator[Miss]:
    """The divisions that are tried first, and of the others the ones that came closest."""
    first = [miss for miss in shortfall.misses if not miss.demand.division.is_fallback]
    others = [miss for miss in shortfall.misses if miss.demand.division.is_fallback]
    yield from first[:_SHOWN]
    yield from sorted(others, key=lambda miss: miss.short)[: _SHOWN if not first else 2]


def _left_note(shortfall: Shortfall, device: Device) -> str:
    parts = [f"{format_gib(device.total)} GiB total"]
    if device.reserve:
        parts.append(f"{format_gib(device.reserve)} reserve")
    parts += [f"{format_gib(shortfall.size(demand).high)} {demand.service}" for demand in shortfall.before]
    if len(parts) == 1:
        return f"{parts[0]}, all of it for `{shortfall.demand.service}`"
    return f"{' − '.join(parts)} = {format_gib(shortfall.free)} GiB left for `{shortfall.demand.service}`"


def _need_notes(shortfall: Shortfall) -> Iterator[str]:
    demand, rank, needed = shortfall.demand, shortfall.rank, shortfall.size(shortfall.demand)
    *others, cache = (*rank.rows, *rank.cache_rows(demand.least_units))
    shown = (*(row for row in others if row.bytes.high >= MIB), cache)
    parts = [f"{row.title} {format_gib(row.bytes.high)}" for row in shown]
    yield f"needs at most {' + '.join(parts)} = {format_gib(needed.high)} GiB"
    short = needed.high - shortfall.free
    yield (
        f"{format_gib(short)} GiB ({short} bytes) short; "
        f"expected {format_gib(needed.expected)} GiB, {format_gib(needed.low)} at least"
    )


def _waiting_notes(shortfall: Shortfall) -> Iterator[str]:
    waiting = [f"{format_gib(demand.required.high)} GiB for `{demand.service}`" for demand in shortfall.after]
    if len(waiting) > _SHOWN:
        together = format_gib(sum(demand.required.high for demand in shortfall.after[_SHOWN:]))
        waiting[_SHOWN:] = [f"{together} GiB for {len(waiting) - _SHOWN} more services"]
    if waiting:
        yield f"and still to be placed: {', '.join(waiting)}"
