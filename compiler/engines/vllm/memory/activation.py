"""Peak of torch's allocations in vLLM's profile run, term by term.

The profile run pushes max_num_batched_tokens through the model and lets the sampler work on max_num_seqs rows
(vllm/v1/worker/gpu_model_runner.py:profile_run of 0.19.0, vllm/v1/worker/gpu/model_runner.py of 0.33.0). What counts is
the larger of the two, on top of what the run leaves allocated.
"""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog.overheads import GpuOverheads
from compiler.checkpoints.architecture import Architecture, Experts, Module
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.engines.vllm.kernels.backend import Device
from compiler.engines.vllm.memory.compressed import compressed_attention
from compiler.engines.vllm.memory.encoder_budget import EncoderMemory
from compiler.engines.vllm.memory.latent import (
    expanded_context_bytes,
    indexer_logits_bytes,
    indexer_workspace_bytes,
    packed_workspace_bytes,
    triton_workspace_bytes,
)
from compiler.engines.vllm.memory.pooled_keys import mixed_streams_bytes
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.units import MIB, ByteRange

# (multiprocessors of the largest card, resident threads of each) by compute capability: CUDA C++ Programming Guide,
# "Compute Capabilities", and the vendor's data sheets.
_PROCESSORS = {
    (7, 0): (84, 2048), (7, 5): (72, 1024), (8, 0): (108, 2048), (8, 6): (84, 1536), (8, 9): (144, 1536),
    (9, 0): (132, 2048), (10, 0): (152, 2048), (10, 3): (160, 2048), (12, 0): (188, 1536), (12, 1): (48, 1536),
}  # fmt: skip
_LARGEST = (188, 2048)
_NOTHING = ByteRange.exact(0)

_SORTED_BELOW = 8  # rows: vllm/v1/sample/ops/topk_topp_sampler.py:apply_top_k_top_p sorts so few of them
_SORT_BYTES = 38
_NO_TRITON_LATENTS = (9, 10)  # other kernels come first there (vllm/platforms/cuda.py)


def processors(shape: ServerShape) -> tuple[int, int]:
    """Multiprocessors, of the largest card of its compute capability where they are not known, and threads of one."""
    most, threads = _PROCESSORS.get(shape.compute_capability or (0, 0), _LARGEST)
    return shape.multiprocessors or most, threads


def activation_peak(
    overheads: GpuOverheads,
    architecture: Architecture,
    shape: ServerShape,
    *,
    experts_keep: bool = True,
    encoder: EncoderMemory | None = None,
) -> ByteRange:
    """The peak, with what the run leaves allocated.

    Args:
        experts_keep: whether the experts' kernels leave their scratch to vLLM's workspaces.
        encoder: towers for images and sound; what they give is held while the language model runs.
    """
    low, expected, high = _forward(overheads, architecture, shape)
    if shape.parallelism.is_last and not architecture.pooling:
        sampler = _sampler(overheads, architecture, shape)
        low, expected, high = max(low, sampler.low), max(expected, sampler.expected), max(high, sampler.high)
    keeps = overheads.workspaces_kept
    workspaces = kept_workspace(architecture, shape, experts=True) if keeps else 0
    kept = kept_workspace(architecture, shape, experts=experts_keep) if keeps else 0
    blas = blas_workspace(shape.compute_capability) if overheads.blas_in_profile else 0
    # Hidden states and residual go from stage to stage.
    passed = 2 * _hidden(architecture, shape) * architecture.streams if shape.pipeline_parallel_size > 1 else 0
    tower, outputs = (encoder.tower, encoder.outputs) if encoder is not None else (_NOTHING, _NOTHING)
    more = blas + passed
    peak = ByteRange(
        max(low + more + outputs.low, tower.low),
        max(expected + more + outputs.expected + kept, tower.expected),
        max(high + more + outputs.high + workspaces + blas, tower.high),
    )
    return peak if overheads.activation_correction is None else _corrected(peak, overheads.activation_correction.bytes)


def _corrected(peak: ByteRange, measured_per_mebi: ByteRange) -> ByteRange:
    """Scaled by what a calibration measured of the model's peaks, in parts of 2^20."""
    low = peak.expected * measured_per_mebi.low // MIB
    expected = peak.expected * measured_per_mebi.expected // MIB
    return ByteRange(low, expected, max(expected, peak.expected * measured_per_mebi.high // MIB))


def _hidden(architecture: Architecture, shape: ServerShape) -> int:
    return shape.max_num_batched_tokens * architecture.hidden_size * SERVED_BYTES[shape.served_dtype]


def _forward(overheads: GpuOverheads, architecture: Architecture, shape: ServerShape) -> tuple[int, int, int]:
    """The widest point of a layer: its MLP, its attention, its experts or MLA's context, beside the hidden states."""
    hidden, mlp = _hidden(architecture, shape), _mlp(architecture, shape)
    experts = 0 if overheads.workspaces_kept else expert_workspaces(architecture, shape)
    # Gate and up are one tensor, alive beside their product.
    compressed = compressed_attention(architecture, shape)
    widest = max(3 * mlp, _attention(architecture, shape), experts, latent_context(architecture, shape), compressed)
    widest = max(widest, mixed_streams_bytes(architecture, shape))
    # The layer's input, the residual, the attention's output and the next residual.
    streams = hidden * architecture.streams
    low, more = max(2 * mlp, experts // 2, compressed // 2) + hidden + streams, max(mlp // 2, compressed // 4)
    return low, widest + 2 * (hidden + streams), widest + more + 2 * hidden + 4 * streams


def _mlp(architecture: Architecture, shape: ServerShape) -> int:
    width = SERVED_BYTES[shape.served_dtype]
    return shape.max_num_batched_tokens * architecture.intermediate_size // shape.tensor_parallel_size * width


def _attention(architecture: Architecture, shape: ServerShape) -> int:
    """Queries, keys and values as one tensor, and the attention's output."""
    ranks = shape.tensor_parallel_size
    heads = architecture.num_attention_heads * 2 // ranks + 2 * max(1, architecture.num_kv_heads // ranks)
    return shape.max_num_batched_tokens * heads * architecture.head_dim * SERVED_BYTES[shape.served_dtype]


def _sampler(overheads: GpuOverheads, architecture: Architecture, shape: ServerShape) -> ByteRange:
    """Logits of every sequence, gathered over the ranks, and what is made of them."""
    rows, sampler = min(shape.max_num_seqs, shape.max_num_batched_tokens), overheads.sampler
    logits, width = rows * architecture.vocab_size, SERVED_BYTES[shape.served_dtype]
    per_logit = sampler.bytes_per_logit
    if sampler.row_buffer and rows < _SORTED_BELOW:
        per_logit = (per_logit[0], _SORT_BYTES, _SORT_BYTES)
    buffer = min(processors(shape)[0], rows) * architecture.vocab_size * 4
    kept = buffer if sampler.row_buffer and rows >= _SORTED_BELOW else 0
    # The profile run still holds the hidden states, those of the sampled tokens and the random ones in their place.
    held = _hidden(architecture, shape) + 2 * rows * architecture.hidden_size * width
    low, expected, high = (int(logits * each) for each in per_logit)
    return ByteRange(low + held, expected + held + kept, high + held + kept)


def sampler_state(overheads: GpuOverheads, architecture: Architecture, shape: ServerShape) -> int:
    """Output counts (int32 per logit), prompt mask and grammar mask (a bit per logit each), for each sequence."""
    if not overheads.sampler.state or architecture.pooling or not shape.parallelism.is_last:
        return 0
    logits = shape.max_num_seqs * architecture.vocab_size
    masks = 2 * shape.max_num_seqs * -(-architecture.vocab_size // 32) * 4
    return logits * 4 + masks


def expert_workspaces(architecture: Architecture, shape: ServerShape) -> int:
    """Scratch of the fused experts, shared by all layers.

    Two buffers with a row for each token and expert that serves it: the first projection's outputs and the second's
    (workspace_shapes in vllm/model_executor/layers/fused_moe). Data parallelism gathers the tokens of all ranks.
    """
    experts = (module for module in _modules(architecture) if isinstance(module, Experts))
    return max((_workspaces(module, shape) for module in experts), default=0)


def _modules(architecture: Architecture) -> Iterator[Module]:
    """Modules of layers that are not the same object: layers that are alike share one."""
    for layer in architecture.kinds:
        yield from layer.modules


def _workspaces(module: Experts, shape: ServerShape) -> int:
    width = module.intermediate
    if not shape.expert_parallel:
        width //= shape.parallelism.expert_ranks
    first = width * (2 if module.gated else 1)
    rows = shape.max_num_batched_tokens * shape.data_parallel_size * module.top_k
    return rows * (max(width, module.inputs) + max(first, module.inputs)) * SERVED_BYTES[shape.served_dtype]


def latent_context(architecture: Architecture, shape: ServerShape, block_size: int = 16) -> int:
    """Keys and values that MLA expands from latents in the profile run, beside an indexer's scores."""
    expanded = expanded_context_bytes(
        architecture,
        shape.parallelism,
        max_model_len=shape.max_model_len,
        max_num_seqs=shape.max_num_seqs,
        block_size=block_size,
        served_dtype=shape.served_dtype,
    )
    return max(expanded, indexer_logits_bytes(architecture))


def kept_workspace(architecture: Architecture, shape: ServerShape, *, experts: bool) -> int:
    """The buffer that experts, MLA's decoding and a sparse indexer share: what the largest of them asks for."""
    sizes = [expert_workspaces(architecture, shape) if experts else 0]
    length, capability = shape.max_model_len, shape.compute_capability
    sizes.append(indexer_workspace_bytes(architecture, max_model_len=length))
    if capability is None:
        return max(sizes)
    device = Device(capability, shape.served_dtype, "auto", shape.tensor_parallel_size)
    tokens = shape.max_num_batched_tokens
    sizes.append(packed_workspace_bytes(architecture, device, max_model_len=length, max_num_batched_tokens=tokens))
    if device.major not in _NO_TRITON_LATENTS:
        sizes.append(
            triton_workspace_bytes(
                architecture,
                shape.parallelism,
                max_model_len=length,
                max_num_seqs=shape.max_num_seqs,
                processors=processors(shape)[0],
            )
        )
    return max(sizes)


def blas_workspace(capability: tuple[int, int] | None) -> int:
    """Workspace of cuBLAS (aten/src/ATen/cuda/CublasHandlePool.cpp:parseChosenWorkspaceSize)."""
    return 32 * MIB if capability is not None and capability >= (9, 0) else 4096 * 2 * 1024 + 16 * 8 * 1024
