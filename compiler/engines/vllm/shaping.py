"""What a server's limits come to for what is asked of it: its sequences, its batch, and its longest request."""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture, served_dtype
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.engines.interface.device import Device
from compiler.engines.interface.terms import Terms
from compiler.engines.vllm.degrees import Degrees
from compiler.engines.vllm.drafter import MOST_SEATS, Drafter
from compiler.engines.vllm.kernels.attention import is_latent
from compiler.engines.vllm.memory.encoder_budget import whole_item
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases.quantization import BFLOAT16_CAPABILITY
from compiler.engines.vllm.releases.release import Release
from compiler.engines.vllm.terms import ServingOptions, options_of


def longest(architecture: Architecture, drafter: Drafter | None) -> int:
    """Tokens of the longest request: vLLM shortens what the model takes to what its draft does."""
    limit = drafter.max_model_len if drafter is not None else None
    return architecture.max_model_len if limit is None else min(limit, architecture.max_model_len)


def most_sequences(options: ServingOptions, release: Release, device: Device, drafter: Drafter | None = None) -> int:
    """Requests at once beyond which a service is not grown: the spec's limit, else vLLM's own for the device."""
    limit = release.batch_limits(device.total, device.title, device.capability).max_num_seqs
    return min(options.max_num_seqs or limit, _seats_of(options.max_num_batched_tokens, drafter) or limit)


def _seats_of(tokens: int | None, drafter: Drafter | None) -> int | None:
    """Sequences whose next tokens are one batch of so many; None where nobody says how large a batch is."""
    return tokens if tokens is None or drafter is None else max(1, tokens // drafter.least_batch(1))


def shape_of(
    checkpoint: Checkpoint,
    terms: Terms,
    degrees: Degrees,
    stage: int,
    *,
    release: Release,
    device: Device,
    drafter: Drafter | None,
) -> ServerShape:
    """Of the ranks of one pipeline stage.

    Args:
        drafter: what drafts tokens beside the model.
    """
    limits = release.batch_limits(device.total, device.title, device.capability)
    options = options_of(terms)
    tokens = options.max_num_batched_tokens
    most = min(limits.max_num_seqs, terms.seats, _seats_of(tokens, drafter) or terms.seats)
    most = most if drafter is None else min(most, MOST_SEATS)
    sequences = options.max_num_seqs or max(terms.concurrency, most)
    # Only the floor of `context: max` can be longer than the model's own limit; longer wishes were refused.
    length = min(terms.context, longest(checkpoint.architecture, drafter))
    whole = checkpoint.architecture.pooling or (device.capability is None and is_latent(checkpoint.architecture))
    if whole:
        # A text that is pooled over all its tokens is never cut (vllm/config/model.py:is_chunked_prefill_supported).
        tokens = max(tokens or limits.max_num_batched_tokens, sequences, length)
    return ServerShape(
        tensor_parallel_size=degrees.tensor,
        max_model_len=length,
        max_num_seqs=sequences,
        max_num_batched_tokens=tokens
        or _batch(checkpoint.architecture, limits.max_num_batched_tokens, sequences, length, drafter),
        served_dtype=served_dtype(
            checkpoint.architecture.checkpoint_dtype,
            bfloat16_runs=device.capability is None or device.capability >= BFLOAT16_CAPABILITY,
            pooling=checkpoint.architecture.pooling,
            float16=checkpoint.architecture.float16,
        ),
        compute_capability=device.capability,
        enforce_eager=options.enforce_eager,
        pipeline_parallel_size=degrees.pipeline,
        stage=stage,
        expert_parallel=options.expert_parallel,
        moe_backend=options.moe_backend,
        attention_backend=options.attention_backend,
        multiprocessors=device.multiprocessors,
        machines=degrees.machines,
        splits_over_network=degrees.splits_over_network,
        draft_tokens=0 if drafter is None else drafter.tokens,
    )


def _batch(architecture: Architecture, limit: int, sequences: int, length: int, drafter: Drafter | None) -> int:
    """Tokens of a batch where the spec has none, by vLLM's own rules for a server that is not told either.

    No more than all sequences have, because nothing else bounds the requests of its trial runs; as many as the largest
    image that may not be cut, and as there are sequences, because it refuses less
    (vllm/engine/arg_utils.py:_set_default_max_num_seqs_and_batched_tokens_args of 0.33.0).
    """
    least = sequences if drafter is None else drafter.least_batch(sequences)
    return max(min(limit, sequences * length), whole_item(architecture, length), least)
