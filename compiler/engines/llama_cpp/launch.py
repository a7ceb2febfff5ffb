"""How `llama-server` is started. Everything that it would decide by itself is given, so that a lack is an exit."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.engines.interface.launch import Argument, Figure, KvCache, Launch, Placeholder, Seat, Timeouts
from compiler.engines.llama_cpp.demand import Demand, own
from compiler.engines.llama_cpp.options.catalog import load_flags, render
from compiler.engines.llama_cpp.releases.rules import Release
from compiler.engines.llama_cpp.settings import CELLS
from compiler.engines.llama_cpp.terms import IMAGE_TOKENS
from compiler.engines.llama_cpp.variant import own_variant
from compiler.ledger import RowKind
from compiler.spec.services import ServiceSpec
from compiler.units import GB, GIB, MIB, format_gib

# Bounded generously, as every deadline: one that is too short kills a server that would have started.
_START_SECONDS = 300
_SECONDS_PER_GIB = 30  # a cold read from a network disk at 35 MiB/s
# On SIGTERM a server computes no more, and its process stays as long as clients keep their connections open
# (tools/server/server.cpp, tried on b10434): the supervisor drains what it can before, and ends the rest.
_DRAIN_SECONDS = 30
_STOP_MARGIN_SECONDS = 30

_LOG_LEVEL = "4"
"""Of the default level 3 the log says nothing of buffers, which is what a plan is compared with."""


def launch(seat: Seat, release: Release) -> Launch:
    """How `llama-server` of a build is started in its place."""
    demand = own(seat.demand)
    return Launch(
        words=_words(demand),
        arguments=tuple(_arguments(seat, demand, release)),
        environment=(("GGML_CUDA_ENABLE_UNIFIED_MEMORY", "0"),),
        timeouts=_timeouts(demand),
        max_model_len=demand.length,
        max_num_seqs=demand.settings.slots,
        kv_cache=_kv_cache(demand),
        figures=_figures(demand),
        notes=tuple(_notes(demand)),
        # Asking a GPU what is free takes a context on it (ggml/src/ggml-cuda/ggml-cuda.cu).
        uses_gpus=demand.division.gpu_layers > 0,
        # It takes what it was told, and asks nobody what is free.
        measures=False,
    )


def _words(demand: Demand) -> tuple[str, ...]:
    """Its files, which only the machine knows the places of."""
    words = ("--model", Placeholder.MODEL)
    return (*words, "--mmproj", Placeholder.PROJECTOR) if demand.settings.image_tokens else words


def _kv_cache(demand: Demand) -> KvCache:
    """All devices together: slots have cells of their own, so that its size is that of the promise."""
    units = demand.least_units
    return KvCache(
        dtype=demand.settings.key_type,
        block_size=CELLS,
        bytes_per_block=demand.cache_bytes // max(1, units),
        num_blocks=units,
        capacity_tokens=demand.settings.context,
        max_concurrency=float(demand.settings.slots),
    )


def _figures(demand: Demand) -> dict[str, Figure]:
    division, settings = demand.division, demand.settings
    return {
        "gpu_layers": division.gpu_layers,
        "layers": division.layers,
        "cpu_moe": division.cpu_moe,
        "batch_size": settings.batch,
        "ubatch_size": settings.ubatch,
    }


# tools/server/server-common.cpp, handle_media, b10435: no option forbids it, and none names hosts.
_FETCHED = (
    "where a request names an image by its address, the server fetches it from whatever host that is: a unit that "
    "listens on its machine alone reaches none, and a container behind the gateway neither; others do"
)
# GB/s of main memory, of two channels of DDR4 and of eight of DDR5; most machines lie between.
_SLOW_MEMORY, _FAST_MEMORY = 40, 250


def _notes(demand: Demand) -> Iterator[str]:
    """What images take of a context, and what it costs that layers or experts are computed in main memory."""
    projector = own_variant(demand).model.projector
    if projector is not None:
        what = "an image, or each tile of a large one," if projector.tower.has_tiles else "an image"
        yield (
            f"{what} takes up to {demand.settings.image_tokens} of a slot's {demand.length} tokens; a prompt holds as "
            "many as there is room for, whatever `media` says"
        )
        yield _FETCHED
    elif own_variant(demand).gguf.projector is not None:
        yield "it reads text alone, and has a projector beside it: `media: {image: 1}` has it read images"
    if not demand.division.is_fallback:
        return
    read = own_variant(demand).read_per_token(demand.terms, demand.division)
    most = [f"{GB * memory / max(1, read):.1f}" for memory in (_SLOW_MEMORY, _FAST_MEMORY)]
    yield (
        f"{demand.division}: a token reads {format_gib(read)} GiB of main memory, so that an answer gets at most "
        f"{most[0]} tokens a second at {_SLOW_MEMORY} GB/s and {most[1]} at {_FAST_MEMORY}: an upper bound, no forecast"
    )


def _timeouts(demand: Demand) -> Timeouts:
    parts = (*demand.ranks, *((demand.host,) if demand.host is not None else ()))
    weights = sum(row.bytes.high for part in parts for row in part.rows if row.kind is RowKind.WEIGHTS)
    ready = _START_SECONDS + _SECONDS_PER_GIB * -(-weights // GIB)
    return Timeouts(ready=ready, start=ready + 120, drain=_DRAIN_SECONDS, stop=_DRAIN_SECONDS + _STOP_MARGIN_SECONDS)


def _arguments(seat: Seat, demand: Demand, release: Release) -> Iterator[Argument]:
    spec, settings, host = seat.spec, demand.settings, demand.host_settings
    yield Argument("--alias", spec.served_name or seat.service, "spec")
    yield Argument("--host", spec.host, "spec")
    yield Argument("--port", str(spec.port), "spec")
    yield Argument("--ctx-size", str(settings.context), _context_reason(spec, settings.slots))
    yield Argument("--parallel", str(settings.slots), "concurrency")
    yield Argument("--no-kv-unified", None, "each slot has the promised context, whatever others do")
    yield Argument("--batch-size", str(settings.batch), "spec or default")
    yield Argument("--ubatch-size", str(settings.ubatch), "spec or default")
    yield from _placement(demand)
    yield Argument("--flash-attn", settings.flash_attention.name.lower(), "memory was proved with it")
    yield Argument("--cache-type-k", settings.key_type, "kv_cache_dtype")
    yield Argument("--cache-type-v", settings.value_type, "kv_cache_dtype")
    yield Argument("--fit", "off", "a lack of memory is an exit, and no smaller context")
    yield Argument("--load-mode", "none", "main memory then holds weights once, and its own")
    yield Argument("--cache-ram", str(host.prompt_cache // MIB), "ledger")
    yield Argument("--ctx-checkpoints", str(host.checkpoints), "ledger")
    yield from _task(spec, own_variant(demand).pooling)
    yield from _images(demand)
    yield Argument("--no-ui", None, "clients ask the API")
    yield Argument("--metrics", None, "monitoring")
    yield Argument("--verbosity", _LOG_LEVEL, "its log says what its buffers take")
    yield from _user_arguments(spec, release)


def _context_reason(spec: ServiceSpec, slots: int) -> str:
    reason = "the longest context that fits" if spec.context.is_solved else "context"
    return reason if slots == 1 else f"{reason}, of all {slots} slots together"


def _placement(demand: Demand) -> Iterator[Argument]:
    division = demand.division
    if not division.gpu_layers:
        yield Argument("--device", "none", "nothing of it is on a GPU")
    yield Argument("--gpu-layers", str(division.gpu_layers), "placement")
    if division.cpu_moe:
        yield Argument("--n-cpu-moe", str(division.cpu_moe), "placement")
    if division.gpu_layers and division.gpus == 1:
        yield Argument("--split-mode", "none", "one GPU")
    elif division.gpu_layers:
        yield Argument("--split-mode", "layer", "placement")
        yield Argument("--tensor-split", ",".join("1" for _ in range(division.gpus)), "placement")


def _images(demand: Demand) -> Iterator[Argument]:
    """A projector takes the first GPU that it sees, whatever `--device` says."""
    most = demand.settings.image_tokens
    if not most:
        yield Argument("--no-mmproj", None, "no projector is served")
        return
    if not demand.division.gpu_layers:
        yield Argument("--no-mmproj-offload", None, "the model is on no GPU")
    projector = own_variant(demand).model.projector
    if projector is not None and projector.tower.is_dynamic:
        yield Argument("--image-max-tokens", str(most), "the ledger holds the largest image")
    yield Argument("--mtmd-batch-max-tokens", str(most), "the ledger holds one image at once")


def _task(spec: ServiceSpec, pooling: str | None) -> Iterator[Argument]:
    if spec.task == "embed":
        yield Argument("--embedding", None, "task")
        yield Argument("--pooling", pooling, "the model's header")
    if spec.task == "score":
        yield Argument("--rerank", None, "task")


def _user_arguments(spec: ServiceSpec, release: Release) -> Iterator[Argument]:
    catalog = load_flags(release.build)
    for key in sorted(spec.engine_args):
        flag = catalog.find(key)
        assert flag is not None  # noqa: S101  options.check refuses what the catalog lacks
        if flag.name == IMAGE_TOKENS:
            continue  # among those of images, as the ledger has it
        name, *words = render(flag, spec.engine_args[key])
        yield Argument(name, tuple(words) if len(words) > 1 else words[0] if words else None, "engine_args")
