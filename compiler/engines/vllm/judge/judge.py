"""Which of a service's candidates may serve it: by policy, engine, known formulas, and the model's own limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from compiler.checkpoints.config import Config
from compiler.checkpoints.families.dense.pooling import embedding_dimension
from compiler.engines.common.refusals import engine_refusal, length_refusal
from compiler.engines.interface.candidate import Candidate, Refusal
from compiler.engines.vllm.answers.tasks import labels_of
from compiler.engines.vllm.judge.adapted import adapted_refusal, divisions_with_adapters, why_not_adapted
from compiler.engines.vllm.judge.adapters import adapter_refusal
from compiler.engines.vllm.judge.backends import kernel_refusal
from compiler.engines.vllm.judge.drafts import divisions, draft_refusal, drafter_of
from compiler.engines.vllm.judge.limits import limit_refusal
from compiler.engines.vllm.judge.reading import Reading, RefusedError, dense_modules
from compiler.engines.vllm.judge.refusals import (
    architecture_refusal,
    chat_refusal,
    kind_refusal,
    policy_refusal,
    scored_refusal,
    split_refusal,
    task_refusal,
    tokenizer_refusal,
)
from compiler.engines.vllm.judge.splits import Rules, pipeline_degrees
from compiler.engines.vllm.judge.support import (
    fp8_cache_refusal,
    why_not_attended,
    why_not_served,
    why_not_wrapped,
)
from compiler.engines.vllm.judge.variant import Variant
from compiler.lock.quantization import checkpoint_format
from compiler.spec.models import PolicySpec

_LIMIT = "vLLM accepts for this config.json"

Question = Callable[[Reading], "Refusal | None"]


# Cards of one compute capability differ in their memory, which no question is about. What is told apart by its identity
# is kept, so that nothing else takes its place in memory.
_JUDGED: dict[tuple[object, ...], tuple[Candidate, PolicySpec, Variant | Refusal]] = {}
_MOST_JUDGED = 1 << 13


def judge(candidate: Candidate, rules: Rules) -> Variant | Refusal:
    """What may be served, or the answer to the first of QUESTIONS that refuses it."""
    about = (id(candidate.spec), id(candidate.facts), candidate.service, candidate.name, id(rules.policy))
    adapters = tuple(id(adapter.facts) for adapter in candidate.adapters)
    draft = None if candidate.draft is None else id(candidate.draft.facts)
    key = (*about, adapters, draft, rules.release, rules.capability, rules.devices, rules.machine.mig)
    kept = _JUDGED.get(key)
    if kept is None:
        if len(_JUDGED) >= _MOST_JUDGED:
            _JUDGED.clear()
        kept = _JUDGED[key] = (candidate, rules.policy, _judged(candidate, rules))
    found = kept[-1]
    return replace(found, device=rules.device) if isinstance(found, Variant) else found


def _judged(candidate: Candidate, rules: Rules) -> Variant | Refusal:
    reading = Reading(candidate, rules)
    try:
        for question in QUESTIONS:
            refusal = question(reading)
            if refusal is not None:
                return refusal
        return _variant(reading)
    except RefusedError as error:
        return error.refusal


def _policy(reading: Reading) -> Refusal | None:
    return policy_refusal(reading.candidate, reading.rules.policy, reading.release)


def _kind(reading: Reading) -> Refusal | None:
    return kind_refusal(reading.candidate, reading.release)


def _class(reading: Reading) -> Refusal | None:
    return architecture_refusal(reading.candidate, reading.release, reading.rules.policy)


def _scheme(reading: Reading) -> Refusal | None:
    """Also of a model without formulas: that the engine does not run it says more."""
    method, block, capability = checkpoint_format(reading.facts), reading.facts.quantization, reading.rules.capability
    try:
        architecture, dtype = reading.architecture, reading.dtype
    except RefusedError:
        reason = why_not_served(method, block, release=reading.release, capability=capability, dtype=None)
        if reason is None:
            raise
        return engine_refusal(reading.candidate, reason)
    reason = why_not_served(method, block, release=reading.release, capability=capability, dtype=dtype)
    reason = reason or why_not_wrapped(architecture.name, method, reading.release)
    return None if reason is None else engine_refusal(reading.candidate, reason)


def _layout(reading: Reading) -> Refusal | None:
    reading.check_layout()
    return None


def _attention(reading: Reading) -> Refusal | None:
    reason = why_not_attended(reading.architecture, reading.quantization, reading.rules.capability)
    return None if reason is None else engine_refusal(reading.candidate, reason)


def _task(reading: Reading) -> Refusal | None:
    """Why the model is none for the service's task."""
    spec, architecture, base = reading.spec, reading.architecture, reading.base
    has_cache, tasks = reading.has_cache, reading.tasks
    if (architecture.pooling or not has_cache) != spec.pools or (spec.pools and spec.task not in tasks):
        return task_refusal(reading.candidate, tasks, generates=not base.pooling and has_cache)
    return scored_refusal(reading.candidate) if spec.score_tokens and base.pooling else None


def _adapters(reading: Reading) -> Refusal | None:
    """Why the service's adapters are not served beside the model."""
    if not reading.candidate.adapters:
        return None
    found = reading.adapter_class
    if found is None:
        reason = f"vLLM {reading.release.version} serves no adapters with {reading.architecture.name}"
        return adapted_refusal(reading.candidate, reason)
    refusal = adapter_refusal(reading.candidate, reading.architecture, found)
    if refusal is not None:
        return refusal
    unproved = why_not_adapted(reading, found)
    return None if unproved is None else adapted_refusal(reading.candidate, unproved)


def _kernels(reading: Reading) -> Refusal | None:
    return kernel_refusal(
        reading.candidate, reading.architecture, reading.quantization, reading.rules.capability, reading.dtype
    )


def _division(reading: Reading) -> Refusal | None:
    return None if reading.degrees else split_refusal(reading.candidate, reading.splits.reasons())


def _tokenizer(reading: Reading) -> Refusal | None:
    return tokenizer_refusal(reading.candidate, reading.release)


def _chat(reading: Reading) -> Refusal | None:
    return chat_refusal(reading.candidate, reading.release)


def _length(reading: Reading) -> Refusal | None:
    return length_refusal(reading.candidate, reading.architecture.max_model_len, _LIMIT)


def _limits(reading: Reading) -> Refusal | None:
    return limit_refusal(reading.candidate, reading.architecture)


_OF_DRAFTS: tuple[Question, ...] = (_policy, _kind, _class, _scheme, _layout, _attention, _kernels)
_OF_HEADS: tuple[Question, ...] = (_policy, _kind)


def _speculation(reading: Reading) -> Refusal | None:
    return draft_refusal(reading, _OF_DRAFTS, _OF_HEADS)


QUESTIONS: tuple[Question, ...] = (
    _policy, _kind, _class, _scheme, _layout, _attention, _task, _adapters, _kernels, _division, _tokenizer, _chat,
    _length, _limits, _speculation,
)  # fmt: skip
"""In order: what can be helped least comes first, the user's policy before all, the spec's own wishes last."""


def _variant(reading: Reading) -> Variant:
    speculates, draft = reading.spec.speculate is not None, reading.candidate.draft
    fallbacks = () if speculates else reading.splits.legal(pipeline_degrees(reading.spec, reading.rules))
    variant = Variant(
        name=reading.candidate.name,
        facts=reading.facts,
        checkpoint=reading.checkpoint,
        method=reading.candidate.method,
        release=reading.release,
        device=reading.rules.device,
        divisions=divisions_with_adapters(reading, divisions(reading)),
        fallbacks=divisions_with_adapters(reading, fallbacks),
        objection=_objection(reading),
        adapters=reading.candidate.adapters,
        slots=reading.slots,
        drafter=drafter_of(reading),
        draft_facts=draft.facts if draft is not None else None,
    )
    return _pooling(reading, variant) if reading.spec.pools else variant


def _objection(reading: Reading) -> str | None:
    if reading.spec.kv_cache_dtype != "fp8":
        return None
    return fp8_cache_refusal(reading.rules.capability, reading.architecture)


def _pooling(reading: Reading, variant: Variant) -> Variant:
    """With what a server of the pooling runner gives, and what makes it of a generating model."""
    config, base = reading.facts.config, reading.base
    if reading.spec.task == "embed":
        dimension = embedding_dimension(variant.architecture, Config(config), dense_modules(reading.facts))
        return replace(variant, dimension=dimension, convert=None if base.pooling else "embed")
    labels = labels_of(variant.architecture, config)
    if base.pooling:
        return replace(variant, labels=labels)
    return replace(variant, labels=labels, convert="classify", score_tokens=reading.tokens)
