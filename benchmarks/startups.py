"""What stackc's own arithmetic says of start-ups of real vLLM servers, each laid out as its own release did.

What a log did not print is vLLM's documented default, where there is one.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case, card_of, cards_like
from benchmarks.hub.folders import facts_of, folder_of
from benchmarks.releases import Rules, charging_overheads, rules_of
from compiler.checkpoints.architecture import Architecture, Experts, Table
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.config import ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.parameters.ranks import SplitError
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.checkpoints.state_cache import StateCache
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.kernels.kept import cache_flag, kept_as
from compiler.engines.vllm.kv_cache.blocks import CacheKind, KvLayout
from compiler.engines.vllm.kv_cache.groups import PagesError
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.activation import activation_peak
from compiler.engines.vllm.memory.attention.stages import loaded_bytes, profiled_attention
from compiler.engines.vllm.memory.buffers import made_while_loading, segment_rests
from compiler.engines.vllm.memory.compiling import compile_peak
from compiler.engines.vllm.memory.encoder_budget import tower_memory
from compiler.engines.vllm.memory.experts import experts_keep
from compiler.engines.vllm.memory.growth import non_torch_growth
from compiler.engines.vllm.memory.rows import gpu_rows
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.memory.weights import weights_row
from compiler.engines.vllm.releases import RELEASES
from compiler.engines.vllm.releases.overheads import GpuOverheads
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.lock.models import ModelFacts
from compiler.lock.quantization import checkpoint_format
from compiler.units import GIB, ByteRange, total

_RELEASE = RELEASES["0.33.0"]
_ANY_CARD = (9, 0)  # where the log does not name the card
_EMBEDDING_TAGS = ("feature-extraction", "sentence-similarity")
_CACHES = {"auto": "auto", "fp8": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8"}


class UnjudgedError(Exception):
    """Why a case cannot be judged."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What stackc says of a case, of the rank that takes most.

    Attributes:
        weights: as vLLM prints them: parameters, buffers that the model makes and the allocator's rounding.
        inside: what counts against `total × gpu_memory_utilization`; None where the log shows neither the GPU nor its
            total.
        activation: None where it depends on batch limits that the log does not show, and cards like its own differ in.
        tokens: capacity; None where the log lacks what it depends on.
        fits: `fits`, `margin` or `unfit`; None where that cannot be said.
        unknown: why a part is missing.
    """

    weights: int
    activation: ByteRange | None
    non_torch: ByteRange
    inside: ByteRange | None
    tokens: float | None
    fits: str | None
    unknown: str = ""


def facts(case: Case, hub: Path) -> ModelFacts:
    """Configuration and quantization of the model.

    Raises:
        UnjudgedError: there is none.
    """
    found = facts_of(case.model, hub)
    if found is None:
        raise UnjudgedError("no config.json of this model")
    return found


def predict(case: Case, hub: Path) -> Prediction:
    """The prediction for a case.

    Raises:
        UnjudgedError: why there is none.
    """
    if case.data.get("lora_speculative"):
        raise UnjudgedError("LoRA or speculative decoding")
    if case.spreads_uncounted:
        raise UnjudgedError("ranks of data or expert parallelism that the case does not count")
    checkpoint = _checkpoint(case, hub)
    overheads = charging_overheads(case.number, dense=_is_dense(checkpoint.architecture))
    if overheads is None:
        raise UnjudgedError(f"no memory model of vLLM {case.data.get('vllm_version')}")
    try:
        return _of_largest_rank(case, checkpoint, overheads)
    except (SplitError, PagesError, ConfigError) as error:
        raise UnjudgedError(f"{type(error).__name__}: {error}") from error


def _checkpoint(case: Case, hub: Path) -> Checkpoint:
    found = facts(case, hub)
    chosen = case.data.get("quantization")
    if chosen and not found.quantization:
        raise UnjudgedError(f"quantized while loading ({chosen})")
    try:
        architecture = read_architecture(found.config)
        quantization = read_quantization(checkpoint_format(found), found.quantization, found.config)
    except UnsupportedArchitectureError as error:
        raise UnjudgedError(f"no reader for {error}") from error
    except ConfigError as error:
        raise UnjudgedError(f"config.json: {error}") from error
    if case.reads_text_alone:
        # vllm/config/multimodal.py: with no item allowed of any kind, the towers are not even loaded.
        architecture = dataclasses.replace(architecture, encoders=())
    return Checkpoint(as_embedding(architecture) if _embeds(case, hub) else architecture, quantization, None)


def _is_dense(architecture: Architecture) -> bool:
    parts = (part for layer in architecture.kinds for part in (*layer.caches, *layer.modules))
    return not any(isinstance(part, StateCache | Experts) for part in parts)


def _embeds(case: Case, hub: Path) -> bool:
    """Whether the Hub calls the model one of embeddings, which vLLM then serves as one."""
    folder = folder_of(case.model, hub)
    card = folder / "card.json" if folder is not None else None
    if card is None or not card.is_file():
        return False
    return json.loads(card.read_text(encoding="utf-8")).get("pipeline_tag") in _EMBEDDING_TAGS


def as_embedding(architecture: Architecture) -> Architecture:
    """A generating model as vLLM serves its embeddings: without a head (vllm/model_executor/models/adapters.py)."""
    last = tuple(module for module in architecture.last if not isinstance(module, Table))
    return dataclasses.replace(architecture, last=last, pooling=True)


def _shape(case: Case, architecture: Architecture, stage: int) -> ServerShape:
    card, memory = card_of(case), memory_of(case) or 0
    capability = card.compute_capability if card is not None else None
    limits = _RELEASE.batch_limits(memory, card.title if card else str(case.data.get("gpu", "")), capability)
    length = case.count("max_model_len", architecture.max_model_len)
    if case.engine == "V0":
        # Without chunked prefill a batch holds the longest request.
        tokens, sequences = max(length, 2048), 256
    else:
        tokens, sequences = limits.max_num_batched_tokens, limits.max_num_seqs
    tokens = case.count("max_num_batched_tokens", tokens)
    return ServerShape(
        tensor_parallel_size=case.count("tensor_parallel_size", 1),
        max_model_len=length,
        max_num_seqs=case.count("max_num_seqs", min(sequences, tokens)),
        max_num_batched_tokens=tokens,
        served_dtype=_served(case, architecture),
        compute_capability=capability,
        enforce_eager=bool(case.data.get("enforce_eager")),
        pipeline_parallel_size=case.count("pipeline_parallel_size", 1),
        stage=stage,
        data_parallel_size=case.count("data_parallel_size", 1),
        expert_parallel=bool(case.data.get("expert_parallel")),
        multiprocessors=card.multiprocessors if card is not None else None,
    )


def _served(case: Case, architecture: Architecture) -> str:
    named = str(case.data.get("dtype", "auto")).removeprefix("torch.")
    if named in ("bfloat16", "float16", "float32"):
        return named
    return "float16" if architecture.checkpoint_dtype == "float16" else "bfloat16"


@dataclass(frozen=True, slots=True)
class _Rank:
    """What the figures of one rank follow from."""

    case: Case
    checkpoint: Checkpoint
    overheads: GpuOverheads
    rules: Rules
    shape: ServerShape


def _of_largest_rank(case: Case, checkpoint: Checkpoint, overheads: GpuOverheads) -> Prediction:
    """The largest of each figure over the pipeline's stages, and the smallest capacity."""
    shapes = (_shape(case, checkpoint.architecture, stage) for stage in range(case.count("pipeline_parallel_size", 1)))
    rules = rules_of(case.number)
    found = [_of_rank(_Rank(case, checkpoint, overheads, rules, shape)) for shape in shapes]
    tokens = [each.tokens for each in found if each.tokens is not None]
    order = ("fits", "margin", "unfit")
    fits = [each.fits for each in found if each.fits is not None]
    insides = [each.inside for each in found if each.inside is not None]
    return Prediction(
        weights=max(each.weights for each in found),
        activation=max((each.activation for each in found if each.activation), key=_likely, default=None),
        non_torch=max((each.non_torch for each in found), key=_likely),
        inside=max(insides, key=_likely, default=None),
        tokens=min(tokens, default=None),
        fits=max(fits, key=order.index, default=None),
        unknown=found[0].unknown,
    )


def _likely(size: ByteRange) -> int:
    return size.expected


def _of_rank(rank: _Rank) -> Prediction:
    overheads, shape = rank.overheads, rank.shape
    architecture = rank.checkpoint.architecture
    check_split(architecture, rank.checkpoint.quantization, shape.parallelism)
    split, dtype, capability = shape.parallelism, shape.served_dtype, shape.compute_capability
    parameters = weights_row(rank.checkpoint, split, dtype, capability).bytes.expected
    rounding = segment_rests(rank.checkpoint, split, dtype, capability, largest_split=overheads.rules.largest_split)
    keep, tower = experts_keep(rank.checkpoint, shape), tower_memory(architecture, shape)
    attention = profiled_attention(architecture, shape)
    peak = activation_peak(overheads, architecture, shape, attention, experts_keep=keep, encoder=tower)
    inside, tokens, fits, unknown = _capacity(rank, parameters)
    return Prediction(
        weights=parameters
        + made_while_loading(overheads, rank.checkpoint, shape, loaded_bytes(rank.checkpoint, shape), tower)
        + rounding.expected
        + overheads.allocator.bytes.expected,
        activation=_while_profiling(rank, peak) if _knows_batch(rank.case) else None,
        non_torch=non_torch_growth(overheads, architecture, shape).bytes,
        inside=inside,
        tokens=tokens,
        fits=fits,
        unknown=unknown,
    )


def _knows_batch(case: Case) -> bool:
    """Whether its batch limits are shown, or the same on all cards that it may be of."""
    if case.engine == "V0" or ("max_num_seqs" in case.data and "max_num_batched_tokens" in case.data):
        return True
    memory = memory_of(case) or 0
    return len({_RELEASE.batch_limits(memory, gpu.title, gpu.compute_capability) for gpu in cards_like(case)}) <= 1


def _while_profiling(rank: _Rank, peak: ByteRange) -> ByteRange:
    """The peak that sizes the cache: that of compiling where it is larger, unless the log is of a warm start."""
    if rank.rules.keeps_segments:
        # At most all that was reserved at the peak.
        peak += ByteRange(0, 0, peak.high)
    if rank.case.warm or not rank.rules.times_kernels:
        return peak
    cold = compile_peak(rank.checkpoint.architecture, rank.shape)
    return ByteRange(peak.low, max(peak.expected, cold.expected), max(peak.high, cold.high))


def _layout(rank: _Rank) -> KvLayout:
    """As the case's release lays it out.

    Whether prefixes are cached, a start-up may not print. It is read off the blocks of a request then, which it prints
    in other words: bytes of the cache, and how many requests fit.
    """
    shown = rank.case.flag("enable_prefix_caching")
    default = rank.rules.caches_states
    assumed = _layout_with(rank, caching=default if shown is None else shown)
    each = _measured_blocks(rank.case, assumed)
    if shown is not None or each is None:
        return assumed
    layouts = (assumed, _layout_with(rank, caching=not default))
    return min(layouts, key=lambda layout: abs(layout.blocks_per_request(rank.shape.max_model_len) - each))


def _measured_blocks(case: Case, layout: KvLayout) -> float | None:
    """Blocks of one request, of a model with recurrent states; None where the log does not give them."""
    cache, concurrency = case.measured("kv_cache_gib"), case.measured("max_concurrency")
    if (
        not any(group.spec.kind is CacheKind.STATE for group in layout.groups)
        or not cache
        or not concurrency
        or "max_model_len" not in case.data
    ):
        return None
    return cache * GIB / layout.bytes_per_block / concurrency


def _layout_with(rank: _Rank, *, caching: bool) -> KvLayout:
    case, shape, rules = rank.case, rank.shape, rank.rules
    named = str(case.data.get("kv_cache_dtype", "auto"))
    if named not in _CACHES:
        raise UnjudgedError(f"KV cache of {named}")
    flag, capability = cache_flag(rank.checkpoint.quantization, _CACHES[named]), shape.compute_capability or _ANY_CARD
    architecture, ranks = rank.checkpoint.architecture, shape.tensor_parallel_size
    dtype, block_size = kept_as(architecture, flag, _RELEASE, capability, shape.served_dtype, ranks=ranks)
    layout = rank_kv_layout(
        architecture,
        shape.parallelism,
        dtype=dtype,
        block_size=block_size,
        max_num_batched_tokens=shape.max_num_batched_tokens,
        served_dtype=shape.served_dtype,
        # Only a GPU exports states.
        compute_capability=capability if rules.exports_states else None,
        prefix_caching=caching,
    )
    batches = shape.pipeline_parallel_size + rules.in_flight
    return dataclasses.replace(layout, in_flight_tokens=batches * shape.max_num_batched_tokens)


def memory_of(case: Case) -> int | None:
    """Bytes of the card, by the log's total or else by the catalog; None where neither is known."""
    seen, card = case.measured("gpu_total_gib"), card_of(case)
    return int(seen * GIB) if seen is not None else card.memory if card is not None else None


def requested_of(case: Case) -> int | None:
    """Bytes that vLLM takes of the card; None where the log does not say, and its release's default cannot be meant."""
    memory, shown = memory_of(case), case.measured("gpu_memory_utilization")
    if memory is None or (shown is None and not case.data.get("gpu_memory_utilization_is_default")):
        return None
    return int(memory * (shown or rules_of(case.number).utilization))


def _capacity(rank: _Rank, parameters: int) -> tuple[ByteRange | None, float | None, str | None, str]:
    """What is used inside the budget, tokens of the cache, the verdict, and why one of them is missing."""
    case, shape, memory = rank.case, rank.shape, memory_of(rank.case)
    if memory is None:
        return None, None, None, "the log shows neither the GPU nor its total"
    if not _knows_batch(case):
        return None, None, None, "the log shows no batch limits, and cards of its size differ in their defaults"
    layout = _layout(rank)
    weights = LedgerRow(RowKind.WEIGHTS, "weights", ByteRange.exact(parameters), Basis.DERIVED, "config.json")
    rows = gpu_rows(rank.overheads, rank.checkpoint, shape, layout, weights)
    peak = next(row.bytes for row in rows if row.kind is RowKind.ACTIVATION)
    others = (RowKind.OUTSIDE, RowKind.ACTIVATION)
    inside = total(row.bytes for row in rows if row.kind not in others) + _while_profiling(rank, peak)
    outside = total(row.bytes for row in rows if row.kind is RowKind.OUTSIDE)
    least = _least_blocks(rank, layout) * layout.bytes_per_block
    requested = requested_of(case)
    one = layout.blocks_for(concurrency=1, length=case.count("max_model_len", 1)) * layout.bytes_per_block
    if requested is None:
        default = int(memory * rank.rules.utilization)
        fits = _verdict(default, memory - default, inside, outside, least) == "fits"
        # Else only what holds for every utilization can be said.
        impossible = inside.low + outside.low + one > memory
        return inside, None, "fits" if fits else "unfit" if impossible else None, "the log shows no utilization"
    fits: str | None = _verdict(requested, memory - requested, inside, outside, least)
    if fits == "unfit" and "max_model_len" not in case.data and inside.low + one <= requested:
        fits = None  # nobody says that the longest request was as long as the model allows
    if layout.bytes_per_block == 0:
        return inside, None, fits, "the model has no KV cache"
    blocks = max(0, requested - inside.expected) // layout.bytes_per_block
    return inside, layout.max_concurrency(blocks, shape.max_model_len) * shape.max_model_len, fits, ""


def _least_blocks(rank: _Rank, layout: KvLayout) -> int:
    """Without which the release refuses to start: for one longest request, and for the states of all sequences."""
    one = layout.blocks_for(concurrency=1, length=rank.shape.max_model_len)
    if not rank.rules.wants_seats or rank.shape.enforce_eager:
        return one
    return max(one, layout.seat_blocks(rank.shape.max_num_seqs))


def _verdict(requested: int, rest: int, inside: ByteRange, outside: ByteRange, least: int) -> str:
    """Whether one longest request has room within the request, and what vLLM does not count beside it."""
    if inside.high + least <= requested and outside.high <= rest:
        return "fits"
    return "margin" if inside.expected + least <= requested and outside.expected <= rest else "unfit"
