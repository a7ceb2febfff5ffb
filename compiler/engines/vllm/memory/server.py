"""What one vLLM server takes on one rank, row by row, before its KV cache is sized.

The order is that of a start-up (vllm/v1/worker/gpu_worker.py of 0.33.0): context and NCCL before vLLM's snapshot, then
weights, buffers, the profile run's peak, graphs; last the allocations that come after the KV cache was sized.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from compiler.catalog.overheads import CpuOverheads, GpuOverheads, Overhead
from compiler.catalog.releases import Release
from compiler.checkpoints.architecture import Architecture, Experts
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.checkpoints.parameters.ranks import Parallelism, padded_rows
from compiler.checkpoints.parameters.tensors import (
    as_loaded,
    content,
    drafting_tensors,
    expected_tensors,
    second_head_elements,
)
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.read import Quantization
from compiler.engines.vllm.kernels.backend import Device
from compiler.engines.vllm.kernels.expert_backends import AUTO, MARLIN
from compiler.engines.vllm.kv_cache.blocks import KvLayout
from compiler.engines.vllm.memory.activation import (
    activation_peak,
    latent_context,
    processors,
    sampler_state,
)
from compiler.engines.vllm.memory.allocator import weights_rounding
from compiler.engines.vllm.memory.compressed import compressed_tables
from compiler.engines.vllm.memory.context import NVLINK_SWITCHED, context_memory
from compiler.engines.vllm.memory.encoder_budget import EncoderMemory, EncoderShape, encoder_memory
from compiler.engines.vllm.memory.graphs import graph_memory, graph_overhead
from compiler.engines.vllm.memory.kernel_padding import fitted, widened_bytes
from compiler.engines.vllm.memory.latent import (
    absorbed_bytes,
    block_scores_bytes,
    gathered_context_bytes,
    indexer_table_bytes,
    mask_bytes,
    packed_kernel_bytes,
    picked_tokens_bytes,
    unpacked_context_bytes,
)
from compiler.engines.vllm.memory.pooled_keys import builder_bytes, first_scores_bytes, token_tables_bytes
from compiler.engines.vllm.memory.rotary_bytes import rotary_tables
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.memory.unified import shared_memory_rows
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.lock.models import TensorKind
from compiler.units import ByteRange

_HOPPER = 9
_ONE_KERNEL = ("gpt-oss-mxfp4", "ct-mxfp4")
_SPECIALIZED = 16  # Triton compiles a kernel of its own for numbers that this divides


# Compared by identity: the solver asks for the weights of one checkpoint many times, and they are worked out once.
@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A checkpoint as the arithmetic sees it.

    Attributes:
        tensors: from its headers; None where none could be read.
    """

    architecture: Architecture
    quantization: Quantization | None
    tensors: tuple[TensorKind, ...] | None


def fixed_rows(release: Release, checkpoint: Checkpoint, shape: ServerShape, layout: KvLayout) -> tuple[LedgerRow, ...]:
    """Every row but the KV cache; `layout` is for the block tables."""
    architecture = checkpoint.architecture
    capability, backend = shape.compute_capability, shape.moe_backend
    weights = weights_row(checkpoint, shape.parallelism, shape.served_dtype, capability, backend)
    if release.gpu is not None:
        return gpu_rows(release.gpu, checkpoint, shape, layout, weights)
    if release.cpu is not None:
        return _cpu_rows(release.cpu, architecture, shape, weights)
    raise ValueError(f"vLLM {release.version} has no overheads")


@lru_cache(maxsize=4096)
def weights_row(
    checkpoint: Checkpoint,
    parallelism: Parallelism,
    served_dtype: str,
    capability: tuple[int, int] | None,
    moe_backend: str = AUTO,
) -> LedgerRow:
    """Parameters on one rank, and how well they are known: exactly where headers and config.json agree."""
    row = _parameters_row(checkpoint, parallelism, served_dtype)
    architecture, quantization = checkpoint.architecture, fitted(checkpoint.quantization, capability, moe_backend)
    more = widened_bytes(
        architecture, quantization, parallelism, served_dtype, capability=capability, moe_backend=moe_backend
    )
    if quantization is not checkpoint.quantization:
        more += rank_weights(architecture, quantization, parallelism, served_dtype=served_dtype) - row.bytes.low
    if not more:
        return row
    source = f"{row.source}; padded and widened for this GPU: vllm/model_executor/layers/fused_moe/{{oracle,router}}"
    return replace(row, bytes=row.bytes + ByteRange.exact(more), source=source)


def _parameters_row(checkpoint: Checkpoint, parallelism: Parallelism, served_dtype: str) -> LedgerRow:
    size = rank_weights(checkpoint.architecture, checkpoint.quantization, parallelism, served_dtype=served_dtype)
    if checkpoint.architecture.assumed:
        source = "all tensors of the safetensors headers"
        return LedgerRow(RowKind.WEIGHTS, "weights", ByteRange.exact(size), Basis.ESTIMATE, source)
    if checkpoint.tensors is None:
        source = "parameters that config.json implies, split as vLLM splits them; no header was read"
        return _with_second_head(checkpoint, parallelism, served_dtype, size, source)
    more, source = _unexplained(checkpoint, checkpoint.tensors, parallelism, served_dtype)
    if more == 0:
        return LedgerRow(RowKind.WEIGHTS, "weights", ByteRange.exact(size), Basis.EXACT, source)
    head = _second_head(checkpoint.architecture, checkpoint.tensors, parallelism, served_dtype)
    likely = size + head if checkpoint.architecture.presumes_tie else size
    return LedgerRow(RowKind.WEIGHTS, "weights", ByteRange(size, likely, size + more), Basis.ESTIMATE, source)


def _with_second_head(
    checkpoint: Checkpoint, parallelism: Parallelism, served_dtype: str, size: int, source: str
) -> LedgerRow:
    """Without headers, an output head is taken for stored where only a composed class's default ties it."""
    architecture = checkpoint.architecture
    if not architecture.presumes_tie:
        return LedgerRow(RowKind.WEIGHTS, "weights", ByteRange.exact(size), Basis.DERIVED, source)
    rows = padded_rows(architecture.vocab_size) // parallelism.tensor_parallel_size
    head = rows * architecture.hidden_size * SERVED_BYTES[served_dtype]
    source += "; the config does not say whether lm_head is tied, and checkpoints of this class hold one"
    return LedgerRow(RowKind.WEIGHTS, "weights", ByteRange(size, size + head, size + head), Basis.ESTIMATE, source)


def _unexplained(
    checkpoint: Checkpoint, tensors: tuple[TensorKind, ...], parallelism: Parallelism, served_dtype: str
) -> tuple[int, str]:
    """Bytes that the headers hold beyond what config.json implies, and how the weights are known."""
    architecture, width = checkpoint.architecture, SERVED_BYTES[served_dtype]
    # A model that generates nothing has no output head to load (vllm/model_executor/models/adapters.py).
    tied = architecture.tie_word_embeddings or architecture.pooling
    implied = expected_tensors(architecture, checkpoint.quantization)
    found = content(as_loaded(tensors, implied), tied=tied, skipped=architecture.drafting_prefixes)
    expected = content(implied, tied=tied)
    head = _second_head(architecture, tensors, parallelism, served_dtype)
    source = "safetensors headers and config.json agree; split as vLLM splits them"
    if head:
        source += "; the config ties lm_head to the embeddings, and a copy that differs from them would be kept"
    drafting = content(drafting_tensors(architecture, checkpoint.quantization), tied=False)
    if found in (expected, expected + drafting):
        return head, source
    more = max(0, found.float_elements - expected.float_elements) * width
    more += max(0, found.packed_bytes - expected.packed_bytes)
    return head + max(more, 1), f"config.json, split as vLLM splits it; the headers hold {more} bytes more than that"


def _second_head(
    architecture: Architecture, tensors: tuple[TensorKind, ...], parallelism: Parallelism, served_dtype: str
) -> int:
    elements = 0 if architecture.pooling else second_head_elements(tensors, architecture)
    return elements * SERVED_BYTES[served_dtype] // parallelism.tensor_parallel_size


def gpu_rows(
    overheads: GpuOverheads, checkpoint: Checkpoint, shape: ServerShape, layout: KvLayout, weights: LedgerRow
) -> tuple[LedgerRow, ...]:
    """Rows of a server on a GPU, in the order in which it takes the memory."""
    architecture = checkpoint.architecture
    context = context_memory(overheads, shape)
    graphs = RowKind.CUDA_GRAPHS if overheads.graphs_in_budget else RowKind.OUTSIDE
    late, late_source = _late_allocations(overheads, architecture, shape, layout)
    non_torch = non_torch_growth(overheads, architecture, shape)
    encoder = tower_memory(architecture, shape)
    peak = activation_peak(
        overheads, architecture, shape, experts_keep=experts_keep(checkpoint, shape), encoder=encoder
    )
    return (
        LedgerRow(RowKind.OUTSIDE, "CUDA context and communication", context.bytes, Basis.ESTIMATE, context.source),
        weights,
        _buffers_row(overheads, checkpoint, shape, encoder),
        LedgerRow(
            RowKind.ACTIVATION,
            "activation peak",
            peak,
            Basis.ESTIMATE,
            _activation_source(overheads, architecture, shape, encoder),
        ),
        LedgerRow(RowKind.NON_TORCH, "non-torch growth", non_torch.bytes, Basis.ESTIMATE, non_torch.source),
        LedgerRow(
            graphs,
            "CUDA graphs",
            graph_memory(overheads, architecture, shape),
            Basis.ESTIMATE,
            f"captured sizes × layers; {graph_overhead(overheads, architecture, shape).source}",
        ),
        LedgerRow(RowKind.OUTSIDE, "allocated after KV sizing", late, Basis.ESTIMATE, late_source),
        LedgerRow(
            RowKind.OUTSIDE,
            "fragments in torch's allocator",
            ByteRange(0, 0, peak.high // overheads.fragmentation),
            Basis.ESTIMATE,
            f"at most 1/{overheads.fragmentation} of the activation peak, which vLLM counts in allocated bytes",
        ),
        *shared_memory_rows(shape, weights),
    )


def experts_keep(checkpoint: Checkpoint, shape: ServerShape) -> bool:
    """Whether experts take their scratch from vLLM's workspaces, not inside their kernel.

    On Hopper gpt-oss's MXFP4 runs in one kernel (OAITritonMxfp4ExpertsMonolithic in gpt_oss_triton_kernels_moe.py), and
    DeepSeek V4's in Marlin's (select_deepseek_v4_mxfp4_moe_backend in fused_moe/oracle/mxfp4.py).
    """
    packing = checkpoint.quantization.experts if checkpoint.quantization is not None else None
    hopper = shape.compute_capability is not None and shape.compute_capability[0] == _HOPPER
    own_choice = shape.moe_backend != MARLIN
    return not (hopper and own_choice and packing is not None and packing.style in _ONE_KERNEL)


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


def _buffers_row(
    overheads: GpuOverheads, checkpoint: Checkpoint, shape: ServerShape, encoder: EncoderMemory | None
) -> LedgerRow:
    architecture, ranks = checkpoint.architecture, shape.tensor_parallel_size
    kept = sampler_state(overheads, architecture, shape) + made_while_loading(overheads, checkpoint, shape, encoder)
    if shape.compute_capability is not None:
        kept += packed_kernel_bytes(architecture, Device(shape.compute_capability, shape.served_dtype, "auto", ranks))
    rounding = segment_rests(
        checkpoint,
        shape.parallelism,
        shape.served_dtype,
        shape.compute_capability,
        largest_split=overheads.largest_split,
        moe_backend=shape.moe_backend,
    )
    source = (
        "rotary tables: vllm/model_executor/layers/rotary_embedding; rounding: segments of torch's allocator; "
        f"rest: {overheads.allocator.source}"
    )
    if overheads.sampler.state:
        source = f"sampler state: vllm/v1/worker/gpu/sample/penalties.py; {source}"
    size = ByteRange.exact(kept) + rounding + overheads.allocator.bytes
    return LedgerRow(RowKind.BUFFERS, "sampler state, rotary tables and rounding", size, Basis.ESTIMATE, source)


def made_while_loading(
    overheads: GpuOverheads, checkpoint: Checkpoint, shape: ServerShape, encoder: EncoderMemory | None
) -> int:
    """Buffers that the model makes itself, which logs count with its weights.

    Rotary tables, a table of picked tokens, unpacked latent projections, and embeddings of images for a batch.
    """
    architecture, tokens = checkpoint.architecture, shape.max_num_batched_tokens
    made = rotary_tables(overheads, architecture, shape) + (encoder.buffers if encoder is not None else 0)
    made += picked_tokens_bytes(architecture, max_num_batched_tokens=tokens, ranks=shape.tensor_parallel_size)
    made += token_tables_bytes(architecture, max_num_batched_tokens=tokens)
    served = shape.served_dtype
    return made + absorbed_bytes(architecture, checkpoint.quantization, shape.parallelism, served_dtype=served)


def tower_memory(architecture: Architecture, shape: ServerShape) -> EncoderMemory | None:
    """Towers for images and sound on this rank; None where there are none."""
    limits = EncoderShape(shape.max_num_batched_tokens, shape.max_num_seqs, shape.max_model_len, shape.served_dtype)
    return encoder_memory(architecture, shape.parallelism, limits)


def _activation_source(
    overheads: GpuOverheads, architecture: Architecture, shape: ServerShape, encoder: EncoderMemory | None
) -> str:
    parts = [f"larger of forward pass and sampler; {overheads.sampler.source}"]
    if any(isinstance(module, Experts) for layer in architecture.kinds for module in layer.modules):
        parts.append("expert workspaces: vllm/model_executor/layers/fused_moe/modular_kernel.py")
    if latent_context(architecture, shape):
        parts.append("MLA context: vllm/model_executor/layers/attention/mla_attention.py")
    if encoder is not None:
        parts.append(encoder.source)
    if overheads.activation_correction is not None:
        parts.append(overheads.activation_correction.source)
    return "; ".join(parts)


def non_torch_growth(overheads: GpuOverheads, architecture: Architecture, shape: ServerShape) -> Overhead:
    """Memory outside torch's allocator that appears while profiling: kernels, their stacks, NCCL's buffers."""
    if shape.tensor_parallel_size * shape.data_parallel_size > 1:
        fast = shape.compute_capability is not None and shape.compute_capability[0] in NVLINK_SWITCHED
        return overheads.non_torch_nvlink if fast else overheads.non_torch_pcie
    if shape.pipeline_parallel_size > 1:
        return overheads.non_torch_pipeline
    if not overheads.stack[2] or architecture.pooling:
        return overheads.non_torch_single
    multiprocessors, threads = processors(shape)
    odd = architecture.vocab_size % _SPECIALIZED != 0
    per_thread = overheads.stack_odd_vocabulary if odd else overheads.stack
    stack = ByteRange(*(each * multiprocessors * threads for each in per_thread))
    source = f"{overheads.non_torch_single.source}; kernels' stacks: {overheads.stack_source}"
    return Overhead(overheads.non_torch_single.bytes + stack, source)


def _late_allocations(
    overheads: GpuOverheads, architecture: Architecture, shape: ServerShape, layout: KvLayout
) -> tuple[ByteRange, str]:
    blocks = sum(group.spec.table_columns(shape.max_model_len) for group in layout.groups)
    # Of layers that are only bounded, each may be in a group of its own.
    tables = ByteRange.exact(
        2 * 4 * shape.max_num_seqs * blocks * (architecture.num_layers if architecture.assumed else 1)
    )
    source = "block tables: vllm/v1/worker/gpu/block_table.py"
    lists = compressed_tables(architecture, shape, layout)
    if lists:
        source += "; lists of entries to read: vllm/models/deepseek_v4/sparse_mla.py and vllm/v1/attention/backends/mla"
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
        source += "; cached context of MLA: vllm/model_executor/layers/attention/mla_attention.py and mla/"
    sparse = _sparse_workspaces(architecture, shape, layout)
    if sparse.high:
        source += "; first prefill of sparse attention: vllm/v1/attention/backends/mla, models/{minimax_m3,qwen4_exp}"
    tables += ByteRange.exact(lists + gathered) + sparse
    if not _may_use_flashinfer(shape, layout):
        return tables, source
    return tables + overheads.flashinfer_workspace.bytes, f"{source}; {overheads.flashinfer_workspace.source}"


def _sparse_workspaces(architecture: Architecture, shape: ServerShape, layout: KvLayout) -> ByteRange:
    """What sparse attention takes at its first long prefill, its mask and its scores; nothing in others."""
    if shape.compute_capability is None:
        return ByteRange.exact(0)
    device = Device(shape.compute_capability, shape.served_dtype, layout.dtype, shape.tensor_parallel_size)
    unpacked = unpacked_context_bytes(architecture, device, max_model_len=shape.max_model_len)
    scores = block_scores_bytes(architecture, device, max_num_batched_tokens=shape.max_num_batched_tokens)
    first = unpacked + first_scores_bytes(architecture, shape, layout.block_size)
    kept = mask_bytes(architecture, device) + scores + builder_bytes(architecture, shape)
    return ByteRange(0, first, first) + ByteRange.exact(kept)


def _may_use_flashinfer(shape: ServerShape, layout: KvLayout) -> bool:
    """FlashInfer comes first on compute capability 10.x, and serves fp8 caches where FlashAttention does not."""
    major = shape.compute_capability[0] if shape.compute_capability else 0
    is_chosen = major == 10 or (layout.dtype == "fp8" and major != 9)  # noqa: PLR2004
    return is_chosen or shape.attention_backend == "FLASHINFER"


def _cpu_rows(
    overheads: CpuOverheads, architecture: Architecture, shape: ServerShape, weights: LedgerRow
) -> tuple[LedgerRow, ...]:
    hidden = shape.max_num_batched_tokens * architecture.hidden_size * 4
    mlp = shape.max_num_batched_tokens * architecture.intermediate_size * 4
    logits = shape.max_num_seqs * architecture.vocab_size
    peak = ByteRange(0, max(2 * mlp + 2 * hidden, logits * 8), 3 * mlp + 6 * hidden + logits * 16)
    return (
        LedgerRow(
            RowKind.PROCESS, "server processes", overheads.process.bytes, Basis.ESTIMATE, overheads.process.source
        ),
        weights,
        LedgerRow(
            RowKind.ACTIVATION,
            "activation peak",
            peak,
            Basis.ESTIMATE,
            "forward pass and sampler in float32, from the model's widths",
        ),
    )
