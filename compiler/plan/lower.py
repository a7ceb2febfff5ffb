"""Solution → Plan: flags, timeouts, paths and names. Nothing is decided about memory here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from compiler.catalog.hardware.gpus import GPUS
from compiler.catalog.vllm.doors import MEDIA_DOMAINS, NO_DOMAIN, OF_ALL, OF_MEDIA, OF_RANKS
from compiler.catalog.vllm.flags import load_flags, render
from compiler.catalog.vllm.parsers import Role
from compiler.catalog.vllm.releases import Release
from compiler.checks.paths import default_folder
from compiler.engines.vllm.answers.chats import AUTO, formats
from compiler.engines.vllm.answers.media import is_text_only, takes_media
from compiler.engines.vllm.answers.parsers import WANTS_TOOLS, parsers_of, wanted_roles
from compiler.engines.vllm.answers.tasks import scoring_overrides
from compiler.engines.vllm.judge.remote_code import code_needed
from compiler.engines.vllm.judge.variants import Variant
from compiler.engines.vllm.kernels.attention import CPU_LATENT_BACKEND, is_latent
from compiler.engines.vllm.memory.attention.pooled_keys import TABLES_ON_GPU, has_ngram_tables
from compiler.ledger import RowKind
from compiler.lock.models import ModelFacts, repository_of
from compiler.lock.quantization import AWQ_FILE, GPTQ_FILE, checkpoint_format
from compiler.plan.host_needs import HOST_TARGETS, Start, host_needs
from compiler.plan.images import Pins, with_images
from compiler.plan.ir import (
    DEFAULT_LITELLM,
    Argument,
    CpuNode,
    Embedding,
    Engine,
    GpuNode,
    HostNeed,
    KvCache,
    ModelFile,
    Paths,
    Plan,
    Secrets,
    ServedModel,
    Service,
    Timeouts,
)
from compiler.plan.lower_operations import lower_gateway, lower_monitoring, lower_patches
from compiler.solve.attempt import devices_of
from compiler.solve.budget import UTILIZATION_STEPS, Server, Solution
from compiler.spec.load import SpecFile
from compiler.spec.models import NodeSpec, ServiceSpec, Spec
from compiler.units import GIB

# A server is ready when its weights are read and its graphs are captured. Both are bounded generously: a deadline that
# is too short kills a server that would have started.
_START_SECONDS = 900
_SECONDS_PER_GIB = 30  # a cold read from a network disk at 35 MiB/s
# The engine's own clock starts once the server has imported what it needs, and it is to give up before its supervisor.
_IMPORT_SECONDS = 120
_DRAIN_SECONDS = 30
# VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS (5) and vLLM's wait after SIGKILL (4), with a margin.
_STOP_MARGIN_SECONDS = 30


def lower_stack(
    file: SpecFile, solutions: Mapping[str, Solution], release: Release, pins: Pins | None = None
) -> tuple[Plan, ...]:
    """The plan of each node that has services; with several nodes in the spec, each has a folder of its own.

    Args:
        pins: digests of images that the lock holds.
    """
    if len(file.spec.nodes) == 1:
        plans = tuple(lower_plan(file, solution, release) for solution in solutions.values())
    else:
        plans = tuple(
            replace(lower_plan(_on(file, name), solution, release), folder=name) for name, solution in solutions.items()
        )
    return tuple(with_images(plan, pins or {}) for plan in plans)


def _on(file: SpecFile, node: str) -> SpecFile:
    return replace(file, spec=file.spec.on(node, file.spec.services))


def lower_plan(file: SpecFile, solution: Solution, release: Release) -> Plan:
    """The plan of a spec's only node, which every target renders."""
    spec = file.spec
    name, node = next(iter(spec.nodes.items()))
    services = tuple(_service(spec, s, solution, release) for s in solution.servers)
    return Plan(
        stack=spec.stack,
        engine=Engine(release.version, spec.engine.image or release.image, release.cuda, release.minimum_driver),
        node=_node(name, node),
        devices=solution.ledgers,
        services=services,
        paths=_paths(spec, release),
        secrets=Secrets(spec.secrets.hf_token, spec.secrets.api_key, spec.secrets.client_keys),
        targets=spec.targets,
        verdict=solution.verdict,
        gateway=lower_gateway(spec, services),
        monitoring=lower_monitoring(spec),
        patches=lower_patches(spec, services),
    )


def _node(name: str, node: NodeSpec) -> GpuNode | CpuNode:
    if node.cpu is not None:
        return CpuNode(name, node.cpu.memory)
    assert node.gpus is not None  # noqa: S101  checks.py refuses a node that is neither
    device = devices_of(node)[0]
    known = GPUS.get(node.gpus.model) if node.gpus.model is not None else None
    return GpuNode(
        name=name,
        title=device.title,
        count=node.gpus.count,
        memory=device.total,
        compute_capability=device.capability or (0, 0),
        uuids=node.gpus.uuids,
        mig=node.gpus.mig,
        product=known.product if known is not None else None,
    )


def _paths(spec: Spec, release: Release) -> Paths:
    """Defaults: the tree under /opt/stackc, state under /var/lib/stackc, a virtual environment for each release."""
    return Paths(
        install=spec.paths.install or default_folder("install", spec.stack),
        state=spec.paths.state or default_folder("state", spec.stack),
        vllm=spec.paths.vllm or f"/opt/stackc/vllm-{release.version}/bin/vllm",
        nginx=spec.paths.nginx or "/usr/sbin/nginx",
        litellm=spec.paths.litellm or DEFAULT_LITELLM,
    )


def _service(stack: Spec, server: Server, solution: Solution, release: Release) -> Service:
    demand, shape = server.demand, server.demand.shape
    spec = stack.services[demand.service]
    layout = demand.layout
    cache = KvCache(
        dtype=layout.dtype,
        block_size=layout.block_size,
        bytes_per_block=layout.bytes_per_block,
        num_blocks=server.blocks,
        capacity_tokens=layout.capacity_tokens(server.blocks, shape.max_model_len),
        max_concurrency=round(layout.max_concurrency(server.blocks, shape.max_model_len), 2),
    )
    rows = (row for stage in demand.stages for row in stage.rows if row.kind is RowKind.WEIGHTS)
    timeouts = _timeouts(shape.tensor_parallel_size * sum(row.bytes.high for row in rows))
    domains = spec.allowed_media_domains if takes_media(demand.variant.facts, release.version) else None
    return Service(
        name=demand.service,
        task=spec.task,
        model=_model(spec, demand.variant),
        served_name=spec.served_name or demand.service,
        host=spec.host,
        port=spec.port,
        devices=server.devices,
        start_after=server.start_after,
        dtype=shape.served_dtype,
        max_model_len=shape.max_model_len,
        concurrency=demand.terms.concurrency,
        max_num_seqs=shape.max_num_seqs,
        max_num_batched_tokens=shape.max_num_batched_tokens,
        gpu_memory_utilization=server.utilization,
        kv_cache=cache,
        timeouts=timeouts,
        arguments=tuple(_arguments(spec, server, cache, timeouts, release)),
        environment=tuple(sorted((_environment(timeouts, release, solution) | _shut(domains)).items())),
        pipeline_parallel_size=shape.pipeline_parallel_size,
        solved=tuple(key for key in ("context", "concurrency") if getattr(spec, key).is_solved),
        candidate_of=stack.candidate_of(demand.service),
        features=spec.features,
        embedding=_embedding(demand.variant),
        labels=demand.variant.labels,
        media_domains=domains,
        host_needs=_host_needs(stack, spec, server, cache),
    )


def _host_needs(stack: Spec, spec: ServiceSpec, server: Server, cache: KvCache) -> tuple[HostNeed, ...]:
    if not HOST_TARGETS & set(stack.targets):
        return ()
    demand = server.demand
    node = next(iter(stack.nodes.values()))
    start = Start(
        capability=devices_of(node)[0].capability if node.gpus is not None else None,
        processors=_processors(node),
        generates=not spec.pools,
        is_eager=spec.enforce_eager,
        kv_dtype=cache.dtype,
        config=demand.variant.facts.config,
        attention_backend=spec.attention_backend,
    )
    return host_needs(start)


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


def _model(spec: ServiceSpec, variant: Variant) -> ServedModel:
    facts = variant.facts
    is_folder = facts.source == "folder"
    sizes = [file.size for file in facts.weights]
    known = [size for size in sizes if size is not None]
    return ServedModel(
        requested=spec.model,
        repository=None if is_folder else repository_of(variant.name),
        folder=variant.name if is_folder else None,
        commit=facts.commit,
        is_pinned=facts.is_pinned,
        license=facts.license,
        quantization=variant.method,
        weights_bytes=sum(known) if sizes and len(known) == len(sizes) else None,
        unconfirmed=facts.unconfirmed,
        files=tuple(ModelFile(file.path, file.size, file.sha256) for file in facts.weights),
        base_models=facts.base_models,
    )


def _timeouts(weights_bytes: int) -> Timeouts:
    ready = _START_SECONDS + _SECONDS_PER_GIB * -(-weights_bytes // GIB)
    return Timeouts(ready=ready, start=ready + 120, drain=_DRAIN_SECONDS, stop=_DRAIN_SECONDS + _STOP_MARGIN_SECONDS)


def _arguments(
    spec: ServiceSpec, server: Server, cache: KvCache, timeouts: Timeouts, release: Release
) -> Iterator[Argument]:
    shape, facts = server.demand.shape, server.demand.variant.facts
    yield Argument("--served-model-name", spec.served_name or server.demand.service, "spec")
    yield Argument("--host", spec.host, "spec")
    yield Argument("--port", str(spec.port), "spec")
    yield Argument("--dtype", shape.served_dtype, "checkpoint and device")
    if facts.quantization_file in (AWQ_FILE, GPTQ_FILE):
        # vLLM looks for these files only when it is told the method; from config.json it finds it by itself.
        yield Argument("--quantization", checkpoint_format(facts), f"checkpoint's {facts.quantization_file}")
    yield Argument("--max-model-len", str(shape.max_model_len), _context_reason(spec))
    yield Argument("--max-num-seqs", str(shape.max_num_seqs), "spec" if spec.max_num_seqs else "default")
    yield Argument("--max-num-batched-tokens", str(shape.max_num_batched_tokens), "spec or device")
    if release.build == "gpu":
        yield Argument("--tensor-parallel-size", str(shape.tensor_parallel_size), "placement")
        if shape.pipeline_parallel_size > 1:
            yield Argument("--pipeline-parallel-size", str(shape.pipeline_parallel_size), "placement")
        if spec.expert_parallel:
            yield Argument("--enable-expert-parallel", None, "spec")
        yield Argument("--gpu-memory-utilization", _decimal(server.utilization), "ledger")
    elif is_latent(server.demand.variant.architecture):
        yield Argument("--attention-backend", CPU_LATENT_BACKEND, "runs on every CPU, with and without AMX")
    if cache.bytes:
        yield Argument("--kv-cache-memory-bytes", str(cache.bytes), "ledger")
    elif release.build == "cpu":
        # Without a size the CPU build wants 92 % of the machine free (vllm/v1/worker/cpu_worker.py, 0.32.0).
        yield Argument("--kv-cache-memory-bytes", "1", "nothing is cached")
    yield from _ngram_arguments(server.demand.variant)
    if spec.kv_cache_dtype != "auto":
        yield Argument("--kv-cache-dtype", spec.kv_cache_dtype, "spec")
    if code_needed(spec, facts, release) is not None:
        # The policy allowed it, or there would be no plan; the code is the snapshot's own, at its commit.
        yield Argument("--trust-remote-code", None, "policy")
    yield Argument("--shutdown-timeout", str(timeouts.drain), "units' stop timeout")
    yield from _media_arguments(spec, server.demand.variant, release)
    yield from _task_arguments(spec, server.demand.variant)
    yield from _parsers(spec, server.demand.variant, release)
    pinned = _formats(spec, facts, release)
    yield from (Argument(name, value, "the files that were proved") for name, value in pinned.items())
    yield from _user_arguments(spec, release, pinned)


def _media_arguments(spec: ServiceSpec, variant: Variant, release: Release) -> Iterator[Argument]:
    """What a prompt may hold, and what a client may have the server fetch. Media inside a request need no domain."""
    is_reader = takes_media(variant.facts, release.version)
    if is_reader and is_text_only(spec, variant.facts):
        yield Argument("--language-model-only", None, "media")
    elif is_reader and spec.media is not None:
        yield Argument("--limit-mm-per-prompt", json.dumps(spec.media, sort_keys=True), "media")
    if spec.allowed_media_domains:
        yield Argument(MEDIA_DOMAINS, spec.allowed_media_domains, "spec")
    elif is_reader:
        # Also for text alone: whether a URL is fetched before its kind is refused is the engine's affair.
        yield Argument(MEDIA_DOMAINS, NO_DOMAIN, "no domain in the spec: nothing is fetched")


def _ngram_arguments(variant: Variant) -> Iterator[Argument]:
    """By default vLLM pins such tables in memory of the machine, which no ledger proves."""
    if has_ngram_tables(variant.architecture):
        yield Argument("--engram-config", TABLES_ON_GPU, "n-gram tables lie where their bytes are counted")


def _task_arguments(spec: ServiceSpec, variant: Variant) -> Iterator[Argument]:
    if spec.pools:
        yield Argument("--runner", "pooling", "task")
    if variant.convert is not None:
        yield Argument("--convert", variant.convert, "task")
    if variant.score_tokens:
        overrides = json.dumps(scoring_overrides(variant.score_tokens))
        yield Argument("--hf-overrides", overrides, "score_tokens" if spec.score_tokens else "the model's card")


def _parsers(spec: ServiceSpec, variant: Variant, release: Release) -> Iterator[Argument]:
    """What `features` stand for, as far as the spec does not say it in `engine_args`."""
    catalog = load_flags(release.version)
    given = {flag.name for key in spec.engine_args if (flag := catalog.find(key)) is not None}
    for role in wanted_roles(spec):
        if role is Role.TOOLS and WANTS_TOOLS not in given:
            yield Argument(WANTS_TOOLS, None, "features")
        if role not in given:
            names = parsers_of(variant.facts, role, catalog)
            assert names  # noqa: S101  check_features refuses a service that has none
            yield Argument(role, names[0], "features and the model's family")


def _context_reason(spec: ServiceSpec) -> str:
    return "the longest context that fits" if spec.context.is_solved else "context"


def _decimal(utilization: int) -> str:
    return f"{utilization / UTILIZATION_STEPS:.4f}"


def _formats(spec: ServiceSpec, facts: ModelFacts, release: Release) -> dict[str, str]:
    """Options that hold the server to the files of the plan, less those for which the user says more than `auto`."""
    catalog = load_flags(release.version)
    given = {flag.name for key, value in spec.engine_args.items() if value != AUTO and (flag := catalog.find(key))}
    return {name: value for name, value in formats(spec, facts, release.version) if name not in given}


def _user_arguments(spec: ServiceSpec, release: Release, pinned: Mapping[str, str]) -> Iterator[Argument]:
    """Less an `auto` in whose place the plan has its own choice."""
    catalog = load_flags(release.version)
    for key in sorted(spec.engine_args):
        flag = catalog.find(key)
        assert flag is not None  # noqa: S101  engine_args.py refuses what the catalog lacks
        name, value = render(flag, spec.engine_args[key])
        if name not in pinned:
            yield Argument(name, value, "engine_args")


def _shut(domains: tuple[str, ...] | None) -> dict[str, str]:
    """Variables that keep a server from opening more than the plan says, and its ranks on this machine."""
    return {**OF_ALL, **OF_RANKS, **(OF_MEDIA if domains is not None else {})}


def _environment(timeouts: Timeouts, release: Release, solution: Solution) -> dict[str, str]:
    """Variables of a server; the launch script adds those that depend on where it runs."""
    environment = {"VLLM_ENGINE_READY_TIMEOUT_S": str(timeouts.ready - _IMPORT_SECONDS)}
    if release.build == "cpu" and len(solution.servers) > 1:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # servers on one CPU would fight over the same cores
    return environment
