"""What a service asks of its devices in plain numbers: every range of the spec stands at one value."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.spec.models import ServiceSpec


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything in a service that decides its memory and its place, besides the model. See ServiceSpec.

    Attributes:
        default_seqs: sequences at once where the spec does not say.
    """

    context: int
    concurrency: int
    kv_cache_dtype: str
    max_num_seqs: int | None
    default_seqs: int
    max_num_batched_tokens: int | None
    enforce_eager: bool
    expert_parallel: bool
    prefix_caching: bool | None
    moe_backend: str
    attention_backend: str | None
    gpus: tuple[int, ...]
    share: int


# Sequences at once where the spec does not say: the most that fits. Even more would cost gigabytes of sampler state
# that a KV cache uses better.
DEFAULT_MAX_NUM_SEQS = (256, 128, 64, 32, 16, 8)


def least_terms(service: ServiceSpec) -> Terms:
    """The least that the service must get."""
    return Terms(
        context=service.context.least,
        concurrency=service.concurrency.least,
        kv_cache_dtype=service.kv_cache_dtype,
        max_num_seqs=service.max_num_seqs,
        default_seqs=DEFAULT_MAX_NUM_SEQS[-1],
        max_num_batched_tokens=service.max_num_batched_tokens,
        enforce_eager=service.enforce_eager,
        expert_parallel=service.expert_parallel,
        prefix_caching=service.prefix_caching,
        moe_backend=service.moe_backend,
        attention_backend=service.attention_backend,
        gpus=service.gpus,
        share=service.share,
    )
