"""Solution → Plan: names, places and paths. How a server starts is its engine's answer; memory is decided before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from compiler.catalog.hardware.gpus import GPUS
from compiler.checks.paths import default_folder
from compiler.engines.interface.candidate import Adapter
from compiler.engines.interface.demand import Variant
from compiler.engines.interface.host import HostFacts
from compiler.engines.interface.launch import Seat
from compiler.engines.interface.pinned import PinnedEngine, PinnedEngines, engine_of
from compiler.ledger import DeviceLedger, Verdict
from compiler.lock.gguf import GgufFile
from compiler.lock.models import ModelFacts, repository_of
from compiler.lock.quantization import quantization_method
from compiler.plan.groups import groups_on
from compiler.plan.images import Pins, with_images
from compiler.plan.ir import (
    DEFAULT_LITELLM,
    Card,
    CpuNode,
    Draft,
    Embedding,
    Engine,
    GpuNode,
    Group,
    ModelFile,
    Objectives,
    Paths,
    Plan,
    Secrets,
    ServedAdapter,
    ServedModel,
    Service,
)
from compiler.plan.kubernetes import lower_kubernetes
from compiler.plan.lowering.gateway import lower_gateway, on_node, with_entrance
from compiler.plan.lowering.operations import lower_monitoring, lower_patches, lower_slurm
from compiler.plan.speed import estimator, service_speed
from compiler.solve.attempt import gpu_device, machine_of
from compiler.solve.budget import Server, Solution, is_on_devices, start_order, unused
from compiler.spec.models import Spec
from compiler.spec.nodes.models import GpusSpec, NodeSpec
from compiler.spec.nodes.parts import index_on_machine, machine_of_part, whole
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec

# Targets whose servers run from the machine's own packages.
_ON_HOST = frozenset(("scripts", "systemd", "slurm"))


def lower_stack(
    file: SpecFile, solutions: Mapping[str, Solution], engines: PinnedEngines, pins: Pins | None = None
) -> tuple[Plan, ...]:
    """The plan of each node that has services; with several nodes in the spec, each has a folder of its own.

    Args:
        engines: that the spec pins.
        pins: digests of images that the lock holds.
    """
    spec, parts = file.spec, _by_machine(file.spec)
    used = dict.fromkeys(machine_of_part(name) for name in solutions)
    machines = (_machine(_on(spec, parts[name], solutions), name, parts[name], solutions) for name in used)
    together = {name: groups_on(name, solution, spec) for name, solution in solutions.items()}
    plans = tuple(_lowered(machine, engines, together.get(machine.name, {})) for machine in machines)
    if len(parts) > 1:
        plans = with_entrance(spec, tuple(replace(plan, folder=plan.node.name) for plan in plans))
    return tuple(with_images(plan, pins or {}) for plan in plans)


def _on(spec: Spec, parts: tuple[str, ...], solutions: Mapping[str, Solution]) -> Spec:
    """The stack that one machine is."""
    if len(spec.machines) == 1:
        return spec
    servers = (server for part in parts if part in solutions for server in solutions[part].servers)
    return on_node(spec, machine_of_part(parts[0]), [server.demand.service for server in servers])


def _by_machine(spec: Spec) -> Mapping[str, tuple[str, ...]]:
    """The nodes of the solver that each machine is."""
    found: dict[str, list[str]] = {}
    for name in spec.nodes:
        found.setdefault(machine_of_part(name), []).append(name)
    return {machine: tuple(names) for machine, names in found.items()}


@dataclass(frozen=True, slots=True)
class _Placed:
    """A server, where it is.

    Attributes:
        node: the solver's, which may be a part of the machine.
        devices: on the machine.
        is_alone: whether nothing else runs there.
    """

    server: Server
    node: NodeSpec
    devices: tuple[int, ...]
    is_alone: bool


@dataclass(frozen=True, slots=True)
class _Machine:
    """One machine, as it was solved.

    Attributes:
        spec: the stack that it is.
        placed: in start order.
    """

    name: str
    spec: Spec
    placed: tuple[_Placed, ...]
    ledgers: tuple[DeviceLedger, ...]
    host: DeviceLedger | None
    verdict: Verdict


def _machine(spec: Spec, name: str, parts: tuple[str, ...], solutions: Mapping[str, Solution]) -> _Machine:
    nodes = {part: spec.nodes[part] for part in parts}
    solved = [(node, solutions.get(part) or unused(machine_of(node))) for part, node in nodes.items()]
    placed = [each for node, solution in solved for each in _placed(node, solution)]
    ledgers = [_on_machine(node, ledger) for node, solution in solved for ledger in solution.ledgers]
    verdicts = [solution.verdict for _, solution in solved]
    return _Machine(
        name,
        spec,
        tuple(sorted(placed, key=lambda each: start_order(each.server)) if len(parts) > 1 else placed),
        tuple(sorted(ledgers, key=lambda ledger: ledger.index)),
        next((solution.host for _, solution in solved if solution.host is not None), None),
        next((verdict for verdict in verdicts if verdict is not Verdict.FITS), Verdict.FITS),
    )


def _on_machine(node: NodeSpec, ledger: DeviceLedger) -> DeviceLedger:
    return replace(ledger, index=index_on_machine(node, ledger.index))


def _placed(node: NodeSpec, solution: Solution) -> Iterator[_Placed]:
    for server in solution.servers:
        held = server.devices if is_on_devices(server.demand) else ()
        devices = tuple(index_on_machine(node, device) for device in held)
        yield _Placed(server, node, devices, len(solution.servers) == 1)


def lower_plan(file: SpecFile, solution: Solution, engines: PinnedEngines) -> Plan:
    """The plan of a spec's only node, which every target renders."""
    name = next(iter(file.spec.nodes))
    return _lowered(_machine(file.spec, name, (name,), {name: solution}), engines)


def _lowered(machine: _Machine, engines: PinnedEngines, groups: Mapping[str, Group] | None = None) -> Plan:
    """The plan of a machine.

    Args:
        groups: of servers that span machines, by service.
    """
    spec = machine.spec
    used = [engine_of(spec.services[each.server.demand.service], engines) for each in machine.placed]
    pairs = zip(machine.placed, used, strict=True)
    together = groups or {}
    services = tuple(
        _service(spec, placed, engine, together.get(placed.server.demand.service)) for placed, engine in pairs
    )
    answering = [service for service in services if service.answers]
    # In the spec's order, whichever starts first: the first one's image also downloads the models.
    planned = {each.name: _engine(spec, each) for each in engines.values() if each in used}
    return Plan(
        stack=spec.stack,
        engines=planned,
        node=_node(machine.name, whole(next(iter(spec.nodes.values())))),
        devices=machine.ledgers,
        services=services,
        paths=_paths(spec),
        secrets=Secrets(spec.secrets.hf_token, spec.secrets.api_key, spec.secrets.client_keys),
        targets=spec.targets,
        verdict=machine.verdict,
        gateway=lower_gateway(spec, answering) if answering else None,
        monitoring=lower_monitoring(spec, [engine.host for engine in planned.values()]) if answering else None,
        patches=lower_patches(spec, services),
        kubernetes=lower_kubernetes(spec, machine.name, next(iter(spec.nodes.values()))),
        host=machine.host,
        slurm=lower_slurm(spec),
    )


def _engine(spec: Spec, engine: PinnedEngine) -> Engine:
    host = engine.host(on_gpu=spec.has_gpus)
    image = spec.engine.image_of(engine.name, on_cpu=not spec.has_gpus) or host.container.image
    own: str | None = getattr(spec.paths, program_key(spec, host, on_cpu=not spec.has_gpus))
    return Engine(engine.version, image, own or host.program.path, host)


def program_key(spec: Spec, host: HostFacts, *, on_cpu: bool) -> str:
    """The key of `paths` that names the executable of an engine on a kind of node."""
    has_other = on_cpu and host.name in spec.engine.cpu_releases
    return f"{host.program.key}_cpu" if has_other else host.program.key


def _node(name: str, node: NodeSpec) -> GpuNode | CpuNode:
    if node.cpu is not None:
        return CpuNode(name, node.cpu.memory, node.address)
    assert node.gpus is not None  # noqa: S101  checks.py refuses a node that is neither
    cards = tuple(_card(gpus, node.reserve) for gpus in node.cards for _ in range(gpus.count))
    first = cards[0]
    return GpuNode(
        name=name,
        title=first.title,
        count=len(cards),
        memory=first.memory,
        compute_capability=first.compute_capability,
        uuids=tuple(uuid for gpus in node.cards for uuid in gpus.uuids),
        mig=node.gpus.mig,
        product=first.product,
        cards=cards if len(set(cards)) > 1 else (),
        address=node.address,
    )


def _card(gpus: GpusSpec, reserve: int) -> Card:
    device = gpu_device(gpus, reserve)
    known = GPUS.get(gpus.model) if gpus.model is not None else None
    product = known.product if known is not None else None
    return Card(device.title, device.total, device.capability or (0, 0), product)


def _paths(spec: Spec) -> Paths:
    """Defaults: the tree under /opt/stackc, state under /var/lib/stackc."""
    return Paths(
        install=spec.paths.install or default_folder("install", spec.stack),
        state=spec.paths.state or default_folder("state", spec.stack),
        nginx=spec.paths.nginx or "/usr/sbin/nginx",
        litellm=spec.paths.litellm or DEFAULT_LITELLM,
    )


def _service(stack: Spec, placed: _Placed, engine: PinnedEngine, group: Group | None) -> Service:
    server, demand = placed.server, placed.server.demand
    spec = stack.services[demand.service]
    launch = engine.launch(replace(_seat(stack, placed), group=group))
    found = estimator(engine, spec, placed.node, server, launch.max_num_seqs)
    return Service(
        name=demand.service,
        engine=engine.name,
        task=spec.task,
        model=_model(spec, demand.variant),
        served_name=spec.served_name or demand.service,
        host=spec.host,
        port=spec.port,
        devices=placed.devices,
        start_after=server.start_after,
        max_model_len=launch.max_model_len,
        concurrency=demand.terms.concurrency,
        max_num_seqs=launch.max_num_seqs,
        kv_cache=launch.kv_cache,
        timeouts=launch.timeouts,
        words=launch.words,
        arguments=launch.arguments,
        environment=launch.environment,
        figures=launch.figures,
        solved=tuple(key for key in ("context", "concurrency", "replicas") if getattr(spec, key).is_solved),
        candidate_of=stack.candidate_of(demand.service),
        replica_of=stack.replica_of(demand.service),
        replicas=stack.servers_of(stack.service_of(demand.service)),
        features=spec.features,
        embedding=_embedding(demand.variant),
        labels=demand.variant.labels,
        media_domains=launch.media_domains,
        host_needs=launch.host_needs,
        shared_memory=launch.shared_memory,
        notes=launch.notes,
        uses_gpus=launch.uses_gpus,
        measures=launch.measures,
        speed=service_speed(found, demand.terms.concurrency),
        objectives=_objectives(spec),
        group=group,
        adapters=tuple(map(_adapter, demand.variant.adapters)),
        draft=_draft(spec, demand.variant),
    )


def _objectives(spec: ServiceSpec) -> Objectives | None:
    asked = spec.objectives
    return None if asked is None else Objectives(asked.ttft_p95, asked.tokens_per_second)


def _seat(stack: Spec, placed: _Placed) -> Seat:
    server, node = placed.server, placed.node
    return Seat(
        spec=stack.services[server.demand.service],
        demand=server.demand,
        devices=placed.devices,
        units=server.units,
        utilization=server.utilization,
        capability=machine_of(node).devices[0].capability if node.gpus is not None else None,
        processors=_processors(node),
        runs_on_host=bool(_ON_HOST & set(stack.targets)),
        is_alone=placed.is_alone,
    )


def _processors(node: NodeSpec) -> int | None:
    if node.gpus is None or node.gpus.mig is None:
        return None
    known = GPUS.get(node.gpus.model or "")
    profile = known.profile(node.gpus.mig) if known is not None else None
    return profile.multiprocessors if profile is not None else None


def _embedding(variant: Variant) -> Embedding | None:
    if variant.dimension is None:
        return None
    facts = variant.facts.embedding
    return Embedding(variant.dimension, None if facts is None else facts.normalized)


def _draft(spec: ServiceSpec, variant: Variant) -> Draft | None:
    drafting = variant.drafting
    if drafting is None or drafting.name is None or drafting.facts is None:
        return None if drafting is None else Draft(drafting.method, drafting.tokens)
    named = spec.speculate.model if spec.speculate is not None else None
    model = _served(named or drafting.name, drafting.name, drafting.facts, quantization_method(drafting.facts), None)
    return Draft(drafting.method, drafting.tokens, model)


def _adapter(adapter: Adapter) -> ServedAdapter:
    facts = adapter.facts.adapter
    assert facts is not None  # noqa: S101  the lock has adapters only of that kind
    model = _served(adapter.spec.model, adapter.key, adapter.facts, "none", None)
    return ServedAdapter(adapter.spec.name, model, facts.largest_rank or 1, facts.base_model)


def _model(spec: ServiceSpec, variant: Variant) -> ServedModel:
    return _served(spec.model, variant.name, variant.facts, variant.method, variant.projector)


def _served(requested: str, key: str, facts: ModelFacts, method: str, projector: GgufFile | None) -> ServedModel:
    place, is_folder = repository_of(key), facts.source == "folder"
    weights = facts.weights if facts.gguf is None else (*facts.gguf.files, *((projector,) if projector else ()))
    sizes = [file.size for file in weights]
    known = [size for size in sizes if size is not None]
    return ServedModel(
        requested=requested,
        repository=None if is_folder else place,
        # A spec may name the file itself.
        folder=None
        if not is_folder
        else str(PurePosixPath(place).parent)
        if place.lower().endswith(".gguf")
        else place,
        commit=facts.commit,
        is_pinned=facts.is_pinned,
        license=facts.license,
        quantization=method,
        weights_bytes=sum(known) if sizes and len(known) == len(sizes) else None,
        unconfirmed=facts.unconfirmed,
        files=tuple(ModelFile(file.path, file.size, file.sha256) for file in weights),
        base_models=facts.base_models,
        file=None if facts.gguf is None else facts.gguf.path,
        projector=None if projector is None else projector.path,
    )
