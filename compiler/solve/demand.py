"""What one service demands of each GPU it runs on, for one variant and one degree of tensor parallelism."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.catalog.quantization import BFLOAT16_CAPABILITY
from compiler.catalog.releases import Release
from compiler.memory.architecture import served_dtype
from compiler.memory.backends import attention_plan
from compiler.memory.caches import rank_kv_layout
from compiler.memory.kv_cache import KvLayout
from compiler.memory.ledger import Basis, LedgerRow, RowKind
from compiler.memory.server import Checkpoint, fixed_rows
from compiler.memory.shape import ServerShape
from compiler.solve.variants import Variant
from compiler.spec.models import ServiceSpec
from compiler.units import ByteRange, total


@dataclass(frozen=True, slots=True)
class Device:
    """What the services share: a GPU of the node, or the memory of a CPU node."""

    title: str
    total: int
    total_source: str
    reserve: int
    capability: tuple[int, int] | None

    @property
    def usable(self) -> int:
        """Bytes that servers may take."""
        return self.total - self.reserve


@dataclass(frozen=True, slots=True)
class Setting:
    """What every demand of one attempt shares.

    Attributes:
        max_num_seqs: for services whose spec does not say.
    """

    release: Release
    devices: tuple[Device, ...]
    max_num_seqs: int


@dataclass(frozen=True, slots=True)
class Demand:
    """One rank of a service.

    Attributes:
        rows: everything but the KV cache.
        required_blocks: of KV cache, for `concurrency` requests of `context` tokens and the null block.
        useful_blocks: more than this no set of `max_num_seqs` requests could fill.
    """

    service: str
    variant: Variant
    shape: ServerShape
    layout: KvLayout
    rows: tuple[LedgerRow, ...]
    required_blocks: int
    useful_blocks: int

    @property
    def fixed(self) -> ByteRange:
        """Bytes of all rows but the KV cache."""
        return total(row.bytes for row in self.rows)

    @property
    def required(self) -> ByteRange:
        """Bytes with the smallest KV cache that keeps the promise."""
        return self.fixed + ByteRange.exact(self.required_blocks * self.layout.bytes_per_block)

    def kv_row(self, blocks: int) -> LedgerRow:
        """The ledger row of a KV cache of that many blocks."""
        size, tokens = self.layout.bytes_per_block, self.layout.block_size
        source = f"{blocks} blocks of {tokens} tokens × {size} bytes, vllm/v1/kv_cache_interface.py"
        return LedgerRow(RowKind.KV_CACHE, "KV cache", ByteRange.exact(blocks * size), Basis.EXACT, source)


def demand_of(name: str, service: ServiceSpec, variant: Variant, setting: Setting, degree: int) -> Demand:
    """The demand on each of `degree` devices."""
    shape = _shape(service, variant, setting, degree)
    dtype, block_size = _cache_of(service, variant, setting, shape)
    layout = rank_kv_layout(
        variant.architecture,
        shape.parallelism,
        dtype=dtype,
        block_size=block_size,
        max_num_batched_tokens=shape.max_num_batched_tokens,
        served_dtype=shape.served_dtype,
        compute_capability=shape.compute_capability,
        prefix_caching=service.prefix_caching,
    )
    checkpoint = Checkpoint(variant.architecture, variant.quantization, variant.tensors)
    rows = fixed_rows(setting.release, checkpoint, shape, layout)
    required = layout.blocks_for(concurrency=service.concurrency, length=service.context)
    useful = layout.blocks_for(concurrency=max(shape.max_num_seqs, service.concurrency), length=service.context)
    return Demand(name, variant, shape, layout, rows, required, useful)


def _cache_of(service: ServiceSpec, variant: Variant, setting: Setting, shape: ServerShape) -> tuple[str, int]:
    """What the KV cache is kept as, and tokens of its blocks: the attention backend decides both.

    The spec's dtype comes first, then the checkpoint's, which vLLM follows, then the served one.
    """
    chosen = variant.quantization.kv_cache_dtype if variant.quantization is not None else None
    flag = "fp8" if service.kv_cache_dtype == "fp8" else chosen or "auto"
    if shape.compute_capability is None:
        return shape.served_dtype if flag == "auto" else flag, setting.release.block_size
    plan = attention_plan(
        variant.architecture,
        capability=shape.compute_capability,
        served_dtype=shape.served_dtype,
        kv_cache_dtype=flag,
        tensor_parallel_size=shape.tensor_parallel_size,
    )
    return plan.kv_dtype, plan.block_size


def _shape(service: ServiceSpec, variant: Variant, setting: Setting, degree: int) -> ServerShape:
    device = setting.devices[0]
    limits = setting.release.batch_limits(device.total, device.title)
    tokens = service.max_num_batched_tokens
    most = min(limits.max_num_seqs, setting.max_num_seqs, tokens or setting.max_num_seqs)
    sequences = service.max_num_seqs or max(service.concurrency, most)
    return ServerShape(
        tensor_parallel_size=degree,
        max_model_len=service.context,
        max_num_seqs=sequences,
        # vLLM refuses fewer batched tokens than sequences.
        max_num_batched_tokens=tokens or max(limits.max_num_batched_tokens, sequences),
        served_dtype=served_dtype(
            variant.architecture.checkpoint_dtype,
            bfloat16_runs=device.capability is None or device.capability >= BFLOAT16_CAPABILITY,
        ),
        compute_capability=device.capability,
        enforce_eager=service.enforce_eager,
    )
