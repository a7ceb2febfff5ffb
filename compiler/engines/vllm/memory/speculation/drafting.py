"""What drafting takes beside the model: weights, buffers, its own part of the profile run, and checking the guesses.

vllm/v1/worker/gpu/spec_decode of 0.33.0. The profile run samples a row for each sequence; the guesses of all sequences
are checked for the first time after the KV cache was sized (vllm/v1/worker/gpu/warmup.py), so that their logits are
nobody's but this ledger's.
"""

from __future__ import annotations

from functools import lru_cache

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.engines.vllm.drafter import Drafter, Head, without_tables
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.memory.weights import weights_row
from compiler.engines.vllm.releases.overheads import GpuOverheads
from compiler.ledger import DRAFT_WEIGHTS, Basis, LedgerRow, RowKind
from compiler.units import GIB, ByteRange

_CHUNK = GIB  # rejection_sampler.py:MAX_CHUNK_BYTES, of logits in float32
_FLOAT = 4
# Of one token, in the draft's own copy of a batch: its number, position and mask (input_batch.py:InputBuffers).
_TOKEN_BYTES = 4 + 8 + 1
# Of one sequence: places, lengths, temperatures and seeds (speculator.py:DraftModelSpeculator); rounded up.
_SEQUENCE_BYTES = 96
# Of a token that a smaller model reads, one more for each sequence (standalone_ar/speculator.py): number and position,
# and a slot for each group of caches.
_EXPANDED_BYTES = 4 + 8
_SLOT_BYTES = 8


def draft_weights_row(drafter: Drafter, shape: ServerShape) -> LedgerRow | None:
    """Parameters of the second model on one rank, after what it shares with the first was dropped."""
    checkpoint = drafter.checkpoint
    if checkpoint is None:
        return None
    title = f"{DRAFT_WEIGHTS}, {drafter.name}"
    if drafter.head is None:
        row = weights_row(
            checkpoint, shape.parallelism, shape.served_dtype, shape.compute_capability, shape.moe_backend
        )
        return LedgerRow(RowKind.WEIGHTS, title, row.bytes, row.basis, row.source)
    size = _head_weights(checkpoint, drafter.head, shape)
    basis = Basis.DERIVED if size.is_exact else Basis.ESTIMATE
    source = "config.json by vllm/model_executor/models/llama_eagle3.py; tables that equal the model's are shared"
    return LedgerRow(RowKind.WEIGHTS, title, size, basis, source)


def _head_weights(checkpoint: Checkpoint, head: Head, shape: ServerShape) -> ByteRange:
    """The least and the most that stays: a table of its own stays where it differs from the model's.

    Without headers an output head is taken for its own, and embeddings for shared, as publishers have them.
    """
    architecture = checkpoint.architecture
    shared = (head.has_embeddings is not True, head.has_head is False)
    least = _parameters(checkpoint, without_tables(architecture, embeddings=True, head=shared[1]), shape)
    kept = without_tables(architecture, embeddings=head.has_embeddings is False, head=shared[1])
    most = _parameters(checkpoint, kept, shape)
    return ByteRange(least, least, most)


def _parameters(checkpoint: Checkpoint, architecture: Architecture, shape: ServerShape) -> int:
    return rank_weights(architecture, checkpoint.quantization, shape.parallelism, served_dtype=shape.served_dtype)


@lru_cache(maxsize=4096)
def dropped_bytes(drafter: Drafter, shape: ServerShape) -> int:
    """What is loaded of a head and dropped before the profile run, at most."""
    if drafter.checkpoint is None or drafter.head is None:
        return 0
    whole = _parameters(drafter.checkpoint, drafter.checkpoint.architecture, shape)
    return whole - _head_weights(drafter.checkpoint, drafter.head, shape).low


def draft_buffers(drafter: Drafter, shape: ServerShape, groups: int, *, reads_media: bool) -> int:
    """Tensors that the drafter keeps from the start on.

    Args:
        groups: of caches.
        reads_media: the model reads images or sound, whose embeddings a head is given too.
    """
    sequences, tokens = shape.max_num_seqs, shape.max_num_batched_tokens
    kept = sequences * drafter.tokens * (8 + 8 + 4)
    if drafter.checkpoint is None:
        return kept + _lookup_buffers(sequences, shape.max_model_len)
    kept += tokens * _TOKEN_BYTES + sequences * _SEQUENCE_BYTES
    if drafter.head is None:
        return kept + (tokens + sequences) * (_EXPANDED_BYTES + _SLOT_BYTES * groups)
    states = tokens * drafter.checkpoint.architecture.hidden_size * SERVED_BYTES[shape.served_dtype]
    return kept + states * (2 if reads_media else 1)


def _lookup_buffers(sequences: int, length: int) -> int:
    """All tokens of all sequences on the GPU, and a score for each piece of them (ngram/speculator.py)."""
    piece = next((size for least, size in ((1024, 256), (256, 128), (64, 64)) if length >= least), 16)
    return sequences * (length * 4 + -(-length // piece) * 8)


def draft_buffers_row(
    drafter: Drafter, shape: ServerShape, groups: int, rests: ByteRange, tables: int, *, reads_media: bool
) -> LedgerRow:
    """The same as a row of the ledger.

    Args:
        rests: of the segments in which the draft's weights lie.
        tables: of its rotary positions.
    """
    size = ByteRange.exact(draft_buffers(drafter, shape, groups, reads_media=reads_media) + tables) + rests
    source = "vllm/v1/worker/gpu/spec_decode: tensors for batches and sequences"
    return LedgerRow(RowKind.BUFFERS, "buffers for drafting", size, Basis.ESTIMATE, source)


def held_states(drafter: Drafter | None, model: Architecture, shape: ServerShape) -> ByteRange:
    """Hidden states that the model hands to a head while it runs: one copy each, and joined once more for `fc`."""
    if drafter is None or drafter.head is None:
        return ByteRange.exact(0)
    each = shape.max_num_batched_tokens * model.hidden_size * SERVED_BYTES[shape.served_dtype]
    return ByteRange(0, drafter.head.states * each, 2 * drafter.head.states * each)


def verification_rows(shape: ServerShape) -> int:
    """Rows of logits of the largest step in which guesses are checked."""
    return min(shape.max_num_seqs * (1 + shape.draft_tokens), shape.max_num_batched_tokens)


def verification_row(
    overheads: GpuOverheads, architecture: Architecture, shape: ServerShape, profiled: ByteRange
) -> LedgerRow:
    """What checking guesses takes beyond the profile run's peak, after the KV cache was sized.

    Logits of all rows as the model gives them, gathered over its ranks; and a piece of them in float32 on which the
    sampler works.

    Args:
        profiled: the peak, which is free by then.
    """
    rows, vocabulary = verification_rows(shape), architecture.vocab_size
    served = SERVED_BYTES[shape.served_dtype]
    piece = min(rows, max(1 + shape.draft_tokens, _CHUNK // (vocabulary * _FLOAT)))
    held = rows * (vocabulary + architecture.hidden_size) * served
    # Of a logit the sampler keeps what the model gave, which is among the held ones here, and works on a copy.
    each = [max(_FLOAT, size - served) for size in overheads.sampler.bytes_per_logit]
    low, expected, high = (held + int(piece * vocabulary * size) for size in each)
    need = ByteRange(low, expected, high)
    source = "logits of every guess: vllm/v1/worker/gpu/spec_decode/rejection_sampler.py, first run after KV sizing"
    title = "checking drafts, beyond the activation peak"
    return LedgerRow(RowKind.OUTSIDE, title, _beyond(need, profiled), Basis.ESTIMATE, source)


def _beyond(need: ByteRange, taken: ByteRange) -> ByteRange:
    expected = max(0, need.expected - taken.expected)
    low = min(expected, max(0, need.low - taken.high))
    return ByteRange(low, expected, max(expected, need.high - taken.high))
