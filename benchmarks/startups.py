"""Start-ups of real vLLM servers, read from a file, and what stackc's own arithmetic says of each.

A case is a JSON object a line: identity (model, version, GPU, limits) and what the log printed. What a log did not
print is absent; vLLM's documented default is taken where there is one.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.hub_folders import facts_of
from compiler.catalog.gpus import GPUS, Gpu, same_gpus
from compiler.catalog.overheads import GpuOverheads, overheads_of
from compiler.catalog.releases import RELEASES
from compiler.lock.models import ModelFacts
from compiler.lock.quantization import checkpoint_format
from compiler.memory.activation import activation_peak
from compiler.memory.allocator import weights_rounding
from compiler.memory.architecture import Architecture, Table
from compiler.memory.caches import rank_kv_layout
from compiler.memory.config import ConfigError, UnsupportedArchitectureError
from compiler.memory.kv_cache import KvLayout
from compiler.memory.kv_groups import PagesError
from compiler.memory.ledger import Basis, LedgerRow, RowKind
from compiler.memory.packing import read_quantization
from compiler.memory.parallelism import SplitError
from compiler.memory.read import read_architecture
from compiler.memory.server import (
    Checkpoint,
    experts_keep,
    gpu_rows,
    non_torch_growth,
    rotary_tables,
    tower_memory,
)
from compiler.memory.shape import ServerShape
from compiler.memory.weights import check_split, rank_weights
from compiler.solve.kept import cache_flag, kept_as
from compiler.units import GIB, ByteRange, total

_RELEASE = RELEASES["0.33.0"]
_ALWAYS_FREE = 0.2 * GIB  # two totals of one card differ by less
_ANY_CARD = (9, 0)  # where the log does not name the card
_EMBEDDING_TAGS = ("feature-extraction", "sentence-similarity")
_CACHES = {"auto": "auto", "fp8": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8"}
_OLD_UTILIZATION, _UTILIZATION = 0.9, 0.92  # default of gpu_memory_utilization before 0.21 and since


class UnjudgedError(Exception):
    """Why a case cannot be judged."""


@dataclass(frozen=True, slots=True)
class Case:
    """One start-up. `data` is the line of the file."""

    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its id."""
        return str(self.data["id"])

    @property
    def model(self) -> str:
        """Repository."""
        return str(self.data["model"])

    @property
    def number(self) -> tuple[int, int]:
        """The release, (0, 0) where the log did not say; development builds that count from 0.1 are none."""
        match = re.match(r"0\.(\d+)\.", str(self.data.get("vllm_version", "")))
        return (0, int(match[1])) if match and int(match[1]) > 1 else (0, 0)

    @property
    def engine(self) -> str:
        """`V0` or `V1`, by the log or by the release."""
        return str(self.data.get("engine") or ("V1" if self.number >= (0, 8) else "V0"))

    @property
    def memory_failure(self) -> bool:
        """Whether it failed for want of memory."""
        return bool(self.data.get("memory_failure"))

    @property
    def started(self) -> bool:
        """Whether it served."""
        return self.data.get("outcome") == "ok"

    @property
    def shares_gpu(self) -> bool:
        """Whether a note speaks of another process on the GPU."""
        return bool(re.search(r"share|second instance|another process|other process", str(self.data.get("note", ""))))

    def measured(self, key: str) -> float | None:
        """A figure of the log."""
        value = self.data.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def count(self, key: str, default: int) -> int:
        """A whole number, or what vLLM assumes."""
        value = self.data.get(key)
        return int(value) if isinstance(value, int) and value > 0 else default

    def measured_tokens(self) -> float | None:
        """Capacity by the concurrency line, which counts every group of layers; else the printed tokens."""
        concurrency, length = self.measured("max_concurrency"), self.measured("concurrency_len")
        return concurrency * length if concurrency and length else self.measured("kv_tokens")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What stackc says of a case, of the rank that takes most.

    Attributes:
        weights: as vLLM prints them: parameters, rotary tables and the allocator's rounding.
        tokens: capacity; None where the log lacks what it depends on.
        fits: `fits`, `margin` or `unfit`; None where that cannot be said.
        unknown: why a part is missing.
    """

    weights: int
    activation: ByteRange
    non_torch: ByteRange
    tokens: float | None
    fits: str | None
    unknown: str = ""


def read_cases(path: Path) -> tuple[Case, ...]:
    """Every line of a file."""
    return tuple(Case(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


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
    overheads = overheads_of(f"{case.number[0]}.{case.number[1]}")
    if overheads is None:
        raise UnjudgedError(f"no memory model of vLLM {case.data.get('vllm_version')}")
    if case.data.get("lora_speculative"):
        raise UnjudgedError("LoRA or speculative decoding")
    checkpoint = _checkpoint(case, hub)
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
    return Checkpoint(as_embedding(architecture) if _embeds(case, hub) else architecture, quantization, None)


def _embeds(case: Case, hub: Path) -> bool:
    """Whether the Hub calls the model one of embeddings, which vLLM then serves as one."""
    card = hub / "models" / case.model.replace("/", "__") / "card.json"
    return card.is_file() and json.loads(card.read_text(encoding="utf-8")).get("pipeline_tag") in _EMBEDDING_TAGS


def as_embedding(architecture: Architecture) -> Architecture:
    """A generating model as vLLM serves its embeddings: without a head (vllm/model_executor/models/adapters.py)."""
    last = tuple(module for module in architecture.last if not isinstance(module, Table))
    return dataclasses.replace(architecture, last=last, pooling=True)


def card_of(case: Case) -> Gpu | None:
    """The catalog's card by the name in the log; else by its total, where all cards of that size are of one class."""
    named = [GPUS[name] for name in _names_in(str(case.data.get("gpu") or ""))]
    seen = case.measured("gpu_total_gib")
    if seen is not None:
        served = (gpu for gpu in GPUS.values() if gpu.refusal is None)
        near = [gpu for gpu in named or served if abs(gpu.memory - seen * GIB) < _ALWAYS_FREE]
        named = near if len({gpu.compute_capability for gpu in near}) == 1 else named
    return named[0] if len({gpu.compute_capability for gpu in named}) == 1 else None


def _names_in(written: str) -> tuple[str, ...]:
    """Cards that a log's name may mean, with the size that people add to it or without."""
    whole = re.sub(r"\(.*?\)|\bclass\b", "", written)
    return same_gpus(whole) or same_gpus(re.sub(r"\b\d+ ?GB\b", "", whole))


def _shape(case: Case, architecture: Architecture, stage: int) -> ServerShape:
    card, seen = card_of(case), case.measured("gpu_total_gib")
    memory = int(seen * GIB) if seen is not None else card.memory if card is not None else 0
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
    )


def _served(case: Case, architecture: Architecture) -> str:
    named = str(case.data.get("dtype", "auto")).removeprefix("torch.")
    if named in ("bfloat16", "float16", "float32"):
        return named
    return "float16" if architecture.checkpoint_dtype == "float16" else "bfloat16"


def _of_largest_rank(case: Case, checkpoint: Checkpoint, overheads: GpuOverheads) -> Prediction:
    """The largest of each figure over the pipeline's stages, and the smallest capacity."""
    stages = case.count("pipeline_parallel_size", 1)
    found = [
        _of_rank(case, checkpoint, overheads, _shape(case, checkpoint.architecture, stage)) for stage in range(stages)
    ]
    tokens = [each.tokens for each in found if each.tokens is not None]
    order = ("fits", "margin", "unfit")
    fits = [each.fits for each in found if each.fits is not None]
    return Prediction(
        weights=max(each.weights for each in found),
        activation=max((each.activation for each in found), key=lambda size: size.expected),
        non_torch=max((each.non_torch for each in found), key=lambda size: size.expected),
        tokens=min(tokens, default=None),
        fits=max(fits, key=order.index, default=None),
        unknown=found[0].unknown,
    )


def _of_rank(case: Case, checkpoint: Checkpoint, overheads: GpuOverheads, shape: ServerShape) -> Prediction:
    architecture, quantization = checkpoint.architecture, checkpoint.quantization
    check_split(architecture, quantization, shape.parallelism)
    parameters = rank_weights(architecture, quantization, shape.parallelism, served_dtype=shape.served_dtype)
    rounding = weights_rounding(architecture, quantization, shape.parallelism, served_dtype=shape.served_dtype)
    keep = experts_keep(checkpoint, shape)
    tokens, fits, unknown = _capacity(case, checkpoint, overheads, shape, parameters)
    return Prediction(
        weights=parameters
        + rotary_tables(architecture, shape)
        + rounding.expected
        + overheads.allocator.bytes.expected,
        activation=activation_peak(
            overheads, architecture, shape, experts_keep=keep, encoder=tower_memory(architecture, shape)
        ),
        non_torch=non_torch_growth(overheads, architecture, shape).bytes,
        tokens=tokens,
        fits=fits,
        unknown=unknown,
    )


def _layout(case: Case, checkpoint: Checkpoint, shape: ServerShape) -> KvLayout:
    named = str(case.data.get("kv_cache_dtype", "auto"))
    if named not in _CACHES:
        raise UnjudgedError(f"KV cache of {named}")
    flag, capability = cache_flag(checkpoint.quantization, _CACHES[named]), shape.compute_capability or _ANY_CARD
    dtype, block_size = kept_as(
        checkpoint.architecture, flag, _RELEASE, capability, shape.served_dtype, ranks=shape.tensor_parallel_size
    )
    return rank_kv_layout(
        checkpoint.architecture,
        shape.parallelism,
        dtype=dtype,
        block_size=block_size,
        max_num_batched_tokens=shape.max_num_batched_tokens,
        served_dtype=shape.served_dtype,
        compute_capability=capability,
    )


def _capacity(
    case: Case, checkpoint: Checkpoint, overheads: GpuOverheads, shape: ServerShape, parameters: int
) -> tuple[float | None, str | None, str]:
    card, seen = card_of(case), case.measured("gpu_total_gib")
    if seen is None and card is None:
        return None, None, "the log shows neither the GPU nor its total"
    memory = int(seen * GIB) if seen is not None else card.memory if card is not None else 0
    layout = _layout(case, checkpoint, shape)
    weights = LedgerRow(RowKind.WEIGHTS, "weights", ByteRange.exact(parameters), Basis.DERIVED, "config.json")
    rows = gpu_rows(overheads, checkpoint, shape, layout, weights)
    shown = case.measured("gpu_memory_utilization")
    default = _UTILIZATION if case.number >= (0, 21) else _OLD_UTILIZATION
    requested = int(memory * (shown or default))
    inside = total(row.bytes for row in rows if row.kind is not RowKind.OUTSIDE)
    outside = total(row.bytes for row in rows if row.kind is RowKind.OUTSIDE)
    least = layout.blocks_for(concurrency=1, length=shape.max_model_len) * layout.bytes_per_block
    fits = _verdict(requested, memory - requested, inside, outside, least)
    if shown is None and not case.data.get("gpu_memory_utilization_is_default"):
        # Only what holds for every utilization can be said of it.
        impossible = inside.low + outside.low + (least if "max_model_len" in case.data else 0) > memory
        fits = "unfit" if impossible else "margin" if fits == "unfit" else fits
        return None, fits, "the log shows no gpu_memory_utilization"
    if layout.bytes_per_block == 0:
        return None, fits, "the model has no KV cache"
    blocks = max(0, requested - inside.expected) // layout.bytes_per_block
    return layout.max_concurrency(blocks, shape.max_model_len) * shape.max_model_len, fits, ""


def _verdict(requested: int, rest: int, inside: ByteRange, outside: ByteRange, least: int) -> str:
    """Whether one longest request has room within the request, and what vLLM does not count beside it."""
    if inside.high + least <= requested and outside.high <= rest:
        return "fits"
    return "margin" if inside.expected + least <= requested and outside.expected <= rest else "unfit"
