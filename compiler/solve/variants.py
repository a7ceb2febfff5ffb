"""Which of a service's candidates may serve it: by policy, engine, known formulas, and the model's own limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from compiler.catalog.quantization import BFLOAT16_CAPABILITY, Capability
from compiler.catalog.releases import Release
from compiler.lock.models import Lock, ModelFacts, TensorKind
from compiler.lock.quantization import checkpoint_format
from compiler.memory.architecture import Architecture, served_dtype
from compiler.memory.config import ConfigError, UnsupportedArchitectureError
from compiler.memory.packing import Quantization, UnknownLayoutError, read_quantization
from compiler.memory.parallelism import Parallelism, SplitError
from compiler.memory.read import read_architecture
from compiler.memory.tensors import check_tensors
from compiler.memory.weights import check_split
from compiler.solve.refusals import (
    Candidate,
    Refusal,
    architecture_refusal,
    chat_refusal,
    config_refusal,
    engine_refusal,
    formula_refusal,
    kind_refusal,
    layout_refusal,
    length_refusal,
    policy_refusal,
    split_refusal,
)
from compiler.solve.support import why_not_attended, why_not_served
from compiler.spec.models import PolicySpec, ServiceSpec

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Variant:
    """A checkpoint that may serve a service.

    Attributes:
        name: key of `Lock.models`.
        method: quantization method, or `none`.
        tensors: from the headers; None where none could be read.
        degrees: tensor-parallel sizes that are legal for it and allowed by the spec, ascending.
    """

    name: str
    facts: ModelFacts
    architecture: Architecture
    quantization: Quantization | None
    method: str
    tensors: tuple[TensorKind, ...] | None
    degrees: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a candidate is judged by: the spec's policy, the engine, and the devices.

    Attributes:
        capability: of each GPU; None on a CPU.
        devices: how many there are.
    """

    policy: PolicySpec
    release: Release
    capability: Capability | None
    devices: int


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
    refusal = policy_refusal(candidate, rules.policy) or kind_refusal(candidate, rules.release)
    refusal = refusal or architecture_refusal(candidate, rules.release, rules.policy)
    if refusal is not None:
        return refusal
    architecture = _read(candidate, lambda: read_architecture(facts.config))
    dtype = None if isinstance(architecture, Refusal) else _dtype(architecture, rules)
    reason = why_not_served(
        checkpoint_format(facts), facts.quantization, release=rules.release, capability=rules.capability, dtype=dtype
    )
    if reason is not None:
        return engine_refusal(candidate, reason)
    if isinstance(architecture, Refusal):
        return architecture
    quantization = _read(
        candidate, lambda: read_quantization(checkpoint_format(facts), facts.quantization, facts.config)
    )
    if isinstance(quantization, Refusal):
        return quantization
    reason = why_not_attended(architecture, quantization, rules.capability)
    if reason is not None:
        return engine_refusal(candidate, reason)
    return _limited(candidate, architecture, quantization, rules)


def _limited(
    candidate: Candidate, architecture: Architecture, quantization: Quantization | None, rules: Rules
) -> Variant | Refusal:
    """A checkpoint that the engine runs, against what the service asks of it."""
    degrees, reasons = _degrees(candidate.spec, architecture, quantization, rules.devices)
    refusal = None if degrees else split_refusal(candidate, reasons)
    refusal = refusal or chat_refusal(candidate) or length_refusal(candidate, architecture)
    if refusal is not None:
        return refusal
    facts = candidate.facts
    tensors = facts.tensors.kinds if facts.tensors is not None else None
    malformed = _read(candidate, lambda: check_tensors(tensors or ()))
    if isinstance(malformed, Refusal):
        return malformed
    return Variant(candidate.name, facts, architecture, quantization, candidate.method, tensors, degrees)


def _read(candidate: Candidate, reading: Callable[[], _T]) -> _T | Refusal:
    try:
        return reading()
    except UnsupportedArchitectureError as error:
        return formula_refusal(candidate, str(error))
    except UnknownLayoutError as error:
        return layout_refusal(candidate, str(error))
    except ConfigError as error:
        return config_refusal(candidate, str(error))


def _dtype(architecture: Architecture, rules: Rules) -> str:
    runs = rules.capability is None or rules.capability >= BFLOAT16_CAPABILITY
    return served_dtype(
        architecture.checkpoint_dtype,
        bfloat16_runs=runs,
        pooling=architecture.pooling,
        float16=architecture.float16,
    )


def _degrees(
    service: ServiceSpec, architecture: Architecture, quantization: Quantization | None, devices: int
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Legal numbers of GPUs among those that the spec allows; why the others are not."""
    degrees: list[int] = []
    reasons: list[str] = []
    for degree in _allowed_degrees(service, devices):
        try:
            check_split(architecture, quantization, Parallelism(degree))
        except SplitError as error:
            reasons.append(f"over {degree}: {error}")
        else:
            degrees.append(degree)
    return tuple(degrees), tuple(reasons)


def _allowed_degrees(service: ServiceSpec, devices: int) -> tuple[int, ...]:
    if service.gpus:
        return (len(service.gpus),)
    if service.tensor_parallel_size is not None:
        return (service.tensor_parallel_size,)
    return tuple(range(1, devices + 1))
