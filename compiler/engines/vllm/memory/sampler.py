"""What sampling takes: logits of every sequence, and what is kept of each."""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.engines.vllm.memory.shape import ServerShape, hidden_bytes, processors
from compiler.engines.vllm.releases.overheads import GpuOverheads
from compiler.units import ByteRange

_SORTED_BELOW = 8  # rows: vllm/v1/sample/ops/topk_topp_sampler.py:apply_top_k_top_p sorts so few of them
_SORT_BYTES = 38


def sampler_peak(overheads: GpuOverheads, architecture: Architecture, shape: ServerShape) -> ByteRange:
    """Logits of every sequence, gathered over the ranks, and what is made of them."""
    rows, buffers = min(shape.max_num_seqs, shape.max_num_batched_tokens), overheads.rules.sampler_buffers_rows
    logits, width = rows * architecture.vocab_size, SERVED_BYTES[shape.served_dtype]
    per_logit = overheads.sampler.bytes_per_logit
    if buffers and rows < _SORTED_BELOW:
        per_logit = (per_logit[0], _SORT_BYTES, _SORT_BYTES)
    buffer = min(processors(shape)[0], rows) * architecture.vocab_size * 4
    kept = buffer if buffers and rows >= _SORTED_BELOW else 0
    # The profile run still holds the hidden states, those of the sampled tokens and the random ones in their place.
    held = hidden_bytes(architecture, shape) + 2 * rows * architecture.hidden_size * width
    low, expected, high = (int(logits * each) for each in per_logit)
    return ByteRange(low + held, expected + held + kept, high + held + kept)


def sampler_state(overheads: GpuOverheads, architecture: Architecture, shape: ServerShape) -> int:
    """Output counts (int32 per logit), prompt mask and grammar mask (a bit per logit each), for each sequence."""
    if not overheads.rules.sampler_state or architecture.pooling or not shape.parallelism.is_last:
        return 0
    logits = shape.max_num_seqs * architecture.vocab_size
    masks = 2 * shape.max_num_seqs * -(-architecture.vocab_size // 32) * 4
    return logits * 4 + masks
