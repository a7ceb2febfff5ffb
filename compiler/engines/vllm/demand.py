"""What one service demands of each GPU it runs on, for one variant and one way to divide it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from compiler.catalog.vllm.quantization import BFLOAT16_CAPABILITY
from compiler.catalog.vllm.releases import Release
from compiler.checkpoints.architecture import Architecture, served_dtype
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.state_cache import StateCache
from compiler.engines.interface.terms import Terms
from compiler.engines.vllm.judge.splits import Degrees
from compiler.engines.vllm.judge.variants import Variant
from compiler.engines.vllm.kernels.attention import is_latent
from compiler.engines.vllm.kernels.kept import cache_flag, kept_as
from compiler.engines.vllm.kv_cache.blocks import KvLayout
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.compiling import beyond_activation, compile_peak, compile_row
from compiler.engines.vllm.memory.encoder_budget import whole_item
from compiler.engines.vllm.memory.rows import fixed_rows
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.units import ByteRange, total


@dataclass(frozen=True, slots=True)
class Device:
    """What the services share: a GPU of the node, or the memory of a CPU node.

    Attributes:
        multiprocessors: of the GPU or its slice; None where only its memory and compute capability are given.
    """

    title: str
    total: int
    total_source: str
    reserve: int
    capability: tuple[int, int] | None
    multiprocessors: int | None = None

    @property
    def usable(self) -> int:
        """Bytes that servers may take."""
        return self.total - self.reserve


@dataclass(frozen=True, slots=True)
class Setting:
    """What every demand of one attempt shares."""

    release: Release
    devices: tuple[Device, ...]


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

    def cache_rows(self, blocks: int, prefixes: int = 0) -> tuple[LedgerRow, ...]:
        """The ledger rows of a KV cache of that many blocks: itself, and what compiling takes more than it.

        Args:
            prefixes: how many of the blocks are more than requests could fill.
        """
        more, cache = compile_row(self.compiling, blocks * self.layout.bytes_per_block), self._kv_row(blocks, prefixes)
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
        required_blocks: of KV cache, for `concurrency` requests of `context` tokens and the null block, and as many as
            `seat_blocks`.
        seat_blocks: that the engine wants for its sequences before it starts; 0 where it wants none.
        useful_blocks: more than this no set of `max_num_seqs` requests could fill.
        keeps_prefixes: whether even more are of use, because the engine keeps prefixes of earlier requests in them.
    """

    service: str
    variant: Variant
    terms: Terms
    degrees: Degrees
    shape: ServerShape
    stages: tuple[Stage, ...]
    required: ByteRange
    required_blocks: int
    useful_blocks: int
    seat_blocks: int = 0
    keeps_prefixes: bool = False

    @property
    def lacks_seats(self) -> bool:
        """Whether the blocks for its sequences, not those for the tokens of requests, make its KV cache what it is."""
        return self.required_blocks == self.seat_blocks

    @property
    def heaviest(self) -> Stage:
        """The stage that takes most."""
        return max(self.stages, key=lambda stage: stage.required.high)

    @property
    def layout(self) -> KvLayout:
        """Of the stage with the largest blocks: every rank gets as many blocks as the one that can hold fewest."""
        return max((stage.layout for stage in self.stages), key=lambda layout: layout.bytes_per_block)

    def stage_at(self, position: int) -> Stage:
        """Of the device at a position: ranks of one stage come one after another (vllm/distributed/parallel_state)."""
        return self.stages[position // self.degrees.tensor]


@dataclass(frozen=True, slots=True)
class _Needs:
    """What of a demand is the same for every service that asks the same of the same checkpoint. See Demand."""

    shape: ServerShape
    stages: tuple[Stage, ...]
    required_blocks: int
    useful_blocks: int
    seat_blocks: int
    keeps_prefixes: bool


def demand_of(name: str, terms: Terms, variant: Variant, setting: Setting, degrees: Degrees) -> Demand:
    """The demand on each device."""
    needs = needs_of(variant.checkpoint, terms, setting.release, setting.devices[0], degrees)
    return Demand(
        service=name,
        variant=variant,
        terms=terms,
        degrees=degrees,
        shape=needs.shape,
        stages=needs.stages,
        required=_largest(needs.stages),
        required_blocks=needs.required_blocks,
        useful_blocks=needs.useful_blocks,
        seat_blocks=needs.seat_blocks,
        keeps_prefixes=needs.keeps_prefixes,
    )


# Looking for what would make a stack fit solves it again and again, and most services then ask what they asked before.
@lru_cache(maxsize=1 << 14)
def needs_of(checkpoint: Checkpoint, terms: Terms, release: Release, device: Device, degrees: Degrees) -> _Needs:
    """The demand of any service with these terms."""
    shapes = [
        _shape(checkpoint, terms, degrees, stage, release=release, device=device) for stage in range(degrees.pipeline)
    ]
    dtype, block_size = _cache_of(terms, checkpoint, release, shapes[0])
    pooling = checkpoint.architecture.pooling
    caches = (_Cache.of(shape, dtype, block_size, terms, pooling=pooling) for shape in shapes)
    layouts = [_layout(checkpoint, cache) for cache in caches]
    seats = max(shapes[0].max_num_seqs, terms.concurrency)
    length = shapes[0].max_model_len
    seat_blocks = max(layout.seat_blocks(seats) for layout in layouts) if _captures_decodes(shapes[0]) else 0
    kept = max(layout.blocks_for(concurrency=terms.concurrency, length=length) for layout in layouts)
    blocks = max(kept, seat_blocks)
    return _Needs(
        shape=shapes[0],
        stages=tuple(
            _stage(release, checkpoint, shape, layout, blocks) for shape, layout in zip(shapes, layouts, strict=True)
        ),
        required_blocks=blocks,
        useful_blocks=max(layout.blocks_for(concurrency=seats, length=length) for layout in layouts),
        seat_blocks=seat_blocks,
        keeps_prefixes=_keeps_prefixes(checkpoint.architecture, terms) and any(layout.groups for layout in layouts),
    )


def _keeps_prefixes(architecture: Architecture, terms: Terms) -> bool:
    """Whether vLLM caches prefixes (vllm/config/model.py:is_prefix_caching_supported): not of models of states alone.

    What pools is not counted on: that depends on how it pools, of which no fact is known. Nor is what is only bounded.
    """
    if architecture.pooling or architecture.assumed or terms.prefix_caching is False:
        return False
    caches = (cache for layer in architecture.kinds for cache in layer.caches)
    return terms.prefix_caching is True or not all(isinstance(cache, StateCache) for cache in caches)


def _captures_decodes(shape: ServerShape) -> bool:
    """Whether vLLM records whole decode steps as CUDA graphs: by default on every GPU, never with enforce-eager."""
    return shape.compute_capability is not None and not shape.enforce_eager


def _stage(release: Release, checkpoint: Checkpoint, shape: ServerShape, layout: KvLayout, blocks: int) -> Stage:
    stage = empty_stage(release, checkpoint, shape, layout)
    return replace(stage, required=stage.fixed + total(row.bytes for row in stage.cache_rows(blocks)))


@lru_cache(maxsize=1 << 14)
def empty_stage(release: Release, checkpoint: Checkpoint, shape: ServerShape, layout: KvLayout) -> Stage:
    """A stage without its KV cache: how many requests are promised decides on nothing else."""
    rows = fixed_rows(release, checkpoint, shape, layout)
    assumed = checkpoint.architecture.assumed
    rows = tuple(row.as_assumed() for row in rows) if assumed else rows
    fixed, compiling = total(row.bytes for row in rows), ByteRange.exact(0)
    if release.gpu is not None:
        compiling = beyond_activation(compile_peak(checkpoint.architecture, shape), rows)
    return Stage(layout, rows, fixed, compiling, fixed, assumed)


def _largest(stages: tuple[Stage, ...]) -> ByteRange:
    sizes = [stage.required for stage in stages]
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
        caching = False if pooling else terms.prefix_caching
        tokens, capability = shape.max_num_batched_tokens, shape.compute_capability
        return cls(shape.parallelism, dtype, shape.served_dtype, block_size, tokens, capability, caching)


@lru_cache(maxsize=4096)
def _layout(checkpoint: Checkpoint, cache: _Cache) -> KvLayout:
    return rank_kv_layout(
        checkpoint.architecture,
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
        cache_flag(checkpoint.quantization, terms.kv_cache_dtype),
        release,
        shape.compute_capability,
        shape.served_dtype,
        ranks=shape.tensor_parallel_size,
        named=terms.attention_backend,
    )


def most_sequences(terms: Terms, setting: Setting) -> int:
    """Requests at once beyond which a service is not grown: the spec's limit, else vLLM's own for the device."""
    device = setting.devices[0]
    limit = setting.release.batch_limits(device.total, device.title, device.capability).max_num_seqs
    return min(terms.max_num_seqs or limit, terms.max_num_batched_tokens or limit)


def _shape(
    checkpoint: Checkpoint, terms: Terms, degrees: Degrees, stage: int, *, release: Release, device: Device
) -> ServerShape:
    limits = release.batch_limits(device.total, device.title, device.capability)
    tokens = terms.max_num_batched_tokens
    most = min(limits.max_num_seqs, terms.default_seqs, tokens or terms.default_seqs)
    sequences = terms.max_num_seqs or max(terms.concurrency, most)
    # Only the floor of `context: max` can be longer than the model's own limit; longer wishes were refused.
    length = min(terms.context, checkpoint.architecture.max_model_len)
    whole = checkpoint.architecture.pooling or (device.capability is None and is_latent(checkpoint.architecture))
    if whole:
        # A text that is pooled over all its tokens is never cut (vllm/config/model.py:is_chunked_prefill_supported).
        tokens = max(tokens or limits.max_num_batched_tokens, sequences, length)
    return ServerShape(
        tensor_parallel_size=degrees.tensor,
        max_model_len=length,
        max_num_seqs=sequences,
        max_num_batched_tokens=tokens
        or _batch(checkpoint.architecture, limits.max_num_batched_tokens, sequences, length),
        served_dtype=served_dtype(
            checkpoint.architecture.checkpoint_dtype,
            bfloat16_runs=device.capability is None or device.capability >= BFLOAT16_CAPABILITY,
            pooling=checkpoint.architecture.pooling,
            float16=checkpoint.architecture.float16,
        ),
        compute_capability=device.capability,
        enforce_eager=terms.enforce_eager,
        pipeline_parallel_size=degrees.pipeline,
        stage=stage,
        expert_parallel=terms.expert_parallel,
        moe_backend=terms.moe_backend,
        attention_backend=terms.attention_backend,
        multiprocessors=device.multiprocessors,
    )


def _batch(architecture: Architecture, limit: int, sequences: int, length: int) -> int:
    """Tokens of a batch where the spec has none, by vLLM's own rules for a server that is not told either.

    No more than all sequences have, because nothing else bounds the requests of its trial runs; as many as the largest
    image that may not be cut, and as there are sequences, because it refuses less
    (vllm/engine/arg_utils.py:_set_default_max_num_seqs_and_batched_tokens_args of 0.33.0).
    """
    return max(min(limit, sequences * length), whole_item(architecture, length), sequences)
