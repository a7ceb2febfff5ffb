"""Which of a service's candidates may serve it: by policy, engine, known formulas, and the model's own limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TypeVar, cast

from compiler.catalog.vllm.quantization import BFLOAT16_CAPABILITY
from compiler.checkpoints.architecture import Architecture, served_dtype
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.families.assumed import assumed
from compiler.checkpoints.families.dense.pooling import as_embedding, as_scoring, embedding_dimension, gives_embeddings
from compiler.checkpoints.media_limits import with_limits
from compiler.checkpoints.parameters.header_totals import ContradictionError, check_totals
from compiler.checkpoints.parameters.headers import check_headers
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.parameters.tensors import check_tensors
from compiler.checkpoints.quantization.read import Quantization, UnknownLayoutError, read_quantization
from compiler.checkpoints.read import architecture_name, read_architecture
from compiler.engines.vllm.answers.tasks import labels_of, scoring_tokens, tasks_of
from compiler.engines.vllm.judge.backends import kernel_refusal
from compiler.engines.vllm.judge.division import check_head, check_layout
from compiler.engines.vllm.judge.limits import limit_refusal
from compiler.engines.vllm.judge.refusals import (
    Candidate,
    Refusal,
    architecture_refusal,
    chat_refusal,
    config_refusal,
    engine_refusal,
    formula_refusal,
    header_refusal,
    kind_refusal,
    layout_refusal,
    length_refusal,
    policy_refusal,
    scored_refusal,
    split_refusal,
    task_refusal,
    tokenizer_refusal,
)
from compiler.engines.vllm.judge.splits import Degrees, Rules, Splits, asked_degrees, pipeline_degrees
from compiler.engines.vllm.judge.support import why_not_attended, why_not_served, why_not_wrapped
from compiler.engines.vllm.kernels.kept import cache_flag, probe_layout
from compiler.engines.vllm.kv_cache.groups import PagesError
from compiler.lock.models import Lock, ModelFacts
from compiler.lock.quantization import checkpoint_format
from compiler.spec.models import ServiceSpec

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Variant:
    """A checkpoint that may serve a service.

    Attributes:
        name: key of `Lock.models`.
        method: quantization method, or `none`.
        checkpoint: the same object for every service that may be served by it.
        degrees: ways to divide it that are legal and allowed by the spec, fewest GPUs first.
        pipelines: tried after all of these: pipeline stages, where the spec asks for no division of its own.
        dimension: numbers of an embedding; None for a service that gives none.
        labels: of a text, one of them a score; None for a service that gives none.
        convert: what vLLM makes of a generating model (`embed`, `classify`); None where it is served as it is.
        score_tokens: words by which a generating model scores.
    """

    name: str
    facts: ModelFacts
    checkpoint: Checkpoint
    method: str
    degrees: tuple[Degrees, ...]
    pipelines: tuple[Degrees, ...] = ()
    dimension: int | None = None
    labels: int | None = None
    convert: str | None = None
    score_tokens: tuple[str, ...] = ()

    @property
    def architecture(self) -> Architecture:
        """What its config.json describes."""
        return self.checkpoint.architecture

    @property
    def quantization(self) -> Quantization | None:
        """How its weights are stored."""
        return self.checkpoint.quantization


def judge_candidates(
    name: str, service: ServiceSpec, lock: Lock, rules: Rules
) -> tuple[tuple[Variant, ...], tuple[Refusal, ...]]:
    """Candidates that may serve, and the others with their reasons; the model that was asked for comes first."""
    variants: list[Variant] = []
    refusals: list[Refusal] = []
    names = sorted(lock.services[name].candidates, key=lambda candidate: (candidate != service.model, candidate))
    for candidate in names:
        found = _judge(Candidate(name, service, candidate, lock.models[candidate]), rules)
        if isinstance(found, Refusal):
            refusals.append(found)
        else:
            variants.append(found)
    return tuple(variants), tuple(refusals)


def _judge(candidate: Candidate, rules: Rules) -> Variant | Refusal:
    """Refused for what can be helped least: the user's policy first, the spec's own wishes last."""
    facts = candidate.facts
    refusal = policy_refusal(candidate, rules.policy, rules.release) or kind_refusal(candidate, rules.release)
    refusal = refusal or architecture_refusal(candidate, rules.release, rules.policy)
    if refusal is not None:
        return refusal
    task = _served_as(candidate)
    architecture = _read(candidate, rules, f"architecture {task}", lambda: _served_architecture(candidate, rules))
    dtype = None if isinstance(architecture, Refusal) else _dtype(architecture, rules)
    reason = why_not_served(
        checkpoint_format(facts), facts.quantization, release=rules.release, capability=rules.capability, dtype=dtype
    )
    if reason is None and not isinstance(architecture, Refusal):
        reason = why_not_wrapped(architecture.name, checkpoint_format(facts), rules.release)
    if reason is not None:
        return engine_refusal(candidate, reason)
    if isinstance(architecture, Refusal):
        return architecture
    quantization = _read(
        candidate,
        rules,
        "quantization",
        lambda: read_quantization(checkpoint_format(facts), facts.quantization, facts.config),
    )
    if isinstance(quantization, Refusal):
        return quantization
    layout = _read(candidate, rules, f"layout {task}", lambda: _check_layout(facts, architecture, quantization))
    if isinstance(layout, Refusal):
        return layout
    reason = why_not_attended(architecture, quantization, rules.capability)
    if reason is not None:
        return engine_refusal(candidate, reason)
    return _limited(candidate, architecture, quantization, rules)


def _served_as(candidate: Candidate) -> str:
    """What of the service decides how the model is built: chats and completions are of the same one."""
    spec = candidate.spec
    what = f"{spec.task} {_tokens(candidate)}" if spec.pools else "generate"
    return what if spec.media is None else f"{what}, media {spec.media}"


def _tokens(candidate: Candidate) -> tuple[str, ...]:
    return scoring_tokens(candidate.spec, candidate.name, candidate.facts)


def _check_layout(facts: ModelFacts, architecture: Architecture, quantization: Quantization | None) -> None:
    check_layout(architecture, quantization)
    check_head(architecture, quantization, Config(facts.config))


@lru_cache(maxsize=256)
def _shared(architecture: Architecture) -> Architecture:
    """One object for equal architectures: what is worked out for one is then found without comparing layers."""
    return architecture


def _served_architecture(candidate: Candidate, rules: Rules) -> Architecture:
    """The model as it is for the service's task."""
    facts, config, task = candidate.facts, Config(candidate.facts.config), candidate.spec.task
    architecture = with_limits(_architecture(facts, rules), candidate.spec.media_limit)
    if task == "embed" and gives_embeddings(architecture.name):
        architecture = as_embedding(architecture, config, _dense(facts))
    elif candidate.spec.pools and (architecture.pooling or _tokens(candidate)):
        architecture = as_scoring(architecture, config)
    else:
        return _shared(architecture)
    limit = facts.embedding.max_length if facts.embedding is not None else None
    length = min(architecture.max_model_len, limit or architecture.max_model_len)
    return _shared(replace(architecture, max_model_len=length))


def _dense(facts: ModelFacts) -> tuple[tuple[int, int, bool], ...]:
    modules = facts.embedding.dense if facts.embedding is not None else ()
    return tuple((module.inputs, module.outputs, module.bias) for module in modules)


def _architecture(facts: ModelFacts, rules: Rules) -> Architecture:
    try:
        return read_architecture(facts.config)
    except UnsupportedArchitectureError:
        if not rules.release.assumes_full:
            raise
        tensors = facts.tensors.kinds if facts.tensors is not None else None
        packed = facts.quantization is not None
        return assumed(architecture_name(facts.config), facts.config, tensors, packed=packed)


def _limited(
    candidate: Candidate, architecture: Architecture, quantization: Quantization | None, rules: Rules
) -> Variant | Refusal:
    """A checkpoint that the engine runs, against what the service asks of it."""
    base = _read(candidate, rules, "base", lambda: _architecture(candidate.facts, rules))
    if isinstance(base, Refusal):
        return base
    flag = cache_flag(quantization, candidate.spec.kv_cache_dtype)
    refusal = _suits(candidate, architecture, base, rules, flag)
    refusal = refusal or kernel_refusal(
        candidate, architecture, quantization, rules.capability, _dtype(architecture, rules)
    )
    if refusal is not None:
        return refusal
    splits = Splits(candidate, architecture, quantization, rules)
    degrees, pipelines = (
        splits.legal(asked_degrees(candidate.spec, rules)),
        splits.legal(pipeline_degrees(candidate.spec, rules)),
    )
    refusal = None if degrees else split_refusal(candidate, splits.reasons())
    refusal = refusal or tokenizer_refusal(candidate, rules.release) or chat_refusal(candidate, rules.release)
    refusal = refusal or length_refusal(candidate, architecture) or limit_refusal(candidate, architecture)
    if refusal is not None:
        return refusal
    reading = partial(_checkpoint, candidate.facts, architecture, quantization)
    checkpoint = _read(candidate, rules, f"checkpoint {_served_as(candidate)}", reading)
    if isinstance(checkpoint, Refusal):
        return checkpoint
    variant = Variant(candidate.name, candidate.facts, checkpoint, candidate.method, degrees, pipelines)
    return _pooling(candidate, variant, base) if candidate.spec.pools else variant


def _suits(
    candidate: Candidate, architecture: Architecture, base: Architecture, rules: Rules, flag: str
) -> Refusal | None:
    """Why the model is none for the service's task; None if it is.

    Args:
        architecture: as it is for the task.
        base: as config.json describes it.
        flag: for the dtype of the KV cache.
    """
    spec, config, served = candidate.spec, candidate.facts.config, _served_as(candidate)
    asked = f"cache {served} {flag} {spec.attention_backend} {rules.capability}"
    probe = partial(probe_layout, architecture, Parallelism(), flag, rules.release, rules.capability)
    has_cache = _read(candidate, rules, asked, lambda: bool(probe(named=spec.attention_backend).groups))
    tasks = _read(candidate, rules, f"tasks {served}", lambda: tasks_of(base, config, _tokens(candidate)))
    if isinstance(has_cache, Refusal) or isinstance(tasks, Refusal):
        return has_cache if isinstance(has_cache, Refusal) else cast("Refusal", tasks)
    if (architecture.pooling or not has_cache) != spec.pools or (spec.pools and spec.task not in tasks):
        return task_refusal(candidate, tasks, generates=not base.pooling and has_cache)
    return scored_refusal(candidate) if spec.score_tokens and base.pooling else None


def _pooling(candidate: Candidate, variant: Variant, base: Architecture) -> Variant:
    """With what a server of the pooling runner gives, and what makes it of a generating model."""
    spec, config = candidate.spec, candidate.facts.config
    if spec.task == "embed":
        dimension = embedding_dimension(variant.architecture, Config(config), _dense(candidate.facts))
        return replace(variant, dimension=dimension, convert=None if base.pooling else "embed")
    labels = labels_of(variant.architecture, config)
    if base.pooling:
        return replace(variant, labels=labels)
    return replace(variant, labels=labels, convert="classify", score_tokens=_tokens(candidate))


def _checkpoint(facts: ModelFacts, architecture: Architecture, quantization: Quantization | None) -> Checkpoint:
    tensors = facts.tensors.kinds if facts.tensors is not None else None
    if facts.tensors is not None:
        check_tensors(facts.tensors.kinds)
        check_totals(facts.tensors.total_bytes, facts.tensors.kinds, (file.size for file in facts.weights))
        check_headers(architecture, quantization, facts.tensors.kinds)
    return Checkpoint(architecture, quantization, tensors)


# By the facts themselves, which are kept so that no others take their place in memory.
_ANSWERS: dict[tuple[int, str, bool, int], tuple[ModelFacts, object]] = {}
_MOST_ANSWERS = 1024


def _read(candidate: Candidate, rules: Rules, what: str, reading: Callable[[], _T]) -> _T | Refusal:
    """What was read, or the refusal of it; each file is read once, however many services and attempts ask."""
    key = (id(candidate.facts), what, rules.release.assumes_full, rules.release.block_size)
    if key not in _ANSWERS:
        if len(_ANSWERS) >= _MOST_ANSWERS:
            _ANSWERS.clear()
        try:
            _ANSWERS[key] = (candidate.facts, reading())
        except (ConfigError, ContradictionError, PagesError, SplitError, UnsupportedArchitectureError) as error:
            _ANSWERS[key] = (candidate.facts, error)
    found = _ANSWERS[key][1]
    if isinstance(found, ContradictionError):
        return header_refusal(candidate, found.lines)
    if isinstance(found, SplitError):
        return engine_refusal(candidate, str(found))
    if isinstance(found, PagesError):
        return engine_refusal(candidate, f"vLLM cannot make the pages of its KV cache equal: {found}")
    if isinstance(found, UnsupportedArchitectureError):
        return formula_refusal(candidate, str(found))
    if isinstance(found, UnknownLayoutError):
        return layout_refusal(candidate, str(found))
    if isinstance(found, ConfigError):
        return config_refusal(candidate, str(found))
    return cast("_T", found)


def _dtype(architecture: Architecture, rules: Rules) -> str:
    runs = rules.capability is None or rules.capability >= BFLOAT16_CAPABILITY
    return served_dtype(
        architecture.checkpoint_dtype,
        bfloat16_runs=runs,
        pooling=architecture.pooling,
        float16=architecture.float16,
    )
