"""Peak of torch's allocations in vLLM's profile run, term by term.

The profile run pushes max_num_batched_tokens through the model and lets the sampler work on max_num_seqs rows
(vllm/v1/worker/gpu_model_runner.py:profile_run of 0.19.0, vllm/v1/worker/gpu/model_runner.py of 0.33.0). What counts is
the larger of the two, on top of what the run leaves allocated.
"""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.engines.vllm.memory.attention.stages import ProfiledAttention
from compiler.engines.vllm.memory.encoder_budget import EncoderMemory
from compiler.engines.vllm.memory.experts import expert_workspaces, experts_keep, experts_of
from compiler.engines.vllm.memory.sampler import sampler_peak
from compiler.engines.vllm.memory.shape import ServerShape, hidden_bytes
from compiler.engines.vllm.releases.overheads import GpuOverheads
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.units import MIB, ByteRange

_NOTHING = ByteRange.exact(0)


def peak_row(
    overheads: GpuOverheads,
    checkpoint: Checkpoint,
    shape: ServerShape,
    attention: ProfiledAttention,
    encoder: EncoderMemory | None,
) -> LedgerRow:
    """The peak as a row of the ledger."""
    architecture, keep = checkpoint.architecture, experts_keep(checkpoint, shape)
    peak = activation_peak(overheads, architecture, shape, attention, experts_keep=keep, encoder=encoder)
    source = _source(overheads, architecture, attention, encoder)
    return LedgerRow(RowKind.ACTIVATION, "activation peak", peak, Basis.ESTIMATE, source)


def _source(
    overheads: GpuOverheads, architecture: Architecture, attention: ProfiledAttention, encoder: EncoderMemory | None
) -> str:
    parts = [f"larger of forward pass and sampler; {overheads.sampler.source}"]
    if any(True for _ in experts_of(architecture)):
        parts.append("expert workspaces: vllm/model_executor/layers/fused_moe/modular_kernel.py")
    if attention.context:
        parts.append("MLA context: vllm/model_executor/layers/attention/mla_attention.py")
    if encoder is not None:
        parts.append(encoder.source)
    if overheads.activation_correction is not None:
        parts.append(overheads.activation_correction.source)
    return "; ".join(parts)


def activation_peak(
    overheads: GpuOverheads,
    architecture: Architecture,
    shape: ServerShape,
    attention: ProfiledAttention,
    *,
    experts_keep: bool = True,
    encoder: EncoderMemory | None = None,
) -> ByteRange:
    """The peak, with what the run leaves allocated.

    Args:
        attention: what the run takes for a layer's.
        experts_keep: whether the experts' kernels leave their scratch to vLLM's workspaces.
        encoder: towers for images and sound; what they give is held while the language model runs.
    """
    low, expected, high = _forward(overheads, architecture, shape, attention)
    if shape.parallelism.is_last and not architecture.pooling:
        sampler = sampler_peak(overheads, architecture, shape)
        low, expected, high = max(low, sampler.low), max(expected, sampler.expected), max(high, sampler.high)
    keeps = overheads.rules.workspaces_kept
    workspaces = shared_workspace(architecture, shape, attention) if keeps else 0
    kept = (workspaces if experts_keep else attention.workspace) if keeps else 0
    blas = blas_workspace(shape.compute_capability) if overheads.rules.blas_in_profile else 0
    # Hidden states and residual go from stage to stage.
    passed = 2 * hidden_bytes(architecture, shape) * architecture.streams if shape.pipeline_parallel_size > 1 else 0
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


def _forward(
    overheads: GpuOverheads, architecture: Architecture, shape: ServerShape, attention: ProfiledAttention
) -> tuple[int, int, int]:
    """The widest point of a layer: its MLP, its attention, its experts or MLA's context, beside the hidden states."""
    hidden, mlp = hidden_bytes(architecture, shape), _mlp(architecture, shape)
    experts = 0 if overheads.rules.workspaces_kept else expert_workspaces(architecture, shape)
    # Gate and up are one tensor, alive beside their product.
    widest = max(3 * mlp, experts, attention.widest)
    # The layer's input, the residual, the attention's output and the next residual.
    streams = hidden * architecture.streams
    low, more = max(2 * mlp, experts // 2, attention.least) + hidden + streams, max(mlp // 2, attention.slack)
    return low, widest + 2 * (hidden + streams), widest + more + 2 * hidden + 4 * streams


def _mlp(architecture: Architecture, shape: ServerShape) -> int:
    width = SERVED_BYTES[shape.served_dtype]
    return shape.max_num_batched_tokens * architecture.intermediate_size // shape.tensor_parallel_size * width


def shared_workspace(architecture: Architecture, shape: ServerShape, attention: ProfiledAttention) -> int:
    """The buffer that experts, MLA's decoding and a sparse indexer share: what the largest of them asks for."""
    return max(expert_workspaces(architecture, shape), attention.workspace)


def blas_workspace(capability: tuple[int, int] | None) -> int:
    """Workspace of cuBLAS (aten/src/ATen/cuda/CublasHandlePool.cpp:parseChosenWorkspaceSize)."""
    return 32 * MIB if capability is not None and capability >= (9, 0) else 4096 * 2 * 1024 + 16 * 8 * 1024
