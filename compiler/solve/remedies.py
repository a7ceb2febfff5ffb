"""Changes to a spec that may make it fit. None is checked here; the solver's front offers those that work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from compiler.catalog.hardware.gpus import next_larger, shares_memory
from compiler.diagnostics import Edit
from compiler.engines.interface.problem import Remedy
from compiler.engines.vllm.demand import Device
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.solve.place import Shortfall
from compiler.spec.models import GpusSpec, NodeSpec, ServiceSpec, Spec
from compiler.units import KIB, format_gib, format_tokens

# How finely contexts and concurrencies are lowered before the solver is asked again.
_STEPS = 32
# Services whose wishes are lowered one by one.
_MOST_SERVICES = 4


def remedies_for(shortfall: Shortfall, spec: Spec, devices: Sequence[Device], code: str) -> Iterator[Remedy]:
    """Changes worth checking for E0401 and E0402: those that cost the user least first, the one that may fail last."""
    order = _concerned(shortfall, spec)
    yield from _seats_that_fit(shortfall)
    for other in order:
        yield from _smaller_batch(other, spec.services[other], shortfall.demand.shape)
    for other in order:
        yield from _less_concurrency(other, spec.services[other])
    for other in order:
        yield from _less_context(other, spec.services[other])
    if len(spec.services) > 1:
        yield from _everything_smaller(spec)
    yield from _other_gpus(order, spec)
    for other in order:
        yield from _without_graphs(other, spec.services[other], devices[0])
    for other in order:
        yield from _fp8_cache(other, spec.services[other], devices[0])
    yield from _text_alone(shortfall, spec)
    for other in order:
        yield from _other_variant(other, spec.services[other])
    if not shares_memory(devices[0].capability):  # such a machine has one GPU
        yield from _more_gpus(spec)
    yield from _larger_gpu(spec, devices[0])
    if code == "E0402":
        edit = Edit(("policy", "margin"), "allow")
        text = "`margin: allow` in `policy`: the server may then run out of memory as it starts"
        yield Remedy(text, (edit,), kind="margin")


def _concerned(shortfall: Shortfall, spec: Spec) -> list[str]:
    """The service itself, those on its device, and others, as far as trying them all is bearable."""
    neighbours = [demand.service for demand in shortfall.before]
    return list(dict.fromkeys([shortfall.demand.service, *neighbours, *spec.services]))[:_MOST_SERVICES]


def _set(name: str, key: str, value: str | int, *, is_graded: bool = False) -> Remedy:
    edit = Edit(("services", name, key), value)
    return Remedy(f"`{key}: {value}` for `{name}`", (edit,), kind=f"{key} of {name}", is_graded=is_graded)


def _halves(value: int, least: int) -> Iterator[int]:
    while (value := value // 2) >= least:
        yield value


def _smaller_batch(name: str, service: ServiceSpec, shape: ServerShape) -> Iterator[Remedy]:
    start = service.max_num_seqs or shape.max_num_seqs
    for value in _halves(start, max(8, service.concurrency.least)):
        yield _set(name, "max_num_seqs", value, is_graded=True)


def _seats_that_fit(shortfall: Shortfall) -> Iterator[Remedy]:
    """As many sequences as the cache has blocks for, where they decide its size: exactly, not by halves."""
    demand = shortfall.demand
    blocks = max(0, shortfall.free - demand.heaviest.fixed.high) // max(1, demand.layout.bytes_per_block)
    if demand.lacks_seats and max(8, demand.terms.concurrency) <= blocks < demand.seat_blocks:
        yield _set(demand.service, "max_num_seqs", blocks)


def _without_graphs(name: str, service: ServiceSpec, device: Device) -> Iterator[Remedy]:
    """CUDA graphs take memory, and in models with states a block for every sequence."""
    if device.capability is not None and not service.enforce_eager:
        edit = Edit(("services", name, "engine_args", "enforce-eager"), value=True)
        text = f"`engine_args: {{enforce-eager: true}}` for `{name}`: no CUDA graphs, so each token takes longer"
        yield Remedy(text, (edit,), kind=f"eager {name}")


def _less_concurrency(name: str, service: ServiceSpec) -> Iterator[Remedy]:
    asked = service.concurrency.least
    step = max(1, asked // _STEPS)
    for value in range((asked - 1) // step * step, 0, -step):
        yield _set(name, "concurrency", value, is_graded=True)


def _less_context(name: str, service: ServiceSpec) -> Iterator[Remedy]:
    asked = service.context.least
    step = max(KIB, asked // _STEPS // KIB * KIB)
    for value in range((asked - 1) // step * step, 0, -step):
        yield _set(name, "context", format_tokens(value), is_graded=True)


def _everything_smaller(spec: Spec) -> Iterator[Remedy]:
    """All services at concurrency 1, then with ever shorter contexts: the least that a stack of these models can be."""
    single = [
        Edit(("services", name, "concurrency"), 1) for name, s in spec.services.items() if s.concurrency.least > 1
    ]
    if single:
        yield Remedy("`concurrency: 1` for every service", tuple(single), kind="all smaller", is_graded=True)
    longest = max(service.context.least for service in spec.services.values())
    for limit in _halves(longest, 2 * KIB):
        shorter = [
            Edit(("services", name, "context"), format_tokens(limit))
            for name, service in spec.services.items()
            if service.context.least > limit
        ]
        text = f"`concurrency: 1` for every service and at most `context: {format_tokens(limit)}`"
        yield Remedy(text, (*single, *shorter), kind="all smaller", is_graded=True)


# Keys that decide which GPUs a service runs on, and how many.
_GPU_KEYS = ("gpus", "tensor_parallel_size", "pipeline_parallel_size")


def _unpinned(names: Iterable[str], spec: Spec) -> tuple[Edit, ...]:
    return tuple(
        Edit(("services", name, key), None) for name in names for key in _GPU_KEYS if getattr(spec.services[name], key)
    )


def _other_gpus(order: Sequence[str], spec: Spec) -> Iterator[Remedy]:
    """GPUs that the spec names are given up for those that the solver would choose."""
    _, node = _only_node(spec)
    edits = _unpinned(order, spec)
    if edits and node.gpus is not None and node.gpus.count > 1:
        keys = " and ".join(f"`{key}`" for key in _GPU_KEYS if any(edit.path[-1] == key for edit in edits))
        yield Remedy(f"remove {keys} and let the GPUs be chosen", edits, kind="other GPUs")


def _fp8_cache(name: str, service: ServiceSpec, device: Device) -> Iterator[Remedy]:
    if service.kv_cache_dtype == "auto" and device.capability is not None:
        yield _set(name, "kv_cache_dtype", "fp8")


def _text_alone(shortfall: Shortfall, spec: Spec) -> Iterator[Remedy]:
    """A tower takes memory for its weights, and more in the profile run."""
    name = shortfall.demand.service
    service, architecture = spec.services[name], shortfall.demand.variant.architecture
    if architecture.towers and service.media is None and not service.allowed_media_domains:
        text = f"`media: none` for `{name}`: it then reads text alone"
        yield Remedy(text, (Edit(("services", name, "media"), "none"),), kind=f"media of {name}")


def _other_variant(name: str, service: ServiceSpec) -> Iterator[Remedy]:
    if service.quantization != ("auto",):
        yield _set(name, "quantization", "auto")


def _more_gpus(spec: Spec) -> Iterator[Remedy]:
    node_name, node = _only_node(spec)
    if node.gpus is None:
        return
    edits = (*_unpinned(spec.services, spec), *_forgotten(node_name, node.gpus, ("uuids",)))
    for count in range(node.gpus.count + 1, min(8, 2 * node.gpus.count + 2) + 1):
        more = Edit(("nodes", node_name, "gpus", "count"), count)
        yield Remedy(f"`count: {count}` of these GPUs", (more, *edits), kind="count")


def _larger_gpu(spec: Spec, device: Device) -> Iterator[Remedy]:
    node_name, node = _only_node(spec)
    if node.gpus is None:
        return
    edits = _forgotten(node_name, node.gpus, ("memory", "compute_capability", "mig", "uuids"))
    for gpu in next_larger(device.total, device.capability or (0, 0)):
        other = Edit(("nodes", node_name, "gpus", "model"), gpu.name)
        yield Remedy(f"`model: {gpu.name}`, a card with {format_gib(gpu.memory)} GiB", (other, *edits), kind="card")


def _forgotten(node_name: str, gpus: GpusSpec, keys: Iterable[str]) -> tuple[Edit, ...]:
    """Figures and names of the present cards that would be wrong for others."""
    return tuple(Edit(("nodes", node_name, "gpus", key), None) for key in keys if getattr(gpus, key))


def _only_node(spec: Spec) -> tuple[str, NodeSpec]:
    return next(iter(spec.nodes.items()))
