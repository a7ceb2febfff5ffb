"""What attention takes of a rank beside parameters and cache, at every stage of a start-up.

Each of its kinds is asked once: latent attention and its indexers, the compressed attention of DeepSeek V4, the pooled
keys of Qwen4-Exp. All figures are bytes, and 0 where a model has nothing of the kind.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.engines.vllm.kernels.backend import Device
from compiler.engines.vllm.kv_cache.blocks import KvLayout
from compiler.engines.vllm.memory.attention.compressed import compressed_attention, compressed_tables
from compiler.engines.vllm.memory.attention.latent import (
    absorbed_bytes,
    block_scores_bytes,
    expanded_context_bytes,
    gathered_context_bytes,
    indexer_logits_bytes,
    indexer_table_bytes,
    indexer_workspace_bytes,
    mask_bytes,
    packed_kernel_bytes,
    packed_workspace_bytes,
    picked_kernel_bytes,
    picked_tokens_bytes,
    triton_workspace_bytes,
    unpacked_context_bytes,
)
from compiler.engines.vllm.memory.attention.pooled_keys import (
    builder_bytes,
    first_scores_bytes,
    mixed_streams_bytes,
    token_tables_bytes,
)
from compiler.engines.vllm.memory.shape import ServerShape, processors
from compiler.units import ByteRange

_NO_TRITON_LATENTS = (9, 10)  # other kernels come first there (vllm/platforms/cuda.py)
_PROFILED_BLOCK = 16  # tokens of a block while there is no cache yet


@dataclass(frozen=True, slots=True)
class ProfiledAttention:
    """What the profile run takes for a layer's attention.

    Attributes:
        least, widest: its widest point.
        slack: by how much that may be wider.
        context: of the widest point, keys and values that are expanded from latents.
        workspace: that it asks for of the workspace that all kernels share.
    """

    least: int
    widest: int
    slack: int
    context: int
    workspace: int


@dataclass(frozen=True, slots=True)
class Attention:
    """What attention takes by the stages of a start-up.

    Attributes:
        loaded: tables and unpacked projections, made with the model and counted with its weights.
        kernels: kept by kernels from the profile run on.
        late: allocated after the KV cache was sized.
        sources: of what is late.
    """

    loaded: int
    kernels: int
    profiled: ProfiledAttention
    late: ByteRange
    sources: tuple[str, ...]


def attention_of(checkpoint: Checkpoint, shape: ServerShape, layout: KvLayout) -> Attention:
    """Of one rank of a server on a GPU."""
    architecture = checkpoint.architecture
    late, sources = _late(architecture, shape, layout)
    device = _device(shape, "auto")
    kernels = packed_kernel_bytes(architecture, device) if device is not None else 0
    return Attention(loaded_bytes(checkpoint, shape), kernels, profiled_attention(architecture, shape), late, sources)


def loaded_bytes(checkpoint: Checkpoint, shape: ServerShape) -> int:
    """Tables of picked tokens, and unpacked copies of latent projections."""
    architecture, tokens = checkpoint.architecture, shape.max_num_batched_tokens
    made = picked_tokens_bytes(architecture, max_num_batched_tokens=tokens, ranks=shape.tensor_parallel_size)
    made += token_tables_bytes(architecture, max_num_batched_tokens=tokens)
    served = shape.served_dtype
    return made + absorbed_bytes(architecture, checkpoint.quantization, shape.parallelism, served_dtype=served)


def profiled_attention(architecture: Architecture, shape: ServerShape) -> ProfiledAttention:
    """The widest point of a layer's attention, and its part of the shared workspace."""
    context, compressed = latent_context(architecture, shape), compressed_attention(architecture, shape)
    widest = max(_heads(architecture, shape), context, compressed, mixed_streams_bytes(architecture, shape))
    workspace = _workspace(architecture, shape)
    return ProfiledAttention(compressed // 2, widest, compressed // 4, context, workspace)


def _heads(architecture: Architecture, shape: ServerShape) -> int:
    """Queries, keys and values as one tensor, and the attention's output."""
    ranks = shape.tensor_parallel_size
    heads = architecture.num_attention_heads * 2 // ranks + 2 * max(1, architecture.num_kv_heads // ranks)
    return shape.max_num_batched_tokens * heads * architecture.head_dim * SERVED_BYTES[shape.served_dtype]


def latent_context(architecture: Architecture, shape: ServerShape) -> int:
    """Keys and values that MLA expands from latents in the profile run, beside an indexer's scores."""
    expanded = expanded_context_bytes(
        architecture,
        shape.parallelism,
        max_model_len=shape.max_model_len,
        max_num_seqs=shape.max_num_seqs,
        block_size=_PROFILED_BLOCK,
        served_dtype=shape.served_dtype,
    )
    return max(expanded, indexer_logits_bytes(architecture))


def _workspace(architecture: Architecture, shape: ServerShape) -> int:
    """What the largest of its users asks for: an indexer, four prefills of DeepSeek V4, MLA's decoding."""
    length = shape.max_model_len
    indexer, device = indexer_workspace_bytes(architecture, max_model_len=length), _device(shape, "auto")
    if device is None:
        return indexer
    tokens = shape.max_num_batched_tokens
    packed = packed_workspace_bytes(architecture, device, max_model_len=length, max_num_batched_tokens=tokens)
    if device.major in _NO_TRITON_LATENTS:
        return max(indexer, packed)
    decoding = triton_workspace_bytes(
        architecture,
        shape.parallelism,
        max_model_len=length,
        max_num_seqs=shape.max_num_seqs,
        processors=processors(shape)[0],
    )
    return max(indexer, packed, decoding)


def _late(architecture: Architecture, shape: ServerShape, layout: KvLayout) -> tuple[ByteRange, tuple[str, ...]]:
    """Lists that metadata builders make, the context that MLA gathers, and what sparse attention takes at first."""
    sources = []
    lists = compressed_tables(architecture, shape, layout)
    if lists:
        sources.append(
            "lists of entries to read: vllm/models/deepseek_v4/sparse_mla.py and vllm/v1/attention/backends/mla"
        )
    else:
        lists = indexer_table_bytes(
            architecture,
            max_model_len=shape.max_model_len,
            max_num_batched_tokens=shape.max_num_batched_tokens,
            block_size=layout.block_size,
        )
    gathered = gathered_context_bytes(
        architecture,
        max_model_len=shape.max_model_len,
        max_num_seqs=shape.max_num_seqs,
        block_size=layout.block_size,
        served_dtype=shape.served_dtype,
    )
    if gathered:
        sources.append("cached context of MLA: vllm/model_executor/layers/attention/mla_attention.py and mla/")
    sparse = _sparse(architecture, shape, layout)
    if sparse.high:
        sources.append(
            "first prefill of sparse attention: vllm/v1/attention/backends/mla, models/{minimax_m3,qwen4_exp}"
        )
    return ByteRange.exact(lists + gathered) + sparse, tuple(sources)


def _sparse(architecture: Architecture, shape: ServerShape, layout: KvLayout) -> ByteRange:
    """What sparse attention takes at its first long prefill, its mask and its scores."""
    device = _device(shape, layout.dtype)
    if device is None:
        return ByteRange.exact(0)
    unpacked = unpacked_context_bytes(architecture, device, max_model_len=shape.max_model_len)
    scores = block_scores_bytes(architecture, device, max_num_batched_tokens=shape.max_num_batched_tokens)
    first = unpacked + first_scores_bytes(architecture, shape, layout.block_size)
    kept = mask_bytes(architecture, device) + scores + builder_bytes(architecture, shape)
    kept += picked_kernel_bytes(architecture, device, max_num_batched_tokens=shape.max_num_batched_tokens)
    return ByteRange(0, first, first) + ByteRange.exact(kept)


def _device(shape: ServerShape, kv_dtype: str) -> Device | None:
    if shape.compute_capability is None:
        return None
    return Device(shape.compute_capability, shape.served_dtype, kv_dtype, shape.tensor_parallel_size)
