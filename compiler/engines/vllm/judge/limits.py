"""E0405: limits that the spec gives, against the model that it names.

Limits that contradict each other without a model are found in compiler/checks/stack.py.
"""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.state_cache import StateCache
from compiler.diagnostics import Edit
from compiler.engines.common.refusals import engine_refusal
from compiler.engines.interface.candidate import Candidate, Refusal
from compiler.engines.interface.problem import Problem, Remedy
from compiler.engines.vllm.memory.encoder_budget import whole_item
from compiler.engines.vllm.options.values import number

_THRESHOLD = ("long_prefill_token_threshold", "long-prefill-token-threshold", "--long-prefill-token-threshold")


def limit_refusal(candidate: Candidate, architecture: Architecture) -> Refusal | None:
    """A limit with which vLLM would not start with this model."""
    return (
        _cut_refusal(candidate, architecture)
        or _batch_refusal(candidate, architecture)
        or _threshold_refusal(candidate, architecture)
    )


def _cut_refusal(candidate: Candidate, architecture: Architecture) -> Refusal | None:
    """E0308: vllm/config/vllm.py:validate_block_size wants to cut images where states are kept at block boundaries."""
    has_states = any(isinstance(cache, StateCache) for layer in architecture.kinds for cache in layer.caches)
    if not (has_states and architecture.whole_items and candidate.spec.prefix_caching is not False):
        return None
    return engine_refusal(candidate, "its images are never cut, and vLLM keeps its states only where it may cut them")


def _batch_refusal(candidate: Candidate, architecture: Architecture) -> Refusal | None:
    """vllm/v1/core/encoder_cache_manager.py:compute_mm_encoder_budget, 0.33.0."""
    tokens, item = candidate.spec.max_num_batched_tokens, whole_item(architecture, architecture.max_model_len)
    if tokens is None or tokens >= item:
        return None
    sources = dict.fromkeys(encoder.item.source for encoder in architecture.encoders)
    notes = (
        f"{tokens} of {item} tokens: vLLM does not start where the largest image or video is no part of a batch, "
        "and the tokens of this model's images attend to each other, so that it never cuts one",
        f"tokens of an item: {'; '.join(sources)}",
    )
    why = f"its largest image or video has {item} tokens, more than `max_num_batched_tokens: {tokens}`"
    where = ("services", candidate.service, "max_num_batched_tokens")
    remedies = (
        Remedy("remove `max_num_batched_tokens`", (Edit(where, None),), kind="batch"),
        Remedy(f"`max_num_batched_tokens: {item}`", (Edit(where, item),), kind="larger batch"),
    )
    message = f"`max_num_batched_tokens: {tokens}` cannot hold the largest image or video of `{candidate.name}`"
    problem = Problem("E0405", candidate.service, where[2:], message, f"at least {item}", notes, remedies)
    return Refusal(candidate.name, candidate.method, why, problem)


def _threshold_refusal(candidate: Candidate, architecture: Architecture) -> Refusal | None:
    """vllm/config/scheduler.py:verify_max_model_len; a context that is solved may be the model's own limit."""
    key = next((key for key in _THRESHOLD if key in candidate.spec.engine_args), None)
    threshold = number(candidate.spec.engine_args[key]) if key is not None else None
    if key is None or threshold is None or threshold <= architecture.max_model_len:
        return None
    why = f"`{key}: {threshold:.0f}` is more than its context, {architecture.max_model_len} tokens"
    edit = Edit(("services", candidate.service, "engine_args", key), None)
    remedy = Remedy(f"remove `{key}`", (edit,), kind="threshold")
    message = f"`{key}: {threshold:.0f}` is more than the context of `{candidate.name}`"
    notes = (f"{threshold:.0f} − {architecture.max_model_len} = {threshold - architecture.max_model_len:.0f} tokens",)
    problem = Problem("E0405", candidate.service, ("engine_args", key), message, "", notes, (remedy,))
    return Refusal(candidate.name, candidate.method, why, problem)
