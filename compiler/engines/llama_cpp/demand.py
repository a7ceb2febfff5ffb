"""What one service demands of its GPUs and of main memory, for one model and one way to divide it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from compiler.engines.interface import demand as interface
from compiler.engines.interface.demand import Shortage, Variant
from compiler.engines.interface.terms import Terms
from compiler.engines.llama_cpp.flash import lacks_kernel
from compiler.engines.llama_cpp.memory.compute import Computing
from compiler.engines.llama_cpp.memory.host import HostSettings
from compiler.engines.llama_cpp.memory.plan import MemoryPlan, Served, computing_of, planned, replaced
from compiler.engines.llama_cpp.memory.projector import Projector, image_tokens
from compiler.engines.llama_cpp.models.shape import Shape
from compiler.engines.llama_cpp.offload import Offload
from compiler.engines.llama_cpp.releases.rules import Release
from compiler.engines.llama_cpp.settings import CELLS, FlashAttention, Pooling, Settings, contexts, pooled_batch
from compiler.engines.llama_cpp.terms import options_of, slot_tokens
from compiler.ledger import LedgerRow, RowKind
from compiler.units import MIB, ByteRange, format_gib, total

PROMPT_CACHE = 1024 * MIB
"""`--cache-ram`: prompts of slots that serve somebody else meanwhile. Nobody asked for its default of 8 GiB."""
CHECKPOINTS = 4
"""`--ctx-checkpoints` of a slot: states and windows to which an edited prompt goes back. The default is 32."""


@dataclass(frozen=True, eq=False)
class Model:
    """A model as the arithmetic sees it. Compared by identity: it is read once, and asked many times.

    Attributes:
        projector: with which it reads images; None of one that is served for text alone.
    """

    served: Served
    projector: Projector | None
    context: int


@dataclass(frozen=True, slots=True)
class Part:
    """What is taken of one device, or of main memory. See interface.Rank."""

    rows: tuple[LedgerRow, ...]
    caches: tuple[LedgerRow, ...]

    @property
    def fixed(self) -> ByteRange:
        """All but the cache of requests."""
        return total(row.bytes for row in self.rows)

    @property
    def required(self) -> ByteRange:
        """All of it."""
        return total(row.bytes for row in (*self.rows, *self.caches))

    @property
    def unit_bytes(self) -> int:
        """A server's context is what the terms say: none is added to it."""
        return 0

    def cache_rows(self, units: int, prefixes: int = 0) -> tuple[LedgerRow, ...]:
        """The caches, which the terms decide alone."""
        del units, prefixes
        return self.caches


@dataclass(frozen=True, slots=True)
class Demand:
    """A service on its devices. See interface.Demand.

    Attributes:
        settings: what its server is started with.
        length: tokens that one slot holds.
        required: of any of its devices: each bound is the highest of all of them.
    """

    service: str
    variant: Variant
    terms: Terms
    division: Offload
    settings: Settings
    host_settings: HostSettings
    ranks: tuple[Part, ...]
    host: Part | None
    length: int
    required: ByteRange

    @property
    def heaviest(self) -> Part:
        """The device that has most to hold."""
        return max(self.ranks, key=lambda rank: rank.required.high)

    def rank_at(self, position: int) -> Part:
        """Of the device at a position."""
        return self.ranks[position]

    @property
    def least_units(self) -> int:
        """Cells of all slots, 256 to a unit."""
        return self.settings.context // CELLS

    @property
    def useful_units(self) -> int:
        """No more: a slot takes no longer request than it was made for."""
        return self.least_units

    @property
    def keeps_prefixes(self) -> bool:
        """A slot keeps its last prompt by itself; more cells would not keep more of them."""
        return False

    @property
    def cache_bytes(self) -> int:
        """Of the caches of all devices and of main memory."""
        parts = (*self.ranks, *((self.host,) if self.host is not None else ()))
        return sum(row.bytes.high for part in parts for row in part.caches)

    @property
    def cache_note(self) -> str:
        """How the caches come to their size, as a sentence."""
        slots = self.settings.slots
        return (
            f"`{self.variant.name}` on {self.division}: {slots} × {self.length} tokens of {self.settings.key_type} "
            f"take {format_gib(self.cache_bytes)} GiB of caches"
        )

    def shortage(self, free: int) -> Shortage | None:
        """Nothing that its weights, context and concurrency do not tell."""
        del free
        return None


def own(demand: interface.Demand) -> Demand:
    """A demand of this engine, which the solver gives back."""
    assert isinstance(demand, Demand)  # noqa: S101  it asks only the engine that made it
    return demand


def settings_of(terms: Terms, division: Offload, model: Model) -> tuple[Settings, HostSettings]:
    """Flags that decide memory. Nothing is left to the engine, whose own choices change with what is free.

    Slots have cells of their own (`--no-kv-unified`): each promised request then has its context whatever others do,
    and none may take theirs.

    Raises:
        SettingsError: a slot has no room for the least image.
    """
    shape, projector = model.served.shape, model.projector
    options, tokens = options_of(terms), slot_tokens(terms)
    batch = options.batch or 2048
    ubatch = min(batch, 512)
    if options.pools:
        # A text that is pooled is read in one step, and refused where it is longer than a batch.
        batch = ubatch = pooled_batch(tokens, terms.concurrency)
    on_gpu = division.gpu_layers > 0
    settings = Settings(
        context=tokens * terms.concurrency,
        slots=terms.concurrency,
        batch=batch,
        ubatch=ubatch,
        gpu_layers=division.gpu_layers,
        cpu_moe=division.cpu_moe,
        key_type=options.cache_type,
        value_type=options.cache_type,
        flash_attention=_flash(shape, on_gpu=on_gpu),
        split=(1.0,) * division.gpus if on_gpu else (),
        pooling=_pooling(options.task, shape),
        image_tokens=0 if projector is None else image_tokens(projector.tower, tokens, ubatch, options.image_tokens),
    )
    has_states = any(layer.is_recurrent or layer.is_windowed for layer in shape.main_layers)
    prompts = 0 if options.pools else PROMPT_CACHE
    return settings, HostSettings(
        mapped=False, prompt_cache=prompts, checkpoints=CHECKPOINTS if has_states and not options.pools else 0
    )


def _flash(shape: Shape, *, on_gpu: bool) -> FlashAttention:
    """Off for encoders whose heads no kernel takes, such as MiniLM's of 32: of short texts there are few scores."""
    is_off = on_gpu and shape.architecture.is_encoder and lacks_kernel(shape)
    return FlashAttention.OFF if is_off else FlashAttention.ON


def _pooling(task: str, shape: Shape) -> Pooling | None:
    """`--rerank` pools by rank whatever the header says."""
    if task == "score":
        return Pooling.RANK
    return shape.pooling if task == "embed" else None


def demand_of(service: str, variant: Variant, terms: Terms, needs: Needs, division: Offload) -> Demand:
    """The demand on each device."""
    return Demand(
        service=service,
        variant=variant,
        terms=terms,
        division=division,
        settings=needs.settings,
        host_settings=needs.host_settings,
        ranks=needs.ranks,
        host=needs.host,
        length=needs.length,
        required=needs.required,
    )


@dataclass(frozen=True, slots=True)
class Needs:
    """What of a demand is the same for every service that asks the same of the same model. See Demand."""

    settings: Settings
    host_settings: HostSettings
    ranks: tuple[Part, ...]
    host: Part | None
    length: int
    required: ByteRange


@lru_cache(maxsize=1 << 13)
def needs_of(model: Model, terms: Terms, release: Release, division: Offload) -> Needs:
    """The demand of any service with these terms.

    Raises:
        SettingsError: the release refuses such settings for this model, or would serve them on the host.
    """
    shared, host_settings = _shared(model, terms, release, division.whole)
    computing = replaced(shared, division.gpu_layers, division.cpu_moe)
    sizes = computing.sizes
    settings = replace(computing.settings, context=sizes.total)
    ranks, host = _parts(planned(computing, host_settings, model.projector), division)
    return Needs(settings, host_settings, ranks, host, sizes.cells, _highest([rank.required for rank in ranks]))


def _highest(sizes: Sequence[ByteRange]) -> ByteRange:
    return ByteRange(*(max(getattr(size, end) for size in sizes) for end in ("low", "expected", "high")))


@lru_cache(maxsize=1 << 12)
def _shared(model: Model, terms: Terms, release: Release, division: Offload) -> tuple[Computing, HostSettings]:
    """What does not depend on which layers lie on the GPUs."""
    settings, host_settings = settings_of(terms, division, model)
    sizes = contexts(settings, model.context, model.served.shape.window)
    settings = replace(settings, context=sizes.total)
    return computing_of(release, model.served, settings), host_settings


def _parts(plan: MemoryPlan, division: Offload) -> tuple[tuple[Part, ...], Part | None]:
    """Main memory is the only device of a node without GPUs; beside GPUs a server may lie there as a whole."""
    host = _part(plan.host)
    if division.beside:
        return (Part((), ()),), host
    return ((host,), None) if not division.gpu_layers else (tuple(map(_part, plan.devices)), host)


def _part(rows: tuple[LedgerRow, ...]) -> Part:
    caches = tuple(row for row in rows if row.kind is RowKind.KV_CACHE)
    return Part(tuple(row for row in rows if row.kind is not RowKind.KV_CACHE), caches)
