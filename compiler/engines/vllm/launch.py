"""How `vllm serve` is started: options, variables and times. Nothing is decided about memory here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from compiler.engines.common.options import render
from compiler.engines.interface.candidate import Adapter
from compiler.engines.interface.group import Group
from compiler.engines.interface.launch import (
    AdapterWord,
    Argument,
    Figure,
    HostNeed,
    KvCache,
    Launch,
    Placeholder,
    Seat,
    Timeouts,
    Word,
)
from compiler.engines.vllm.answers.chats import AUTO, formats
from compiler.engines.vllm.answers.media import is_text_only, takes_media
from compiler.engines.vllm.answers.parser_table import Role
from compiler.engines.vllm.answers.parsers import WANTS_TOOLS, parsers_of, wanted_roles
from compiler.engines.vllm.answers.tasks import scoring_overrides
from compiler.engines.vllm.demand import Demand, own
from compiler.engines.vllm.drafter import ENGINE_METHODS
from compiler.engines.vllm.host.doors import (
    MEDIA_DOMAINS,
    NO_DOMAIN,
    OF_ALL,
    OF_MEDIA,
    OF_RANKS,
    OF_STAGES_ON_CPU,
    of_group,
)
from compiler.engines.vllm.host.host_needs import Start, host_needs
from compiler.engines.vllm.judge.remote_code import code_needed
from compiler.engines.vllm.judge.variant import Variant, own_variant
from compiler.engines.vllm.kernels.attention import CPU_LATENT_BACKEND, is_latent
from compiler.engines.vllm.memory.attention.pooled_keys import TABLES_ON_GPU, has_ngram_tables
from compiler.engines.vllm.memory.lora.adapters import AdapterSlots
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.options.catalog import load_flags
from compiler.engines.vllm.releases.release import Release
from compiler.ledger import RowKind
from compiler.lock.models import ModelFacts
from compiler.lock.quantization import AWQ_FILE, GPTQ_FILE, checkpoint_format, whole_config
from compiler.spec.services import ServiceSpec
from compiler.units import GIB, MIB

# A server is ready when its weights are read and its graphs are captured. Both are bounded generously: a deadline that
# is too short kills a server that would have started.
_START_SECONDS = 900
_SECONDS_PER_GIB = 30  # a cold read from a network disk at 35 MiB/s
_SECONDS_PER_ADAPTER = 5
# The engine's own clock starts once the server has imported what it needs, and it is to give up before its supervisor.
_IMPORT_SECONDS = 120
_DRAIN_SECONDS = 30
# VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS (5) and vLLM's wait after SIGKILL (4), with a margin.
_STOP_MARGIN_SECONDS = 30

_UTILIZATION_STEPS = 10_000


def launch(seat: Seat, release: Release) -> Launch:
    """How `vllm serve` of a release is started in its place."""
    demand = own(seat.demand)
    shape, facts = demand.shape, demand.variant.facts
    cache = _kv_cache(demand, seat.units)
    timeouts = _timeouts(_weights_bytes(demand), own_variant(demand).slots)
    domains = seat.spec.allowed_media_domains if takes_media(facts, release.version) else None
    variables = _environment(seat, timeouts, release) | _shut(domains, seat.group)
    if seat.capability is None and shape.pipeline_parallel_size > 1:
        variables |= OF_STAGES_ON_CPU
    return Launch(
        words=("serve", Placeholder.MODEL, *_adapter_words(seat)),
        arguments=tuple(_arguments(seat, demand, cache, timeouts, release)),
        environment=tuple(sorted(variables.items())),
        timeouts=timeouts,
        max_model_len=shape.max_model_len,
        max_num_seqs=shape.max_num_seqs,
        kv_cache=cache,
        figures=_figures(seat, demand),
        media_domains=domains,
        host_needs=_host_needs(seat, facts, cache) if seat.runs_on_host else (),
        shared_memory=_shared_memory(len(seat.devices), has_queues=seat.group is not None),
        # On a CPU it gets its KV cache in bytes and measures nothing that a neighbour could spoil; it only asks whether
        # so many bytes are available (vLLM 0.32.0, v1/worker/cpu_worker.py:determine_available_memory).
        measures=seat.capability is not None,
        notes=tuple(_notes(seat, demand)),
    )


def _notes(seat: Seat, demand: Demand) -> Iterator[str]:
    """What adapters take of main memory, which nothing else here counts."""
    slots, ranks = own_variant(demand).slots, len(seat.devices)
    if slots is not None and seat.capability is not None:
        yield (
            f"its {ranks} process{'es keep' if ranks > 1 else ' keeps'} all adapters in pinned main memory: "
            f"{ranks} × {slots.held_bytes} = {ranks * slots.held_bytes} bytes, the largest counted twice"
        )


def _kv_cache(demand: Demand, blocks: int) -> KvCache:
    layout, length = demand.layout, demand.shape.max_model_len
    return KvCache(
        dtype=layout.dtype,
        block_size=layout.block_size,
        bytes_per_block=layout.bytes_per_block,
        num_blocks=blocks,
        capacity_tokens=layout.capacity_tokens(blocks, length),
        max_concurrency=round(layout.max_concurrency(blocks, length), 2),
    )


def _figures(seat: Seat, demand: Demand) -> dict[str, Figure]:
    shape = demand.shape
    return {
        "dtype": shape.served_dtype,
        "max_num_batched_tokens": shape.max_num_batched_tokens,
        "tensor_parallel_size": shape.tensor_parallel_size,
        "pipeline_parallel_size": shape.pipeline_parallel_size,
        "gpu_memory_utilization": seat.utilization / _UTILIZATION_STEPS,
    }


def _host_needs(seat: Seat, facts: ModelFacts, cache: KvCache) -> tuple[HostNeed, ...]:
    start = Start(
        capability=seat.capability,
        processors=seat.processors,
        generates=not seat.spec.pools,
        is_eager=seat.spec.enforce_eager,
        kv_dtype=cache.dtype,
        config=whole_config(facts),
        attention_backend=seat.spec.attention_backend,
    )
    return host_needs(start)


def _shared_memory(workers: int, *, has_queues: bool) -> int:
    """What /dev/shm must hold for the queues between `workers` processes; 0 for a single one, unless it has queues too.

    vLLM 0.33.0 wants 160 MiB for the broadcast queue and 240 MiB for each reply queue
    (vllm/distributed/device_communicators/shm_broadcast.py).
    """
    return (160 + 240 * workers) * MIB if workers > 1 or has_queues else 0


def _weights_bytes(demand: Demand) -> int:
    """Of all ranks, at most."""
    rows = (row for stage in demand.ranks for row in stage.rows if row.kind is RowKind.WEIGHTS)
    return demand.shape.tensor_parallel_size * sum(row.bytes.high for row in rows)


def _timeouts(weights_bytes: int, adapters: AdapterSlots | None) -> Timeouts:
    ready = _START_SECONDS + _SECONDS_PER_GIB * -(-weights_bytes // GIB)
    if adapters is not None:  # one is loaded after the other, once the engine is up
        ready += _SECONDS_PER_ADAPTER * adapters.held + _SECONDS_PER_GIB * -(-adapters.held_bytes // GIB)
    return Timeouts(ready=ready, start=ready + 120, drain=_DRAIN_SECONDS, stop=_DRAIN_SECONDS + _STOP_MARGIN_SECONDS)


def _arguments(seat: Seat, demand: Demand, cache: KvCache, timeouts: Timeouts, release: Release) -> Iterator[Argument]:
    spec, variant, shape, facts = seat.spec, own_variant(demand), demand.shape, demand.variant.facts
    yield Argument("--served-model-name", spec.served_name or seat.service, "spec")
    yield Argument("--host", spec.host, "spec")
    yield Argument("--port", str(spec.port), "spec")
    yield Argument("--dtype", shape.served_dtype, "checkpoint and device")
    if facts.quantization_file in (AWQ_FILE, GPTQ_FILE):
        # vLLM looks for these files only when it is told the method; from config.json it finds it by itself.
        yield Argument("--quantization", checkpoint_format(facts), f"checkpoint's {facts.quantization_file}")
    yield Argument("--max-model-len", str(shape.max_model_len), _context_reason(spec))
    yield Argument("--max-num-seqs", str(shape.max_num_seqs), _seats_reason(spec))
    yield Argument("--max-num-batched-tokens", str(shape.max_num_batched_tokens), "spec or device")
    if release.build == "gpu" or seat.group is not None:
        yield from _division_arguments(seat, shape)
    if release.build == "gpu":
        yield Argument("--gpu-memory-utilization", f"{seat.utilization / _UTILIZATION_STEPS:.4f}", "ledger")
    elif is_latent(variant.architecture):
        yield Argument("--attention-backend", CPU_LATENT_BACKEND, "runs on every CPU, with and without AMX")
    if cache.bytes:
        yield Argument("--kv-cache-memory-bytes", str(cache.bytes), "ledger")
    elif release.build == "cpu":
        # Without a size the CPU build wants 92 % of the machine free (vllm/v1/worker/cpu_worker.py, 0.32.0).
        yield Argument("--kv-cache-memory-bytes", "1", "nothing is cached")
    yield from _ngram_arguments(variant)
    yield from _adapter_arguments(variant)
    if spec.kv_cache_dtype != "auto":
        yield Argument("--kv-cache-dtype", spec.kv_cache_dtype, "spec")
    if code_needed(spec, facts, release) is not None:
        # The policy allowed it, or there would be no plan; the code is the snapshot's own, at its commit.
        yield Argument("--trust-remote-code", None, "policy")
    yield Argument("--shutdown-timeout", str(timeouts.drain), "units' stop timeout")
    yield from _draft_arguments(variant)
    yield from _media_arguments(spec, variant, release)
    yield from _task_arguments(spec, variant)
    yield from _parsers(spec, variant, release)
    pinned = _formats(spec, facts, release)
    yield from (Argument(name, value, "the files that were proved") for name, value in pinned.items())
    yield from _user_arguments(spec, release, pinned)


def _division_arguments(seat: Seat, shape: ServerShape) -> Iterator[Argument]:
    yield Argument("--tensor-parallel-size", str(shape.tensor_parallel_size), "placement")
    if shape.pipeline_parallel_size > 1:
        yield Argument("--pipeline-parallel-size", str(shape.pipeline_parallel_size), "placement")
    if seat.spec.expert_parallel:
        yield Argument("--enable-expert-parallel", None, "spec")
    if seat.group is not None:
        yield from _group_arguments(seat.group)


def _group_arguments(group: Group) -> Iterator[Argument]:
    """How the machines of one server find each other; all but the first serve no HTTP.

    Ranks are then vLLM's own processes, also where Ray is installed (vllm/config/parallel.py:__post_init__).
    """
    yield Argument("--nnodes", str(group.size), "machines")
    yield Argument("--node-rank", str(group.rank), "machines")
    yield Argument("--master-addr", group.leader.address, "machines")
    yield Argument("--master-port", str(group.rendezvous_port), "machines")
    if not group.is_led_here:
        yield Argument("--headless", None, "machines")


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


def _draft_arguments(variant: Variant) -> Iterator[Argument]:
    """How tokens are drafted; a second model is the snapshot that was fetched, by its path."""
    drafter = variant.drafter
    if drafter is None:
        return
    yield Argument("--spec-method", ENGINE_METHODS[drafter.method], "speculate")
    if drafter.checkpoint is not None:
        yield Argument("--spec-model", Placeholder.DRAFT, "speculate")
    yield Argument("--spec-tokens", str(drafter.tokens), "speculate")


def _adapter_words(seat: Seat) -> tuple[Word, ...]:
    """`--lora-modules` with the folder of each: a name of the Hub would be fetched at whatever is newest then."""
    if not seat.demand.variant.adapters:
        return ()
    base = seat.spec.served_name or seat.service
    adapters = enumerate(seat.demand.variant.adapters)
    return ("--lora-modules", *(_adapter_word(index, each, base) for index, each in adapters))


def _adapter_word(index: int, adapter: Adapter, base: str) -> AdapterWord:
    """`base` is the name of the model, which the list of models then has as the adapter's parent."""
    before = json.dumps({"base_model_name": base, "name": adapter.spec.name}).removesuffix("}")
    return AdapterWord(index, f'{before}, "path": "', '"}')


def _adapter_arguments(variant: Variant) -> Iterator[Argument]:
    """Room for adapters: as many slots, of such a rank, in such modules as the ledger counts."""
    slots = variant.slots
    if slots is None:
        return
    yield Argument("--enable-lora", None, "adapters")
    yield Argument("--max-loras", str(slots.at_once), "adapters_at_once")
    yield Argument("--max-lora-rank", str(slots.rank), "the largest rank of all adapters")
    yield Argument("--max-cpu-loras", str(slots.held), "all adapters stay in main memory")
    if slots.modules is not None:
        yield Argument("--lora-target-modules", slots.modules, "what the adapters change")


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


def _seats_reason(spec: ServiceSpec) -> str:
    if spec.max_num_seqs:
        return "spec"
    return "default" if spec.speculate is None else "default beside drafts"


def _context_reason(spec: ServiceSpec) -> str:
    return "the longest context that fits" if spec.context.is_solved else "context"


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


def _shut(domains: tuple[str, ...] | None, group: Group | None) -> dict[str, str]:
    """Variables that keep a server from opening more than the plan says, and its ranks on this machine or its group."""
    ranks = OF_RANKS if group is None else of_group(group.own)
    return {**OF_ALL, **ranks, **(OF_MEDIA if domains is not None else {})}


def _environment(seat: Seat, timeouts: Timeouts, release: Release) -> dict[str, str]:
    """Variables of a server; the launch script adds those that depend on where it runs."""
    environment = {"VLLM_ENGINE_READY_TIMEOUT_S": str(timeouts.ready - _IMPORT_SECONDS)}
    if release.build == "cpu" and not seat.is_alone:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # servers on one CPU would fight over the same cores
    return environment
