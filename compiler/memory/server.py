"""What one vLLM server takes on one rank, row by row, before its KV cache is sized.

The order is that of a start-up (vllm/v1/worker/gpu_worker.py of 0.33.0): context and NCCL before vLLM's snapshot, then
weights, buffers, the profile run's peak, graphs; last the allocations that come after the KV cache was sized.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from compiler.catalog.releases import CpuOverheads, GpuOverheads, Release
from compiler.lock.models import TensorKind
from compiler.memory.architecture import Architecture
from compiler.memory.kv_cache import KvLayout
from compiler.memory.layouts import SERVED_BYTES
from compiler.memory.ledger import Basis, LedgerRow, RowKind
from compiler.memory.packing import Quantization
from compiler.memory.parallelism import Parallelism
from compiler.memory.tensors import content, drafting_tensors, expected_tensors, second_head_elements
from compiler.memory.weights import rank_weights
from compiler.units import ByteRange

_GRAPH_LIMIT = 512  # vllm/config/vllm.py:_set_cudagraph_sizes


@dataclass(frozen=True, slots=True)
class ServerShape:
    """What decides a server's memory besides the model: its batch limits, its split and what it runs on.

    Attributes:
        compute_capability: of the GPU; None on a CPU.
    """

    tensor_parallel_size: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    served_dtype: str
    compute_capability: tuple[int, int] | None
    enforce_eager: bool = False
    pipeline_parallel_size: int = 1
    stage: int = 0
    expert_parallel: bool = False

    @property
    def parallelism(self) -> Parallelism:
        """A rank of this stage."""
        return Parallelism(
            self.tensor_parallel_size,
            self.pipeline_parallel_size,
            self.stage,
            expert_parallel=self.expert_parallel,
        )

    @property
    def ranks(self) -> int:
        """Processes with a GPU each."""
        return self.tensor_parallel_size * self.pipeline_parallel_size


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
    weights = _weights_row(checkpoint, shape.parallelism, shape.served_dtype)
    if release.gpu is not None:
        return _gpu_rows(release.gpu, architecture, shape, layout, weights)
    if release.cpu is not None:
        return _cpu_rows(release.cpu, architecture, shape, weights)
    raise ValueError(f"vLLM {release.version} has no overheads")


@lru_cache(maxsize=4096)
def _weights_row(checkpoint: Checkpoint, parallelism: Parallelism, served_dtype: str) -> LedgerRow:
    size = rank_weights(checkpoint.architecture, checkpoint.quantization, parallelism, served_dtype=served_dtype)
    if checkpoint.tensors is None:
        source = "parameters that config.json implies, split as vLLM splits them; no header was read"
        return LedgerRow(RowKind.WEIGHTS, "weights", ByteRange.exact(size), Basis.DERIVED, source)
    more, source = _unexplained(checkpoint, checkpoint.tensors, parallelism, served_dtype)
    if more == 0:
        return LedgerRow(RowKind.WEIGHTS, "weights", ByteRange.exact(size), Basis.EXACT, source)
    return LedgerRow(RowKind.WEIGHTS, "weights", ByteRange(size, size, size + more), Basis.ESTIMATE, source)


def _unexplained(
    checkpoint: Checkpoint, tensors: tuple[TensorKind, ...], parallelism: Parallelism, served_dtype: str
) -> tuple[int, str]:
    """Bytes that the headers hold beyond what config.json implies, and how the weights are known."""
    architecture, width = checkpoint.architecture, SERVED_BYTES[served_dtype]
    tied, ranks = architecture.tie_word_embeddings, parallelism.tensor_parallel_size
    found = content(tensors, tied=tied, skipped=architecture.drafting_prefixes)
    expected = content(expected_tensors(architecture, checkpoint.quantization), tied=tied)
    head = second_head_elements(tensors, architecture) * width // ranks
    source = "safetensors headers and config.json agree; split as vLLM splits them"
    if head:
        source += "; the config ties lm_head to the embeddings, and a copy that differs from them would be kept"
    drafting = content(drafting_tensors(architecture, checkpoint.quantization), tied=False)
    if found in (expected, expected + drafting):
        return head, source
    more = max(0, found.float_elements - expected.float_elements) * width
    more += max(0, found.packed_bytes - expected.packed_bytes)
    return head + max(more, 1), f"config.json, split as vLLM splits it; the headers hold {more} bytes more than that"


def _gpu_rows(
    overheads: GpuOverheads, architecture: Architecture, shape: ServerShape, layout: KvLayout, weights: LedgerRow
) -> tuple[LedgerRow, ...]:
    single = shape.ranks == 1
    context = overheads.context_single if single else overheads.context_parallel
    non_torch = overheads.non_torch_single if single else overheads.non_torch_parallel
    estimate = Basis.ESTIMATE
    late, late_source = _late_allocations(overheads, shape, layout)
    rows = [
        LedgerRow(RowKind.OUTSIDE, "CUDA context and communication", context.bytes, estimate, context.source),
        weights,
        LedgerRow(
            RowKind.BUFFERS,
            "sampler state and allocator rounding",
            ByteRange.exact(sampler_state_bytes(architecture, shape)) + overheads.allocator.bytes,
            estimate,
            f"sampler state: vllm/v1/worker/gpu/sample/penalties.py; rounding: {overheads.allocator.source}",
        ),
        LedgerRow(
            RowKind.ACTIVATION,
            "activation peak",
            activation_peak(overheads, architecture, shape),
            estimate,
            f"larger of forward pass and sampler; {overheads.sampler_source}",
        ),
        LedgerRow(RowKind.NON_TORCH, "non-torch growth", non_torch.bytes, estimate, non_torch.source),
        LedgerRow(
            RowKind.CUDA_GRAPHS,
            "CUDA graphs",
            _graphs(overheads, shape),
            estimate,
            f"{overheads.graphs_fixed.source}; {overheads.graphs_per_size.source}",
        ),
        LedgerRow(RowKind.OUTSIDE, "allocated after KV sizing", late, estimate, late_source),
    ]
    return tuple(rows)


def sampler_state_bytes(architecture: Architecture, shape: ServerShape) -> int:
    """Output counts (int32 per logit), prompt mask and grammar mask (a bit per logit each), for each sequence."""
    logits = shape.max_num_seqs * architecture.vocab_size
    masks = 2 * shape.max_num_seqs * -(-architecture.vocab_size // 32) * 4
    return logits * 4 + masks


def activation_peak(overheads: GpuOverheads, architecture: Architecture, shape: ServerShape) -> ByteRange:
    """Peak of torch allocations in the profile run: the widest point of the forward pass, or the sampler's."""
    width = 4 if shape.served_dtype == "float32" else 2
    rows, ranks = shape.max_num_batched_tokens, shape.tensor_parallel_size
    hidden = rows * architecture.hidden_size * width
    mlp = rows * architecture.intermediate_size // ranks * width
    # At the widest point gate and up are alive beside their product, and the hidden states beside the residual.
    forward_low, forward_high = 2 * mlp + 2 * hidden, 3 * mlp + 6 * hidden
    logits = min(shape.max_num_seqs, rows) * architecture.vocab_size
    low, expected, high = (int(logits * per_logit) for per_logit in overheads.sampler_bytes_per_logit)
    return ByteRange(
        max(forward_low, low), max((forward_low + forward_high) // 2, expected), max(forward_high, high) + hidden
    )


def capture_sizes(max_num_seqs: int, max_num_batched_tokens: int) -> tuple[int, ...]:
    """Batch sizes for which vLLM captures CUDA graphs (vllm/config/vllm.py:_set_cudagraph_sizes)."""
    largest = min(2 * max_num_seqs, _GRAPH_LIMIT, max_num_batched_tokens)
    candidates = (1, 2, 4, *range(8, 256, 8), *range(256, _GRAPH_LIMIT + 1, 16))
    return tuple(size for size in candidates if size <= largest)


def _graphs(overheads: GpuOverheads, shape: ServerShape) -> ByteRange:
    if shape.enforce_eager:
        return ByteRange.exact(0)
    count = len(capture_sizes(shape.max_num_seqs, shape.max_num_batched_tokens))
    each = overheads.graphs_per_size.bytes
    return overheads.graphs_fixed.bytes + ByteRange(each.low * count, each.expected * count, each.high * count)


def _late_allocations(overheads: GpuOverheads, shape: ServerShape, layout: KvLayout) -> tuple[ByteRange, str]:
    blocks = -(-shape.max_model_len // layout.block_size)
    tables = ByteRange.exact(2 * 4 * shape.max_num_seqs * blocks)
    source = "block tables: vllm/v1/worker/gpu/block_table.py"
    if not _may_use_flashinfer(shape, layout):
        return tables, source
    return tables + overheads.flashinfer_workspace.bytes, f"{source}; {overheads.flashinfer_workspace.source}"


def _may_use_flashinfer(shape: ServerShape, layout: KvLayout) -> bool:
    """FlashInfer comes first on compute capability 10.x, and serves fp8 caches where FlashAttention does not."""
    major = shape.compute_capability[0] if shape.compute_capability else 0
    return major == 10 or (layout.dtype == "fp8" and major != 9)  # noqa: PLR2004


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
