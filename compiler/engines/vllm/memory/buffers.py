"""What a rank keeps from loading on beside its parameters: state of the sampler, tables, the rests of segments."""

from __future__ import annotations

from functools import lru_cache

from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.engines.vllm.kernels.expert_backends import AUTO
from compiler.engines.vllm.memory.allocator import weights_rounding
from compiler.engines.vllm.memory.attention.stages import Attention
from compiler.engines.vllm.memory.encoder_budget import EncoderMemory
from compiler.engines.vllm.memory.kernel_padding import fitted
from compiler.engines.vllm.memory.rotary_bytes import rotary_tables
from compiler.engines.vllm.memory.sampler import sampler_state
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases.overheads import GpuOverheads
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.units import ByteRange


def buffers_row(
    overheads: GpuOverheads,
    checkpoint: Checkpoint,
    shape: ServerShape,
    attention: Attention,
    encoder: EncoderMemory | None,
) -> LedgerRow:
    """All of it as a row of the ledger."""
    kept = sampler_state(overheads, checkpoint.architecture, shape) + attention.kernels
    kept += made_while_loading(overheads, checkpoint, shape, attention.loaded, encoder)
    rounding = segment_rests(
        checkpoint,
        shape.parallelism,
        shape.served_dtype,
        shape.compute_capability,
        largest_split=overheads.rules.largest_split,
        moe_backend=shape.moe_backend,
    )
    source = (
        "rotary tables: vllm/model_executor/layers/rotary_embedding; rounding: segments of torch's allocator; "
        f"rest: {overheads.allocator.source}"
    )
    if overheads.rules.sampler_state:
        source = f"sampler state: vllm/v1/worker/gpu/sample/penalties.py; {source}"
    size = ByteRange.exact(kept) + rounding + overheads.allocator.bytes
    return LedgerRow(RowKind.BUFFERS, "sampler state, rotary tables and rounding", size, Basis.ESTIMATE, source)


def made_while_loading(
    overheads: GpuOverheads,
    checkpoint: Checkpoint,
    shape: ServerShape,
    by_attention: int,
    encoder: EncoderMemory | None,
) -> int:
    """Buffers that the model makes itself, which logs count with its weights.

    Rotary tables, what attention makes, and embeddings of images for a batch.
    """
    tables = rotary_tables(overheads, checkpoint.architecture, shape)
    return tables + by_attention + (encoder.buffers if encoder is not None else 0)


@lru_cache(maxsize=4096)
def segment_rests(
    checkpoint: Checkpoint,
    parallelism: Parallelism,
    served_dtype: str,
    capability: tuple[int, int] | None,
    *,
    largest_split: int | None,
    moe_backend: str = AUTO,
) -> ByteRange:
    """What the allocator adds to the parameters that a GPU's kernels want."""
    return weights_rounding(
        checkpoint.architecture,
        fitted(checkpoint.quantization, capability, moe_backend),
        parallelism,
        served_dtype=served_dtype,
        largest_split=largest_split,
    )
