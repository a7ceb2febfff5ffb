"""Changes to a spec that may make it fit. None is checked here; the solver's front offers those that work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from compiler.catalog.hardware.gpus import next_larger, shares_memory
from compiler.diagnostics import Edit
from compiler.engines.interface.device import Device
from compiler.engines.interface.pinned import PinnedEngines, engine_of
from compiler.engines.interface.problem import Cost, Relief, Remedy
from compiler.solve.place import Shortfall
from compiler.spec.models import Spec
from compiler.spec.nodes.models import GpusSpec, NodeSpec
from compiler.spec.nodes.parts import machine_of_part, whole
from compiler.spec.services import ServiceSpec
from compiler.units import KIB, format_gib, format_tokens

# How finely contexts and concurrencies are lowered before the solver is asked again.
_STEPS = 32
# Services whose wishes are lowered one by one.
_MOST_SERVICES = 4


def remedies_for(
    shortfall: Shortfall, spec: Spec, engines: PinnedEngines, devices: Sequence[Device], code: str
) -> Iterator[Remedy]:
    """Changes worth checking for E0401 and E0402: those that cost the user least first, the one that may fail last."""
    found = (*_of_engines(shortfall, spec, engines, devices[0]), *_of_anyone(shortfall, spec, devices[0], code))
    yield from (relief.remedy for relief in sorted(found, key=lambda relief: relief.cost))


def _of_engines(shortfall: Shortfall, spec: Spec, engines: PinnedEngines, device: Device) -> Iterator[Relief]:
    if engine_of(spec.services[shortfall.demand.service], engines).offloads:
        yield from _at(Cost.SPEED, _main_memory(spec))
    for name in _concerned(shortfall, spec):
        service = spec.services[name]
        service_name = spec.service_of(name)
        yield from engine_of(service, engines).reliefs(service_name, service, device, shortfall.demand, shortfall.free)


def _of_anyone(shortfall: Shortfall, spec: Spec, device: Device, code: str) -> Iterator[Relief]:
    order = _concerned(shortfall, spec)
    for name in order:
        named, service = spec.service_of(name), spec.services[name]
        yield from _at(Cost.CONCURRENCY, _less_concurrency(named, service, spec.servers_of(named)))
        yield from _at(Cost.CONTEXT, _less_context(named, service))
        yield from _at(Cost.VARIANT, _other_variant(named, service))
    if len(_written(spec)) > 1:
        yield from _at(Cost.EVERYTHING, _everything_smaller(spec))
    yield from _at(Cost.OTHER_GPUS, _other_gpus(order, spec))
    if not shares_memory(device.capability):  # such a machine has one GPU
        yield from _at(Cost.MORE_GPUS, _more_gpus(spec))
    yield from _at(Cost.LARGER_GPU, _larger_gpu(spec, device))
    if code == "E0402":
        edit = Edit(("policy", "margin"), "allow")
        text = "`margin: allow` in `policy`: the server may then run out of memory as it starts"
        yield Relief(Cost.RISK, Remedy(text, (edit,), kind="margin"))


def _at(cost: Cost, remedies: Iterable[Remedy]) -> Iterator[Relief]:
    yield from (Relief(cost, remedy) for remedy in remedies)


def _concerned(shortfall: Shortfall, spec: Spec) -> list[str]:
    """The service itself, those on its device, and others, as far as trying them all is bearable."""
    neighbours = [demand.service for demand in shortfall.before]
    servers = (shortfall.demand.service, *neighbours, *spec.services)
    found: dict[str, str] = {}
    for server in servers:
        found.setdefault(spec.service_of(server), server)
    return list(found.values())[:_MOST_SERVICES]


def _written(spec: Spec) -> dict[str, ServiceSpec]:
    """One server of each service, by the service's name, as the file has it."""
    found: dict[str, ServiceSpec] = {}
    for name, service in spec.services.items():
        found.setdefault(spec.service_of(name), service)
    return found


def _set(name: str, key: str, value: str | int, *, is_graded: bool = False) -> Remedy:
    edit = Edit(("services", name, key), value)
    return Remedy(f"`{key}: {value}` for `{name}`", (edit,), kind=f"{key} of {name}", is_graded=is_graded)


def _halves(value: int, least: int) -> Iterator[int]:
    while (value := value // 2) >= least:
        yield value


def _less_concurrency(name: str, service: ServiceSpec, servers: int) -> Iterator[Remedy]:
    """Of all servers of a service together, as the file says it."""
    asked = service.concurrency.least
    step = max(1, asked // _STEPS)
    for value in range((asked - 1) // step * step, 0, -step):
        yield _set(name, "concurrency", value * servers, is_graded=True)


def _less_context(name: str, service: ServiceSpec) -> Iterator[Remedy]:
    asked = service.context.least
    step = max(KIB, asked // _STEPS // KIB * KIB)
    for value in range((asked - 1) // step * step, 0, -step):
        yield _set(name, "context", format_tokens(value), is_graded=True)


def _everything_smaller(spec: Spec) -> Iterator[Remedy]:
    """All services at concurrency 1, then with ever shorter contexts: the least that a stack of these models can be."""
    services = _written(spec)
    single = [Edit(("services", name, "concurrency"), 1) for name, s in services.items() if s.concurrency.least > 1]
    if single:
        yield Remedy("`concurrency: 1` for every service", tuple(single), kind="all smaller", is_graded=True)
    longest = max(service.context.least for service in services.values())
    for limit in _halves(longest, 2 * KIB):
        shorter = [
            Edit(("services", name, "context"), format_tokens(limit))
            for name, service in services.items()
            if service.context.least > limit
        ]
        text = f"`concurrency: 1` for every service and at most `context: {format_tokens(limit)}`"
        yield Remedy(text, (*single, *shorter), kind="all smaller", is_graded=True)


# Keys that decide which GPUs a service runs on, and how many.
_GPU_KEYS = ("gpus", "tensor_parallel_size", "pipeline_parallel_size")


def _unpinned(names: Iterable[str], spec: Spec) -> tuple[Edit, ...]:
    edits = (
        Edit(("services", spec.service_of(name), key), None)
        for name in names
        for key in _GPU_KEYS
        if getattr(spec.services[name], key)
    )
    return tuple(dict.fromkeys(edits))


def _other_gpus(order: Sequence[str], spec: Spec) -> Iterator[Remedy]:
    """GPUs that the spec names are given up for those that the solver would choose."""
    _, node = _only_node(spec)
    edits = _unpinned(order, spec)
    if edits and node.gpu_count > 1:
        keys = " and ".join(f"`{key}`" for key in _GPU_KEYS if any(edit.path[-1] == key for edit in edits))
        yield Remedy(f"remove {keys} and let the GPUs be chosen", edits, kind="other GPUs")


def _other_variant(name: str, service: ServiceSpec) -> Iterator[Remedy]:
    if service.quantization != ("auto",):
        yield _set(name, "quantization", "auto")


# Sizes of main memory that machines with GPUs have.
_MEMORIES = (16, 32, 64, 128, 256, 512)


def _main_memory(spec: Spec) -> Iterator[Remedy]:
    """Layers that find no place on GPUs may stay in main memory, if somebody says how much there is."""
    name, node = _only_node(spec)
    machine = machine_of_part(name)
    if node.gpus is not None and whole(node).memory is None:
        for size in _MEMORIES:
            edit = Edit(("nodes", name, "memory"), f"{size}GiB")
            text = f"`memory: {size}GiB` for node `{machine}`, if it has as much: what finds no place on its GPUs stays"
            text = f"{text} there"
            yield Remedy(text, (edit,), kind="main memory")


def _more_gpus(spec: Spec) -> Iterator[Remedy]:
    node_name, node = _only_node(spec)
    if node.gpus is None or len(node.cards) > 1:
        return
    edits = (*_unpinned(spec.services, spec), *_forgotten(node_name, node.gpus, ("uuids",)))
    for count in range(node.gpus.count + 1, min(8, 2 * node.gpus.count + 2) + 1):
        more = Edit(("nodes", node_name, "gpus", "count"), count)
        yield Remedy(f"`count: {count}` of these GPUs", (more, *edits), kind="count")


def _larger_gpu(spec: Spec, device: Device) -> Iterator[Remedy]:
    node_name, node = _only_node(spec)
    if node.gpus is None or len(node.cards) > 1:
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
