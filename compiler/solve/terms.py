"""What a service asks of its devices in plain numbers: every range of the spec stands at one value."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.spec.models import ServiceSpec


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything in a service that decides its memory and its place, besides the model. See ServiceSpec."""

    context: int
    concurrency: int
    kv_cache_dtype: str
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    enforce_eager: bool
    expert_parallel: bool
    prefix_caching: bool | None
    gpus: tuple[int, ...]
    share: int


def least_terms(service: ServiceSpec) -> Terms:
    """The least that the service must get."""
    return Terms(
        context=service.context.least,
        concurrency=service.concurrency.least,
        kv_cache_dtype=service.kv_cache_dtype,
        max_num_seqs=service.max_num_seqs,
        max_num_batched_tokens=service.max_num_batched_tokens,
        enforce_eager=service.enforce_eager,
        expert_parallel=service.expert_parallel,
        prefix_caching=service.prefix_caching,
        gpus=service.gpus,
        share=service.share,
    )
