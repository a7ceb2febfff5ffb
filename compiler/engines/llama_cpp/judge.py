"""Which of a service's candidates `llama-server` may serve: questions in order, the user's policy first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from compiler.diagnostics import Edit
from compiler.engines.common.refusals import (
    engine_refusal,
    length_refusal,
    other_task,
    terms_refusal,
)
from compiler.engines.interface.candidate import Candidate, Refusal
from compiler.engines.interface.device import Machine
from compiler.engines.interface.problem import Problem, Remedy
from compiler.engines.llama_cpp.demand import Model, needs_of
from compiler.engines.llama_cpp.flash import has_kernel
from compiler.engines.llama_cpp.memory.plan import read_served
from compiler.engines.llama_cpp.memory.projector import read_projector
from compiler.engines.llama_cpp.models.keys import ModelError
from compiler.engines.llama_cpp.offload import Offload, divisions, offloads
from compiler.engines.llama_cpp.releases.rules import Release
from compiler.engines.llama_cpp.settings import Pooling, SettingsError
from compiler.engines.llama_cpp.terms import asked_media, least_terms
from compiler.engines.llama_cpp.variant import Variant
from compiler.lock.gguf import GgufFacts, to_model, to_projector
from compiler.lock.models import ModelFacts
from compiler.spec.models import PolicySpec
from compiler.spec.services import ServiceSpec


@dataclass(frozen=True, slots=True)
class Rules:
    """What a candidate is judged by."""

    policy: PolicySpec
    release: Release
    machine: Machine


@dataclass(frozen=True, slots=True)
class Reading:
    """A candidate whose header describes a model."""

    candidate: Candidate
    rules: Rules
    gguf: GgufFacts
    model: Model

    @property
    def pooling(self) -> Pooling | None:
        """How the model makes one vector of a text, by its header; None where it says nothing of it."""
        return self.model.served.shape.pooling


def judge(candidate: Candidate, rules: Rules) -> Variant | Refusal:
    """Refused for what can be helped least: the user's policy first, the spec's own wishes last."""
    refusal = terms_refusal(candidate, rules.policy) or _kind_refusal(candidate)
    if refusal is not None:
        return refusal
    facts, gguf = candidate.facts, candidate.facts.gguf
    assert gguf is not None  # noqa: S101  the question of its kind
    try:
        reading = Reading(candidate, rules, gguf, _model(_Facts(facts)))
    except ModelError as error:
        return _unread(candidate, str(error))
    if asked_media(candidate.spec):
        seeing = _seeing(reading)
        if isinstance(seeing, Refusal):
            return seeing
        reading = seeing
    for question in QUESTIONS:
        refusal = question(reading)
        if refusal is not None:
            return refusal
    return _variant(reading)


@dataclass(frozen=True, slots=True)
class _Facts:
    """Facts by identity: many services may share a model, which is read once."""

    facts: ModelFacts

    def __hash__(self) -> int:
        return id(self.facts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Facts) and other.facts is self.facts


@lru_cache(maxsize=256)
def _model(held: _Facts) -> Model:
    assert held.facts.gguf is not None  # noqa: S101  asked before
    served = read_served(to_model(held.facts.gguf))
    return Model(served, None, served.shape.trained_context)


@lru_cache(maxsize=256)
def _seeing_model(held: _Facts) -> Model:
    """With its projector.

    Raises:
        ModelError: see `read_tower`, or it makes embeddings for another model.
    """
    assert held.facts.gguf is not None  # noqa: S101  asked before
    assert held.facts.gguf.projector is not None  # noqa: S101  asked before
    model, projector = _model(held), read_projector(to_projector(held.facts.gguf.projector))
    shape, made = model.served.shape, projector.tower.embedded
    taken = shape.embedding * (1 + shape.stacked)
    if made != taken:
        raise ModelError(f"it makes embeddings of {made} elements, and the model takes {taken}")
    return replace(model, projector=projector)


def _kind_refusal(candidate: Candidate) -> Refusal | None:
    if candidate.facts.gguf is None:
        reason = "llama.cpp serves GGUF files, and it holds other ones"
        return engine_refusal(candidate, reason, "model")
    return None


def _unread(candidate: Candidate, error: str) -> Refusal:
    message = f"stackc cannot account for the memory of `{candidate.name}`: {error}"
    problem = Problem("E0307", candidate.service, ("model",), message)
    return Refusal(candidate.name, candidate.method, f"stackc cannot account for its memory: {error}", problem)


def _task(reading: Reading) -> Refusal | None:
    """E0308: a vector or a score is made of a text by a model that was trained to."""
    candidate, task = reading.candidate, reading.candidate.spec.task
    if task == "classify":
        return engine_refusal(candidate, "llama-server gives no labels of texts", "task")
    if task == "embed" and reading.pooling in (None, Pooling.RANK):
        return engine_refusal(candidate, "its header names no way to make one vector of a text", "task")
    if task == "score" and reading.pooling is not Pooling.RANK:
        return engine_refusal(candidate, "its header does not say that it ranks texts", "task")
    is_encoder = reading.model.served.shape.architecture.is_encoder
    if task in ("chat", "completion") and (is_encoder or reading.pooling is not None):
        return engine_refusal(candidate, "it makes vectors of texts, and no texts", "task")
    return None


def _template(reading: Reading) -> Refusal | None:
    """E0306: without one, llama-server makes up a prompt in a form that the model never saw (common/chat.cpp)."""
    candidate = reading.candidate
    is_sure = "chat_template" not in candidate.facts.unconfirmed
    has_one = candidate.facts.chat_template is not None or _brings_template(candidate)
    if candidate.spec.task != "chat" or has_one or not is_sure:
        return None
    message = f"service `{candidate.service}` is for chat, and `{candidate.name}` has no chat template"
    notes = ("without one, llama-server writes ChatML, which the model may never have seen",)
    remedy = Remedy("`task: completion`, if clients send no chats", other_task(candidate, "completion"), kind="task")
    problem = Problem("E0306", candidate.service, ("model",), message, "has no chat template", notes, (remedy,))
    return Refusal(candidate.name, candidate.method, "it has no chat template", problem)


def _brings_template(candidate: Candidate) -> bool:
    """Whether the user gives one, under whichever spelling."""
    keys = {key.lstrip("-").replace("_", "-") for key in candidate.spec.engine_args}
    return not keys.isdisjoint({"chat-template", "chat-template-file"})


def _seeing(reading: Reading) -> Reading | Refusal:
    """E0308: images need the projector, a file beside the model, of a kind whose memory is known."""
    reason = _blindness(reading)
    if reason is not None:
        return _without(reading.candidate, "media", reason)
    try:
        return replace(reading, model=_seeing_model(_Facts(reading.candidate.facts)))
    except ModelError as error:
        assert reading.gguf.projector is not None  # noqa: S101  asked before
        return _without(reading.candidate, "media", f"its projector `{reading.gguf.projector.file.path}`: {error}")


def _blindness(reading: Reading) -> str | None:
    """Why it reads nothing of what is asked, whatever its projector is."""
    kinds, projector = asked_media(reading.candidate.spec), reading.gguf.projector
    others = [kind for kind in kinds if kind != "image"]
    if projector is None:
        return f"its repository has no projector (`mmproj`), without which nothing reads `{kinds[0]}`"
    if others:
        return f"llama.cpp is served with images here, and not with `{others[0]}`"
    if not projector.tensors:
        return "its lock does not say what its projector consists of: `stackc lock --upgrade` reads it"
    if reading.candidate.spec.task not in ("chat", "completion"):
        return f"llama-server reads images to write of them, and the service is to {reading.candidate.spec.task}"
    return None


def _kernel(reading: Reading) -> Refusal | None:
    """E0308: without a kernel for its heads, images are read by the processor, and take its memory."""
    projector, device = reading.model.projector, reading.rules.machine.devices[0]
    on_card = device.capability is not None and _first_division(reading).gpu_layers > 0
    if projector is None or not on_card or has_kernel(projector.tower.head):
        return None
    reason = f"CUDA has no kernel of flash attention for its projector's heads of {projector.tower.head}"
    return _without(reading.candidate, "media", reason)


def _key(candidate: Candidate, key: str) -> tuple[str, ...]:
    return "services", candidate.service, key


def _length(reading: Reading) -> Refusal | None:
    limit = reading.model.served.shape.trained_context
    return length_refusal(reading.candidate, limit, "the model was trained on, by its header")


def _devices(reading: Reading) -> Refusal | None:
    """E0404: layers on a card that is not there, or experts of a model that has none."""
    candidate, machine = reading.candidate, reading.rules.machine
    if machine.devices[0].capability is None and candidate.spec.gpu_layers not in ("auto", 0):
        return _layers_without_gpu(candidate)
    if machine.host is None and _first_division(reading).uses_host:
        reason = "layers or experts stay in main memory, and the spec does not say how much its node has: `memory`"
        return engine_refusal(candidate, reason, "gpu_layers" if candidate.spec.gpu_layers != "auto" else "cpu_moe")
    if isinstance(candidate.spec.cpu_moe, int) and candidate.spec.cpu_moe and not _has_experts(reading):
        return _without(candidate, "cpu_moe", "`cpu_moe` needs a mixture of experts, this model has none")
    return None


def _layers_without_gpu(candidate: Candidate) -> Refusal:
    message = f"service `{candidate.service}` asks for layers on GPUs, and its node has none"
    notes = ("`cpu` says that the node serves from its main memory; a node with NVIDIA GPUs has `gpus`",)
    remedy = Remedy("remove `gpu_layers`", (Edit(_key(candidate, "gpu_layers"), None),), kind="gpu_layers")
    problem = Problem("E0404", candidate.service, ("gpu_layers",), message, notes=notes, remedies=(remedy,))
    return Refusal(candidate.name, candidate.method, "its node has no GPU", problem)


def _without(candidate: Candidate, key: str, reason: str) -> Refusal:
    """E0308 for a key that the model cannot be served with, and can without."""
    refusal = engine_refusal(candidate, reason, key)
    remedy = Remedy(f"remove `{key}`", (Edit(_key(candidate, key), None),), kind=key)
    return replace(refusal, problem=replace(refusal.problem, remedies=(remedy,)))


def _settings(reading: Reading) -> Refusal | None:
    """E0308: no division of it can be started as it is asked for."""
    reason = _settings_error(reading, reading.candidate.spec)
    if reason is None:
        return None
    plain = reading.candidate.spec.model_copy(update={"kv_cache_dtype": "auto"})
    if reading.candidate.spec.kv_cache_dtype != "auto" and _settings_error(reading, plain) is None:
        return _without(reading.candidate, "kv_cache_dtype", reason)
    blind = replace(reading, model=_model(_Facts(reading.candidate.facts)))
    if reading.model.projector is not None and _settings_error(blind, reading.candidate.spec) is None:
        return _without(reading.candidate, "media", reason)
    return engine_refusal(reading.candidate, reason, "model")


def _settings_error(reading: Reading, spec: ServiceSpec) -> str | None:
    terms = least_terms(spec)
    try:
        needs_of(reading.model, terms, reading.rules.release, _first_division(reading))
    except SettingsError as error:
        return str(error)
    return None


def _first_division(reading: Reading) -> Offload:
    layers = len(reading.model.served.shape.layers)
    spec, machine = reading.candidate.spec, reading.rules.machine
    return divisions(spec, machine, layers, has_experts=_has_experts(reading))[0]


def _has_experts(reading: Reading) -> bool:
    return reading.model.served.shape.experts.count > 0


Question = Callable[[Reading], Refusal | None]

QUESTIONS: tuple[Question, ...] = (_task, _template, _length, _devices, _kernel, _settings)
"""In order: what can be helped least comes first."""


def _variant(reading: Reading) -> Variant:
    candidate, shape, machine = reading.candidate, reading.model.served.shape, reading.rules.machine
    layers, has_experts = len(shape.layers), _has_experts(reading)
    return Variant(
        name=candidate.name,
        facts=candidate.facts,
        gguf=reading.gguf,
        model=reading.model,
        release=reading.rules.release,
        bits_per_weight=reading.gguf.bits_per_weight,
        divisions=divisions(candidate.spec, machine, layers, has_experts=has_experts),
        offloads=offloads(candidate.spec, machine, layers, has_experts=has_experts),
        dimension=shape.output if candidate.spec.task == "embed" else None,
        pooling=reading.pooling,
        labels=1 if candidate.spec.task == "score" else None,
    )
