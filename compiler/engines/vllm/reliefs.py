"""What a vLLM server can do with less of. None is checked here; the solver's front offers those that work."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Edit
from compiler.engines.interface import demand as interface
from compiler.engines.interface.device import Device
from compiler.engines.interface.problem import Cost, Relief, Remedy
from compiler.engines.vllm.demand import Demand
from compiler.engines.vllm.judge.variant import own_variant
from compiler.engines.vllm.terms import SEAT_STEPS
from compiler.spec.services import ServiceSpec

# Fewer sequences than that save next to nothing.
_FEWEST = SEAT_STEPS[-1]


def reliefs(
    name: str, service: ServiceSpec, device: Device, demand: interface.Demand, free: int
) -> Iterator[Relief]:  # fmt: skip
    """See PinnedEngine."""
    own = demand if isinstance(demand, Demand) else None
    if own is not None and own.service == name:
        yield from _seats_that_fit(own, free)
        yield from _text_alone(own, service)
    yield from _smaller_batch(name, service, own.shape.max_num_seqs if own is not None else SEAT_STEPS[0])
    yield from _fewer_adapters(name, service)
    yield from _without_graphs(name, service, device)
    yield from _fp8_cache(name, service, device)


def _set(name: str, key: str, value: str | int, *, is_graded: bool = False) -> Remedy:
    edit = Edit(("services", name, key), value)
    return Remedy(f"`{key}: {value}` for `{name}`", (edit,), kind=f"{key} of {name}", is_graded=is_graded)


def _seats_that_fit(demand: Demand, free: int) -> Iterator[Relief]:
    """As many sequences as the cache has blocks for, where they decide its size: exactly, not by halves."""
    blocks = demand.units_within(free)
    if demand.lacks_seats and max(_FEWEST, demand.terms.concurrency) <= blocks < demand.seat_blocks:
        yield Relief(Cost.SEATS_THAT_FIT, _set(demand.service, "max_num_seqs", blocks))


def _smaller_batch(name: str, service: ServiceSpec, sequences: int) -> Iterator[Relief]:
    value, least = service.max_num_seqs or sequences, max(_FEWEST, service.concurrency.least)
    while (value := value // 2) >= least:
        yield Relief(Cost.BATCH, _set(name, "max_num_seqs", value, is_graded=True))


def _fewer_adapters(name: str, service: ServiceSpec) -> Iterator[Relief]:
    """Each that may run in one batch has room of its own; the others wait."""
    for value in range(service.adapter_slots - 1, 0, -1):
        yield Relief(Cost.CONCURRENCY, _set(name, "adapters_at_once", value, is_graded=True))


def _without_graphs(name: str, service: ServiceSpec, device: Device) -> Iterator[Relief]:
    """CUDA graphs take memory, and in models with states a block for every sequence."""
    if device.capability is not None and not service.enforce_eager:
        edit = Edit(("services", name, "engine_args", "enforce-eager"), value=True)
        text = f"`engine_args: {{enforce-eager: true}}` for `{name}`: no CUDA graphs, so each token takes longer"
        yield Relief(Cost.SPEED, Remedy(text, (edit,), kind=f"eager {name}"))


def _fp8_cache(name: str, service: ServiceSpec, device: Device) -> Iterator[Relief]:
    if service.kv_cache_dtype == "auto" and device.capability is not None:
        yield Relief(Cost.CACHE_PRECISION, _set(name, "kv_cache_dtype", "fp8"))


def _text_alone(demand: Demand, service: ServiceSpec) -> Iterator[Relief]:
    """A tower takes memory for its weights, and more in the profile run."""
    if own_variant(demand).architecture.towers and service.media is None and not service.allowed_media_domains:
        text = f"`media: none` for `{demand.service}`: it then reads text alone"
        edit = Edit(("services", demand.service, "media"), "none")
        yield Relief(Cost.MEDIA, Remedy(text, (edit,), kind=f"media of {demand.service}"))
