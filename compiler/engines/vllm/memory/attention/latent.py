"""What latent attention takes on one rank beside its parameters and its cache.

vllm/model_executor/layers/attention/{mla_attention,sparse_mla_attention}.py, layers/sparse_attn_indexer.py and
vllm/v1/attention/backends/mla of 0.33.0. All figures are bytes and 0 for models without latent attention. The shared
workspace (vllm/v1/worker/workspace.py) is one buffer for all its users: of what they ask for, the largest counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from compiler.checkpoints.architecture import (
    Architecture,
    IndexerCache,
    KeyCache,
    LatentCache,
    Layer,
    Linear,
    PackedCache,
)
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.checkpoints.parameters.modules import rank_layers
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.quantization.read import Quantization
from compiler.engines.vllm.kernels.backend import Device
from compiler.engines.vllm.kernels.latent_attention import latent_shape

_CONTEXT_ROWS = 64 * 1024
_INDEXER_LOGITS = 512 << 20  # VLLM_SPARSE_INDEXER_MAX_LOGITS_MB
_TOPK_SCRATCH = 1 << 20  # indexer_topk.py:RADIX_TOPK_WORKSPACE_SIZE
_WORKSPACE_UNIT = 256
_TABLE_TOKENS = 128  # v1/worker/block_table.py:get_block_table_width
_SPLIT_TOKENS = 512  # triton_mla.py:_MIN_WORK_PER_SPLIT
_LONG = 256 * 1024
_SCORED_TOPK, _SCORED_BLOCKS = 16, 8192  # the only topk of its kernel; MAX_K_TILES
_PREFILLS = 4  # deepseek_v4/attention.py:PREFILL_CHUNK_SIZE
_PICKED_UNIT = 128
_PACKED_KERNEL = 128 << 20  # _FLASHINFER_DSV4_WORKSPACE_BUFFER_SIZE
_PICKED_WORKSPACES = (128 + 8) << 20
_MASK = 128 << 20  # sparse_mla_attention.py:GLOBAL_TOPK_MASK_MAX_BYTES
_MASKED = {(128, 512, 128, 64, 128), (64, 512, 192, 64, 256)}  # heads, rank, widths without and with position, values


def absorbed_bytes(
    architecture: Architecture, quantization: Quantization | None, parallelism: Parallelism, *, served_dtype: str
) -> int:
    """W_UK_T and W_UV, unpacked copies of a quantized kv_b_proj; of an unquantized one they are views.

    heads / ranks × (nope + value) × rank × width of the served dtype, for each layer of the stage. They are made while
    weights are loaded and kept.
    """
    total = 0
    for packed, count in rank_layers(architecture, quantization, parallelism):
        if _latent(packed.layer) is None:
            continue
        keys = _keys(packed.layer)
        if any(module.packing is not None and keys in module.fused.modules for module in packed.modules):
            total += parallelism.share(keys.outputs, keys.split) * keys.inputs * count
    return total * SERVED_BYTES[served_dtype]


def context_rows(architecture: Architecture, *, max_model_len: int, max_num_seqs: int, block_size: int) -> int:
    """Tokens of earlier context that a prefill expands at once (determine_chunked_prefill_workspace_size)."""
    caches = [cache for _, cache in _latents(architecture)]
    if not caches:
        return 0
    rows = min(max(8 * max_model_len, 4 * max_num_seqs * block_size), _CONTEXT_ROWS)
    topk = caches[0].topk
    if topk is not None:
        return max(min(rows, max_num_seqs * topk), block_size)
    return -(-max(rows, block_size) // block_size) * block_size


def expanded_context_bytes(
    architecture: Architecture, parallelism: Parallelism, *, max_model_len: int, max_num_seqs: int, block_size: int,
    served_dtype: str,
) -> int:  # fmt: skip
    """What the profile run allocates for a layer and frees again: rows × heads / ranks × (nope + value)."""
    # vLLM takes the rows of dense attention here, whether or not an indexer picks tokens.
    rows = min(max(8 * max_model_len, 4 * max_num_seqs * block_size), _CONTEXT_ROWS)
    rows = -(-max(rows, block_size) // block_size) * block_size
    widest = max((parallelism.share(_keys(layer).outputs, _keys(layer).split) for layer, _ in _latents(architecture)),
                 default=0)  # fmt: skip
    return rows * widest * SERVED_BYTES[served_dtype]


def gathered_context_bytes(
    architecture: Architecture, *, max_model_len: int, max_num_seqs: int, block_size: int, served_dtype: str
) -> int:
    """The buffer into which context is gathered: rows × (rank + rope), for each group of latent layers.

    It is allocated when the attention's metadata builders are made: after the KV cache was sized.
    """
    rows = context_rows(architecture, max_model_len=max_model_len, max_num_seqs=max_num_seqs, block_size=block_size)
    width = max((cache.width for _, cache in _latents(architecture)), default=0)
    return rows * width * SERVED_BYTES[served_dtype]


def triton_workspace_bytes(
    architecture: Architecture, parallelism: Parallelism, *, max_model_len: int, max_num_seqs: int, processors: int
) -> int:
    """The shared workspace of TRITON_MLA's decoding, float32: sequences × heads / ranks × splits × (rank + 1).

    It is reserved in the profile run and kept.

    Args:
        processors: streaming multiprocessors of the GPU.
    """
    splits = min(1 << (max(1, max_model_len // _SPLIT_TOKENS) - 1).bit_length(), 2 * processors)
    shapes = [latent_shape(layer, cache) for layer, cache in _latents(architecture) if cache.topk is None]
    rows = (max_num_seqs * (shape.heads // parallelism.tensor_parallel_size) * (shape.rank + 1) for shape in shapes)
    return _aligned(max(rows, default=0) * splits * 4)


def indexer_workspace_bytes(architecture: Architecture, *, max_model_len: int) -> int:
    """The shared workspace into which an indexer gathers keys: tokens × (width + 4), and scratch for the choice.

    tokens = 8 × factor × max_model_len, where factor is 5, or 2 beyond 256 Ki tokens (indexer.py:
    get_max_prefill_buffer_size), by the tokens that one key stands for. It is reserved in the profile run and kept.
    """
    tokens = 8 * prefill_factor(max_model_len) * max_model_len
    sizes = (
        _aligned(tokens // ratio * width) + _aligned(tokens // ratio * 4) + _TOPK_SCRATCH
        for width, ratio, _ in _indexers(architecture)
    )
    return max(sizes, default=0)


def indexer_logits_bytes(architecture: Architecture) -> int:
    """What an indexer's profile run allocates for scores and frees again."""
    return _INDEXER_LOGITS if any(_indexers(architecture)) else 0


def indexer_table_bytes(
    architecture: Architecture, *, max_model_len: int, max_num_batched_tokens: int, block_size: int
) -> int:
    """An indexer's block table with a row for each token of a batch, int32, made after KV sizing.

    See v1/attention/backends/mla/indexer.py: expanded_block_table_buffer; rows are rounded up to 128 tokens of blocks.
    """
    if not any(_indexers(architecture)):
        return 0
    alignment = _TABLE_TOKENS // math.gcd(_TABLE_TOKENS, block_size)
    return max_num_batched_tokens * -(-max_model_len // (block_size * alignment)) * alignment * 4


def picked_tokens_bytes(architecture: Architecture, *, max_num_batched_tokens: int, ranks: int = 1) -> int:
    """The table of what is picked, int32, made with the model and kept.

    max_num_batched_tokens × topk tokens of latent attention, or × topk blocks for each of a rank's heads.
    """
    picked = [cache.topk or 0 for _, cache in _latents(architecture)]
    tokens = max((*picked, *(topk for *_, topk in _indexers(architecture))), default=0)
    blocks = max((cache.topk * max(1, cache.heads // ranks) for cache in _block_keys(architecture)), default=0)
    return (tokens * max_num_batched_tokens + blocks * -(-max_num_batched_tokens // 4) * 4) * 4


def block_scores_bytes(architecture: Architecture, device: Device, *, max_num_batched_tokens: int) -> int:
    """Scores of blocks, float32, of which 10.x keeps a table, made after KV sizing (minimax_m3/nvidia/indexer_msa)."""
    if device.major != 10:  # noqa: PLR2004  (Blackwell)
        return 0
    scored = (cache for cache in _block_keys(architecture) if cache.topk == _SCORED_TOPK)
    heads = max((max(1, cache.heads // device.ranks) for cache in scored), default=0)
    return max_num_batched_tokens * heads * _SCORED_BLOCKS * 4


def packed_workspace_bytes(
    architecture: Architecture, device: Device, *, max_model_len: int, max_num_batched_tokens: int
) -> int:
    """The shared workspace into which DeepSeek V4 gathers what four prefills read in 16 bits, and what is picked.

    4 × (max_model_len / ratio + window + max_num_batched_tokens) × width of the widest layer. It is reserved in the
    profile run and kept (models/deepseek_v4/nvidia/flashmla.py:forward_mqa); 12.x has another backend.
    """
    if device.major not in (9, 10):
        return 0
    return max((_gathered(layer, max_model_len, max_num_batched_tokens) for layer in architecture.kinds), default=0)


def _gathered(layer: Layer, max_model_len: int, max_num_batched_tokens: int) -> int:
    latents = [cache for cache in layer.caches if isinstance(cache, PackedCache) and cache.role == "latent"]
    if not latents:
        return 0
    window = max(cache.window or 0 for cache in latents)
    rows = sum(-(-max_model_len // cache.ratio) for cache in latents if cache.window is None)
    topk = max((cache.topk or 0 for cache in layer.caches if isinstance(cache, PackedCache)), default=0)
    picked = -(-(topk + window) // _PICKED_UNIT) * _PICKED_UNIT
    read = _PREFILLS * (rows + window + max_num_batched_tokens) * max(cache.width for cache in latents) * 2
    return _aligned(read) + _aligned(max_num_batched_tokens * picked * 4) + _aligned(max_num_batched_tokens * 4)


def packed_kernel_bytes(architecture: Architecture, device: Device) -> int:
    """What FlashInfer's kernels for DeepSeek V4 keep on 12.x from the profile run on (nvidia/flashinfer_sparse.py)."""
    packed = any(isinstance(cache, PackedCache) for layer in architecture.kinds for cache in layer.caches)
    return _PACKED_KERNEL if packed and device.major == 12 else 0  # noqa: PLR2004  (Blackwell without its tensor memory)


def unpacked_context_bytes(architecture: Architecture, device: Device, *, max_model_len: int) -> int:
    """The shared workspace into which FLASHMLA_SPARSE unpacks an fp8_ds_mla cache: factor × max_model_len × width × 2.

    Its queries and outputs come on top, which grow with the batch (flashmla_sparse.py:FlashMLASparseImpl).
    """
    if device.kv != "fp8_ds_mla" or device.major not in (9, 10):
        return 0
    width = max((cache.width for _, cache in _latents(architecture) if cache.topk is not None), default=0)
    return _aligned(prefill_factor(max_model_len) * max_model_len * width * 2)


def picked_kernel_bytes(architecture: Architecture, device: Device, *, max_num_batched_tokens: int) -> int:
    """What FLASHINFER_MLA_SPARSE_SM90 keeps beside an fp8 cache, made after KV sizing.

    Two workspaces, and a list of what each token picks (flashinfer_mla_sparse_sm90.py:_SM90State, and of FlashInfer
    0.7.2 mla/_batch_mla/_backends/_fa_common.py). FLASHMLA_SPARSE keeps such a cache in another format.
    """
    topk = max((cache.topk or 0 for _, cache in _latents(architecture)), default=0)
    if device.major != 9 or device.kv != "fp8" or not topk:  # noqa: PLR2004  (Hopper)
        return 0
    return _PICKED_WORKSPACES + (max_num_batched_tokens * topk + 4 * (max_num_batched_tokens + 1)) * 4


def mask_bytes(architecture: Architecture, device: Device) -> int:
    """The table of masked tokens that sparse attention keeps on 10.x beside a 16-bit cache, made after KV sizing."""
    if device.major != 10 or device.is_fp8:  # noqa: PLR2004  (Blackwell)
        return 0
    shapes = (latent_shape(layer, cache) for layer, cache in _latents(architecture) if cache.topk is not None)
    found = any((shape.heads, shape.rank, shape.nope, shape.rope, shape.value) in _MASKED for shape in shapes)
    return _MASK if found else 0


def prefill_factor(max_model_len: int) -> int:
    """vllm/config/vllm.py: sparse_mla_prefill_workspace_factor."""
    return 5 if max_model_len <= _LONG else 2


def _aligned(size: int) -> int:
    """A part of the shared workspace."""
    return -(-size // _WORKSPACE_UNIT) * _WORKSPACE_UNIT


def _indexers(architecture: Architecture) -> Iterator[tuple[int, int, int]]:
    """Width of a key, tokens that it stands for, and entries that are picked, of each kind of layer with an indexer."""
    for layer in architecture.kinds:
        for cache in layer.caches:
            if isinstance(cache, IndexerCache):
                yield cache.head_dim, 1, 0
            elif isinstance(cache, PackedCache) and cache.role == "indexer":
                yield cache.width, cache.ratio, cache.topk or 0


def _block_keys(architecture: Architecture) -> Iterator[KeyCache]:
    return (cache for layer in architecture.kinds for cache in layer.caches if isinstance(cache, KeyCache))


def _latents(architecture: Architecture) -> Iterator[tuple[Layer, LatentCache]]:
    for layer in architecture.kinds:
        cache = _latent(layer)
        if cache is not None:
            yield layer, cache


def _latent(layer: Layer) -> LatentCache | None:
    return next((cache for cache in layer.caches if isinstance(cache, LatentCache)), None)


def _keys(layer: Layer) -> Linear:
    named = (module for module in layer.modules if isinstance(module, Linear))
    return next(module for module in named if module.name.endswith("kv_b_proj"))
