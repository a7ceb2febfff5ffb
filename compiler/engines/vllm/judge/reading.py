"""A candidate as it is judged: what its files say, each worked out when the first question needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from typing import Any, TypeVar, cast

from compiler.checkpoints.architecture import Architecture, served_dtype
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.families.assumed import assumed
from compiler.checkpoints.families.dense.pooling import as_embedding, as_scoring, gives_embeddings
from compiler.checkpoints.media_limits import with_limits
from compiler.checkpoints.parameters.header_totals import ContradictionError, check_totals
from compiler.checkpoints.parameters.headers import check_headers
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.parameters.tensors import check_tensors
from compiler.checkpoints.quantization.read import Quantization, UnknownLayoutError, read_quantization
from compiler.checkpoints.read import architecture_name, read_architecture
from compiler.engines.common.refusals import engine_refusal
from compiler.engines.interface.candidate import Candidate, Refusal
from compiler.engines.vllm.answers.tasks import scoring_tokens, tasks_of
from compiler.engines.vllm.degrees import Degrees
from compiler.engines.vllm.judge.adapters import slots_of
from compiler.engines.vllm.judge.division import check_head, check_layout
from compiler.engines.vllm.judge.refusals import (
    config_refusal,
    formula_refusal,
    header_refusal,
    layout_refusal,
)
from compiler.engines.vllm.judge.splits import Rules, Splits, asked_degrees
from compiler.engines.vllm.kernels.kept import cache_flag, probe_layout
from compiler.engines.vllm.kv_cache.groups import PagesError
from compiler.engines.vllm.memory.lora.adapters import AdapterSlots
from compiler.engines.vllm.releases.adapters import AdapterClass, adapter_class
from compiler.engines.vllm.releases.architectures import load_registry
from compiler.engines.vllm.releases.quantization import BFLOAT16_CAPABILITY
from compiler.engines.vllm.releases.release import Release
from compiler.lock.models import ModelFacts
from compiler.lock.quantization import checkpoint_format, whole_config
from compiler.spec.services import ServiceSpec, Task

_T = TypeVar("_T")


class RefusedError(Exception):
    """What a question needs cannot be read of a candidate's files.

    Attributes:
        refusal: why.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


@dataclass(frozen=True)
class Reading:
    """A candidate, and by what it is judged.

    Each property raises RefusedError where the files do not say it.
    """

    candidate: Candidate
    rules: Rules

    @property
    def spec(self) -> ServiceSpec:
        """Of the service."""
        return self.candidate.spec

    @property
    def facts(self) -> ModelFacts:
        """Of the candidate."""
        return self.candidate.facts

    @property
    def release(self) -> Release:
        """Of the engine."""
        return self.rules.release

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Words by which a generating model scores; none where the service asks for no such thing."""
        return scoring_tokens(self.spec, self.candidate.name, self.facts)

    @cached_property
    def served_as(self) -> str:
        """What of the service decides how the model is built: chats and completions are of the same one."""
        what = f"{self.spec.task} {self.tokens}" if self.spec.pools else "generate"
        return what if self.spec.media is None else f"{what}, media {self.spec.media}"

    @cached_property
    def architecture(self) -> Architecture:
        """The model as it is for the service's task."""
        return self.read(f"architecture {self.served_as}", lambda: _served_architecture(self))

    @cached_property
    def base(self) -> Architecture:
        """The model as config.json describes it."""
        return self.read("base", lambda: _architecture(self.facts, self.rules))

    @cached_property
    def adapter_class(self) -> AdapterClass | None:
        """What the model's class says of adapters; None where it takes none."""
        return adapter_class(self.release.version, self.architecture.name)

    @cached_property
    def slots(self) -> AdapterSlots | None:
        """Room for the service's adapters; None where it has none."""
        found = self.adapter_class if self.candidate.adapters else None
        return None if found is None else slots_of(self.candidate, self.architecture, found)

    @cached_property
    def quantization(self) -> Quantization | None:
        """How its weights are stored."""
        form, block = checkpoint_format(self.facts), self.facts.quantization
        return self.read("quantization", lambda: read_quantization(form, block, self.facts.config))

    @cached_property
    def dtype(self) -> str:
        """Of activations."""
        capability = self.rules.capability
        return served_dtype(
            self.architecture.checkpoint_dtype,
            bfloat16_runs=capability is None or capability >= BFLOAT16_CAPABILITY,
            pooling=self.architecture.pooling,
            float16=self.architecture.float16,
        )

    @cached_property
    def has_cache(self) -> bool:
        """Whether anything of a request is kept."""
        flag, named = cache_flag(self.quantization, self.spec.kv_cache_dtype), self.spec.attention_backend
        probe = partial(probe_layout, self.architecture, Parallelism(), flag, self.release, self.rules.capability)
        what = f"cache {self.served_as} {flag} {named} {self.rules.capability}"
        return self.read(what, lambda: bool(probe(named=named).groups))

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """Of the pooling runner, that the model serves."""
        return self.read(f"tasks {self.served_as}", lambda: tasks_of(self.base, self.facts.config, self.tokens))

    @cached_property
    def splits(self) -> Splits:
        """Which ways to divide it are legal."""
        return Splits(self.candidate, self.architecture, self.quantization, self.rules)

    @cached_property
    def degrees(self) -> tuple[Degrees, ...]:
        """Those that are tried first, fewest GPUs first."""
        return self.splits.legal(asked_degrees(self.spec, self.rules))

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The same object for every service that may be served by it."""
        reading = partial(_checkpoint, self.facts, self.architecture, self.quantization)
        return self.read(f"checkpoint {self.served_as}", reading)

    def check_layout(self) -> None:
        """Whether modules are stored as the engine loads them."""
        self.read(f"layout {self.served_as}", lambda: _check_layout(self.facts, self.architecture, self.quantization))

    def read(self, what: str, reading: Callable[[], _T]) -> _T:
        """What is read of the candidate's files, kept under a name for all who ask the same."""
        return _read(self.candidate, self.rules, what, reading)


def dense_modules(facts: ModelFacts) -> tuple[tuple[int, int, bool], ...]:
    """Projections that are put after the model, each with what it takes, what it gives, and whether it adds."""
    modules = facts.embedding.dense if facts.embedding is not None else ()
    return tuple((module.inputs, module.outputs, module.bias) for module in modules)


@lru_cache(maxsize=1024)
def _shared(architecture: Architecture) -> Architecture:
    """One object for equal architectures: what is worked out for one is then found without comparing layers."""
    return architecture


def _served_architecture(reading: Reading) -> Architecture:
    facts, config = reading.facts, Config(reading.facts.config)
    architecture = with_limits(reading.base, reading.spec.media_limit)
    if reading.spec.task == "embed" and gives_embeddings(architecture.name):
        architecture = as_embedding(architecture, config, dense_modules(facts))
    elif reading.spec.pools and (architecture.pooling or reading.tokens):
        architecture = as_scoring(architecture, config)
    else:
        return _shared(architecture)
    limit = facts.embedding.max_length if facts.embedding is not None else None
    length = min(architecture.max_model_len, limit or architecture.max_model_len)
    return _shared(replace(architecture, max_model_len=length))


def _architecture(facts: ModelFacts, rules: Rules) -> Architecture:
    try:
        return _architecture_of(_Config(_without_lists(whole_config(facts))), rules.release.version)
    except UnsupportedArchitectureError:
        if not rules.release.assumes_full:
            raise
        tensors = facts.tensors.kinds if facts.tensors is not None else None
        packed = facts.quantization is not None
        return assumed(architecture_name(facts.config), facts.config, tensors, packed=packed)


def _without_lists(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """How a model is built follows from its quantizer's name alone, so that variants by one of them are built alike."""
    block = config.get(_BLOCK)
    return {**config, _BLOCK: {_METHOD: block.get(_METHOD)}} if isinstance(block, Mapping) else config


_BLOCK, _METHOD = "quantization_config", "quant_method"


@dataclass(frozen=True, slots=True, eq=False)
class _Config:
    """A config.json, equal to any other that says the same: variants of a model differ in their weights alone."""

    config: Mapping[str, Any]
    text: str = field(init=False)

    def __post_init__(self) -> None:
        """Told apart by their text: 1, 1.0 and true are equal in Python, and are not the same here."""
        object.__setattr__(self, "text", repr(self.config))

    def __hash__(self) -> int:
        """Of the text."""
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        """Whether they say the same."""
        return isinstance(other, _Config) and self.text == other.text


@lru_cache(maxsize=512)
def _architecture_of(file: _Config, version: str) -> Architecture:
    return read_architecture(file.config, load_registry(version).classes)


def _check_layout(facts: ModelFacts, architecture: Architecture, quantization: Quantization | None) -> None:
    check_layout(architecture, quantization)
    check_head(architecture, quantization, Config(facts.config))


def _checkpoint(facts: ModelFacts, architecture: Architecture, quantization: Quantization | None) -> Checkpoint:
    tensors = facts.tensors.kinds if facts.tensors is not None else None
    if facts.tensors is not None:
        check_tensors(facts.tensors.kinds)
        check_totals(facts.tensors.total_bytes, facts.tensors.kinds, (file.size for file in facts.weights))
        check_headers(architecture, quantization, facts.tensors.kinds)
    return Checkpoint(architecture, quantization, tensors)


# By the facts themselves, which are kept so that no others take their place in memory.
_ANSWERS: dict[tuple[int, str, bool, int], tuple[ModelFacts, object]] = {}
_MOST_ANSWERS = 1 << 14


def _read(candidate: Candidate, rules: Rules, what: str, reading: Callable[[], _T]) -> _T:
    """What was read; each file is read once, however many services and attempts ask.

    Raises:
        RefusedError: it cannot be.
    """
    key = (id(candidate.facts), what, rules.release.assumes_full, rules.release.block_size)
    if key not in _ANSWERS:
        if len(_ANSWERS) >= _MOST_ANSWERS:
            _ANSWERS.clear()
        try:
            _ANSWERS[key] = (candidate.facts, reading())
        except (ConfigError, ContradictionError, PagesError, SplitError, UnsupportedArchitectureError) as error:
            _ANSWERS[key] = (candidate.facts, error)
    found = _ANSWERS[key][1]
    if isinstance(found, Exception):
        raise RefusedError(_refusal(candidate, found))
    return cast("_T", found)


def _refusal(candidate: Candidate, error: Exception) -> Refusal:
    match error:
        case ContradictionError():
            return header_refusal(candidate, error.lines)
        case SplitError():
            return engine_refusal(candidate, str(error))
        case PagesError():
            return engine_refusal(candidate, f"vLLM cannot make the pages of its KV cache equal: {error}")
        case UnsupportedArchitectureError():
            return formula_refusal(candidate, str(error))
        case UnknownLayoutError():
            return layout_refusal(candidate, str(error))
        case _:
            return config_refusal(candidate, str(error))
