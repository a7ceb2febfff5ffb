"""What one service demands of each GPU it runs on, for one variant and one way to divide it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.state_cache import StateCache
from compiler.engines.interface import demand as interface
from compiler.engines.interface.demand import Shortage, Variant
from compiler.engines.interface.device import Device
from compiler.engines.interface.terms import Terms
from compiler.engines.vllm.degrees import Degrees
from compiler.engines.vllm.drafter import Drafter, with_caches
from compiler.engines.vllm.kernels.expert_backends import TRITON, experts_of
from compiler.engines.vllm.kernels.kept import cache_flag, kept_as
from compiler.engines.vllm.kv_cache.blocks import NULL_BLOCKS, KvLayout
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.compiling import beyond_activation, compile_peak, compile_row
from compiler.engines.vllm.memory.lora.adapters import AdapterSlots
from compiler.engines.vllm.memory.rows import fixed_rows
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.memory.speculation.drafting import dropped_bytes
from compiler.engines.vllm.releases.release import Release
from compiler.engines.vllm.shaping import shape_of
from compiler.engines.vllm.terms import ServingOptions, options_of
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.units import ByteRange, total


@dataclass(frozen=True, slots=True)
class Stage:
    """Each rank of one pipeline stage.

    Attributes:
        assumed: its model has no formulas, and is bounded from above.
        rows: everything but the KV cache.
        fixed: bytes of these rows.
        compiling: bytes beyond `fixed` that a start takes before it has a KV cache, and no longer when it has one.
        required: bytes with the smallest KV cache that keeps the promise.
    """

    layout: KvLayout
    rows: tuple[LedgerRow, ...]
    fixed: ByteRange
    compiling: ByteRange
    required: ByteRange
    assumed: bool = False

    @property
    def unit_bytes(self) -> int:
        """Of one more block."""
        return self.layout.bytes_per_block

    def cache_rows(self, units: int, prefixes: int = 0) -> tuple[LedgerRow, ...]:
        """The ledger rows of a KV cache of that many blocks: itself, and what compiling takes more than it.

        Args:
            prefixes: how many of the blocks are more than requests could fill.
        """
        more, cache = compile_row(self.compiling, units * self.unit_bytes), self._kv_row(units, prefixes)
        return (cache,) if more is None else (more, cache)

    def _kv_row(self, blocks: int, prefixes: int) -> LedgerRow:
        size, tokens = self.layout.bytes_per_block, self.layout.block_size
        source = f"{blocks} blocks of {tokens} tokens × {size} bytes, vllm/v1/kv_cache_interface.py"
        if prefixes:
            source += f"; {prefixes} of them are more than all requests fill: prefixes of earlier ones are kept there"
        row = LedgerRow(RowKind.KV_CACHE, "KV cache", ByteRange.exact(blocks * size), Basis.EXACT, source)
        return row.as_assumed() if self.assumed else row


@dataclass(frozen=True, slots=True)
class Demand:
    """A service on its ranks.

    Attributes:
        shape: of the first rank; the others differ in their stage only.
        required: for each bound the stage that takes most: any of them must fit on any of the devices.
        least_units: of KV cache, for `concurrency` requests of `context` tokens and the null block, and as many as
            `seat_blocks`.
        seat_blocks: that the engine wants for its sequences before it starts; 0 where it wants none.
        useful_units: more than this no set of `max_num_seqs` requests could fill.
        keeps_prefixes: whether even more are of use, because the engine keeps prefixes of earlier requests in them.
    """

    service: str
    variant: Variant
    terms: Terms
    division: Degrees
    shape: ServerShape
    ranks: tuple[Stage, ...]
    required: ByteRange
    least_units: int
    useful_units: int
    seat_blocks: int = 0
    keeps_prefixes: bool = False

    @property
    def lacks_seats(self) -> bool:
        """Whether the blocks for its sequences, not those for the tokens of requests, make its KV cache what it is."""
        return self.least_units == self.seat_blocks

    @property
    def host(self) -> None:
        """Main memory beside GPUs is not counted: nothing of the model stays there."""

    @property
    def length(self) -> int:
        """Tokens of the longest request."""
        return self.shape.max_model_len

    @property
    def cache_note(self) -> str:
        """How the KV cache comes to its size, as a sentence."""
        layout, blocks = self.layout, self.least_units - NULL_BLOCKS
        over = f" over {self.division}" if self.division.gpus > 1 else ""
        return (
            f"`{self.variant.name}`{over}: {layout.bytes_per_block // max(1, layout.block_size)} bytes of KV cache "
            f"per token, {blocks} blocks of {layout.block_size} tokens and vLLM's null block"
        )

    def shortage(self, free: int) -> Shortage | None:
        """The seats, where blocks for them are what is too much."""
        if not self.lacks_seats:
            return None
        left = self.units_within(free)
        note = (
            f"vLLM ends with: max_num_seqs ({self.seat_blocks}) exceeds available Mamba cache blocks "
            f"({left}); a sequence that is decoded by a CUDA graph keeps its state in a block"
        )
        return Shortage("max_num_seqs", f"{self.seat_blocks} sequences need as many blocks, {left} fit", (note,))

    def units_within(self, free: int) -> int:
        """Blocks of KV cache that fit in so many bytes, where a model has some on every rank."""
        return max(0, free - self.heaviest.fixed.high) // max(1, self.layout.bytes_per_block)

    @property
    def heaviest(self) -> Stage:
        """The stage that takes most."""
        return max(self.ranks, key=lambda stage: stage.required.high)

    @property
    def layout(self) -> KvLayout:
        """Of the stage with the largest blocks: every rank gets as many blocks as the one that can hold fewest."""
        return max((stage.layout for stage in self.ranks), key=lambda layout: layout.bytes_per_block)

    def rank_at(self, position: int) -> Stage:
        """Of the device at a position: ranks of one stage come one after another (vllm/distributed/parallel_state)."""
        return self.ranks[position // self.division.tensor]


def own(demand: interface.Demand) -> Demand:
    """A demand of this engine, which the solver gives back."""
    assert isinstance(demand, Demand)  # noqa: S101  it asks only the engine that made it
    return demand


@dataclass(frozen=True, slots=True)
class Needs:
    """What of a demand is the same for every service that asks the same of the same checkpoint. See Demand."""

    shape: ServerShape
    ranks: tuple[Stage, ...]
    least_units: int
    useful_units: int
    seat_blocks: int
    keeps_prefixes: bool


def demand_of(service: str, variant: Variant, terms: Terms, needs: Needs, degrees: Degrees) -> Demand:
    """The demand on each device."""
    return Demand(
        service=service,
        variant=variant,
        terms=terms,
        division=degrees,
        shape=needs.shape,
        ranks=needs.ranks,
        required=_largest(needs.ranks),
        least_units=needs.least_units,
        useful_units=needs.useful_units,
        seat_blocks=needs.seat_blocks,
        keeps_prefixes=needs.keeps_prefixes,
    )


# Looking for what would make a stack fit solves it again and again, and most services then ask what they asked before.
@lru_cache(maxsize=1 << 14)
def needs_of(
    checkpoint: Checkpoint,
    terms: Terms,
    release: Release,
    device: Device,
    degrees: Degrees,
    *,
    adapters: AdapterSlots | None = None,
    drafter: Drafter | None = None,
) -> Needs:
    """The demand of any service with these terms."""
    shapes = [
        shape_of(checkpoint, terms, degrees, stage, release=release, device=device, drafter=drafter)
        for stage in range(degrees.pipeline)
    ]
    if adapters is not None:
        shapes = [_beside(adapters, checkpoint, shape) for shape in shapes]
    dtype, block_size = _cache_of(terms, checkpoint, release, shapes[0])
    pooling = checkpoint.architecture.pooling
    caches = (_Cache.of(shape, dtype, block_size, terms, pooling=pooling) for shape in shapes)
    cached = _cached(checkpoint.architecture, drafter)
    layouts = [_layout(cached, cache) for cache in caches]
    seats = max(shapes[0].max_num_seqs, terms.concurrency)
    length = shapes[0].max_model_len
    seat_blocks = max(layout.seat_blocks(seats) for layout in layouts) if _captures_decodes(shapes[0]) else 0
    kept = max(layout.blocks_for(concurrency=terms.concurrency, length=length) for layout in layouts)
    blocks = max(kept, seat_blocks)
    return Needs(
        shape=shapes[0],
        ranks=tuple(
            _stage(release, checkpoint, shape, layout, blocks, drafter=drafter)
            for shape, layout in zip(shapes, layouts, strict=True)
        ),
        least_units=blocks,
        useful_units=max(layout.blocks_for(concurrency=seats, length=length) for layout in layouts),
        seat_blocks=seat_blocks,
        keeps_prefixes=_keeps_prefixes(checkpoint.architecture, options_of(terms))
        and any(layout.groups for layout in layouts),
    )


def _beside(adapters: AdapterSlots, checkpoint: Checkpoint, shape: ServerShape) -> ServerShape:
    """With adapters, beside which unquantized experts run on Triton (fused_moe/oracle/unquantized.py)."""
    is_plain = checkpoint.quantization is None and any(True for _ in experts_of(checkpoint.architecture))
    return replace(shape, adapters=adapters, moe_backend=TRITON if is_plain else shape.moe_backend)


def _keeps_prefixes(architecture: Architecture, options: ServingOptions) -> bool:
    """Whether vLLM caches prefixes (vllm/config/model.py:is_prefix_caching_supported): not of models of states alone.

    What pools is not counted on: that depends on how it pools, of which no fact is known. Nor is what is only bounded.
    """
    if architecture.pooling or architecture.assumed or options.prefix_caching is False:
        return False
    caches = (cache for layer in architecture.kinds for cache in layer.caches)
    return options.prefix_caching is True or not all(isinstance(cache, StateCache) for cache in caches)


def _captures_decodes(shape: ServerShape) -> bool:
    """Whether vLLM records whole decode steps as CUDA graphs: by default on every GPU, never with enforce-eager."""
    return shape.compute_capability is not None and not shape.enforce_eager


def _cached(architecture: Architecture, drafter: Drafter | None) -> Architecture:
    """Whose caches are planned together."""
    draft = drafter.checkpoint if drafter is not None else None
    return architecture if draft is None else with_caches(architecture, draft.architecture)


def _stage(
    release: Release,
    checkpoint: Checkpoint,
    shape: ServerShape,
    layout: KvLayout,
    blocks: int,
    *,
    drafter: Drafter | None,
) -> Stage:
    stage = empty_stage(release, checkpoint, shape, layout, drafter)
    return replace(stage, required=stage.fixed + total(row.bytes for row in stage.cache_rows(blocks)))


@lru_cache(maxsize=1 << 14)
def empty_stage(
    release: Release,
    checkpoint: Checkpoint,
    shape: ServerShape,
    layout: KvLayout,
    drafter: Drafter | None = None,
) -> Stage:
    """A stage without its KV cache: how many requests are promised decides on nothing else."""
    rows = fixed_rows(release, checkpoint, shape, layout, drafter)
    assumed = checkpoint.architecture.assumed
    rows = tuple(row.as_assumed() for row in rows) if assumed else rows
    fixed, compiling = total(row.bytes for row in rows), ByteRange.exact(0)
    if release.gpu is not None:
        loaded = dropped_bytes(drafter, shape) if drafter is not None else 0
        compiling = beyond_activation(compile_peak(checkpoint.architecture, shape), rows, loaded)
    return Stage(layout, rows, fixed, compiling, fixed, assumed)


def _largest(ranks: tuple[Stage, ...]) -> ByteRange:
    sizes = [stage.required for stage in ranks]
    return ByteRange(*(max(getattr(size, end) for size in sizes) for end in ("low", "expected", "high")))


@dataclass(frozen=True, slots=True)
class _Cache:
    """What a layout depends on besides the model."""

    parallelism: Parallelism
    dtype: str
    served_dtype: str
    block_size: int
    max_num_batched_tokens: int
    compute_capability: tuple[int, int] | None
    prefix_caching: bool | None

    @classmethod
    def of(cls, shape: ServerShape, dtype: str, block_size: int, terms: Terms, *, pooling: bool) -> _Cache:
        """Of a server's rank."""
        # vLLM caches no prefixes of models with recurrent states that pool (is_prefix_caching_supported).
        caching = False if pooling else options_of(terms).prefix_caching
        tokens, capability = shape.max_num_batched_tokens, shape.compute_capability
        return cls(shape.parallelism, dtype, shape.served_dtype, block_size, tokens, capability, caching)


@lru_cache(maxsize=4096)
def _layout(architecture: Architecture, cache: _Cache) -> KvLayout:
    return rank_kv_layout(
        architecture,
        cache.parallelism,
        dtype=cache.dtype,
        block_size=cache.block_size,
        max_num_batched_tokens=cache.max_num_batched_tokens,
        served_dtype=cache.served_dtype,
        compute_capability=cache.compute_capability,
        prefix_caching=cache.prefix_caching,
    )


def _cache_of(terms: Terms, checkpoint: Checkpoint, release: Release, shape: ServerShape) -> tuple[str, int]:
    """What the KV cache is kept as, and tokens of its blocks."""
    return kept_as(
        checkpoint.architecture,
        cache_flag(checkpoint.quantization, options_of(terms).kv_cache_dtype),
        release,
        shape.compute_capability,
        shape.served_dtype,
        ranks=shape.tensor_parallel_size,
        named=options_of(terms).attention_backend,
    )
