"""What a service asks of a vLLM server in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.engines.interface.terms import Terms
from compiler.spec.services import ServiceSpec

# Sequences at once where the spec does not say: the most that fits. Even more would cost gigabytes of sampler state
# that a KV cache uses better.
SEAT_STEPS = (256, 128, 64, 32, 16, 8)


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """Keys of a service that decide the memory of its server. See ServiceSpec."""

    kv_cache_dtype: str
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    enforce_eager: bool
    expert_parallel: bool
    prefix_caching: bool | None
    moe_backend: str
    attention_backend: str | None


def least_terms(service: ServiceSpec) -> Terms:
    """The least that the service must get."""
    return Terms(
        context=service.context.least,
        concurrency=service.concurrency.least,
        seats=SEAT_STEPS[-1],
        gpus=service.gpus,
        share=service.share,
        options=ServingOptions(
            kv_cache_dtype=service.kv_cache_dtype,
            max_num_seqs=service.max_num_seqs,
            max_num_batched_tokens=service.max_num_batched_tokens,
            enforce_eager=service.enforce_eager,
            expert_parallel=service.expert_parallel,
            prefix_caching=service.prefix_caching,
            moe_backend=service.moe_backend,
            attention_backend=service.attention_backend,
        ),
    )


def options_of(terms: Terms) -> ServingOptions:
    """Those that `least_terms` put there."""
    assert isinstance(terms.options, ServingOptions)  # noqa: S101  the solver gives an engine its own terms back
    return terms.options
