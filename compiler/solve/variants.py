"""Which of a service's candidates may serve it: the policy, then the engine, then the model's own limits."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.catalog.releases import Release
from compiler.diagnostics import Edit
from compiler.lock.models import Lock, ModelFacts, TensorKind
from compiler.lock.quantization import checkpoint_format, quantization_method, quantization_names
from compiler.memory.architecture import (
    FAMILIES,
    Architecture,
    ConfigError,
    UnsupportedArchitectureError,
    read_architecture,
)
from compiler.memory.ledger import Basis
from compiler.memory.tensors import Packing, expected_tensors, read_packing
from compiler.solve.problem import Problem, Remedy
from compiler.solve.support import why_not_served
from compiler.spec.models import PolicySpec, ServiceSpec
from compiler.units import format_tokens


@dataclass(frozen=True, slots=True)
class Variant:
    """A checkpoint that may serve a service.

    Attributes:
        name: key of `Lock.models`.
        method: quantization method, or `none`.
        tensors_basis, tensors_source: how `tensors` are known, as the ledger says it.
    """

    name: str
    facts: ModelFacts
    architecture: Architecture
    packing: Packing | None
    method: str
    tensors: tuple[TensorKind, ...]
    tensors_basis: Basis
    tensors_source: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What a candidate is judged by: the spec's policy, the engine, and the device's compute capability (None: CPU)."""

    policy: PolicySpec
    release: Release
    capability: tuple[int, int] | None


# Best first. Fewer bits lose quality; at equal bits, activation-aware rounding loses least.
_QUALITY = ("none", "fp8", "int8", "compressed-tensors", "awq", "gptq")


def usable_variants(
    name: str, service: ServiceSpec, lock: Lock, rules: Rules
) -> tuple[tuple[Variant, ...], tuple[Problem, ...]]:
    """Candidates that may serve, best first; where there are none, every candidate's reason."""
    variants: list[Variant] = []
    problems: list[Problem] = []
    for candidate in lock.services[name].candidates:
        found = _judge(name, service, candidate, lock.models[candidate], rules)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            variants.append(found)
    variants.sort(key=lambda variant: (_preference(variant, service), variant.name))
    return tuple(variants), () if variants else tuple(problems)


def _preference(variant: Variant, service: ServiceSpec) -> tuple[int, int]:
    names = quantization_names(variant.facts)
    order = next((place for place, asked in enumerate(service.quantization) if asked in names), len(_QUALITY))
    quality = _QUALITY.index(variant.method) if variant.method in _QUALITY else len(_QUALITY)
    return order, quality


def _judge(name: str, service: ServiceSpec, candidate: str, facts: ModelFacts, rules: Rules) -> Variant | Problem:
    release = rules.release
    refusal = _policy_refusal(facts, rules.policy)
    if refusal is not None:
        remedy = _license_remedy(facts, rules.policy)
        message = f"the policy does not allow `{candidate}`: {refusal}"
        return Problem("E0305", name, ("model",), message, remedies=remedy)
    try:
        architecture = read_architecture(facts.config)
        packing = read_packing(checkpoint_format(facts), facts.quantization)
    except UnsupportedArchitectureError as error:
        message = f"stackc cannot account for the memory of `{candidate}`: {error}"
        notes = (f"accounted for: {', '.join(FAMILIES)}",)
        return Problem("E0307", name, ("model",), message, notes=notes)
    except ConfigError as error:
        return Problem("E0309", name, ("model",), f"config.json of `{candidate}` cannot be used: {error}")
    reason = why_not_served(packing, facts.quantization, release=release, capability=rules.capability)
    if reason is not None:
        return Problem("E0308", name, ("quantization",), f"`{candidate}` cannot run here: {reason}")
    problem = _chat_problem(name, service, candidate, facts) or _length_problem(name, service, candidate, architecture)
    if problem is not None:
        return problem
    tensors, basis, source = _tensors(facts, architecture, packing)
    return Variant(candidate, facts, architecture, packing, quantization_method(facts), tensors, basis, source)


def _tensors(
    facts: ModelFacts, architecture: Architecture, packing: Packing | None
) -> tuple[tuple[TensorKind, ...], Basis, str]:
    if facts.tensors is not None:
        return facts.tensors.kinds, Basis.EXACT, "safetensors headers, split as vLLM splits them"
    source = "shapes that config.json implies, split as vLLM splits them; no header was read"
    return expected_tensors(architecture, packing), Basis.DERIVED, source


def _policy_refusal(facts: ModelFacts, policy: PolicySpec) -> str | None:
    if facts.gated and policy.gated == "deny":
        return f"its repository is gated ({facts.gated}) and `policy.gated` is deny"
    if facts.remote_code and policy.trust_remote_code == "deny":
        return "it needs code from its repository and `policy.trust_remote_code` is deny"
    if facts.source == "folder" or not policy.licenses:
        return None
    allowed = ", ".join(policy.licenses)
    if facts.license is None:
        return f"its licence is not known, allowed are {allowed}"
    return None if facts.license in policy.licenses else f"its licence is {facts.license}, allowed are {allowed}"


def _license_remedy(facts: ModelFacts, policy: PolicySpec) -> tuple[Remedy, ...]:
    if facts.license is None:
        return ()
    allowed = (*policy.licenses, facts.license)
    text = f"allow `{facts.license}` in `policy.licenses`"
    return (Remedy(text, (Edit(("policy", "licenses"), allowed),), kind="licence"),)


def _chat_problem(name: str, service: ServiceSpec, candidate: str, facts: ModelFacts) -> Problem | None:
    has_template = facts.chat_template is not None or service.brings_chat_template
    if service.task != "chat" or has_template or "chat_template" in facts.unconfirmed:
        return None
    message = f"service `{name}` is for chat, and `{candidate}` has no chat template"
    notes = ("without one, vLLM answers /v1/chat/completions with an error; base models have none",)
    edit = Edit(("services", name, "task"), "completion")
    remedy = Remedy("`task: completion`, if clients send no chats", (edit,), kind="task")
    return Problem("E0306", name, ("model",), message, "has no chat template", notes, (remedy,))


def _length_problem(name: str, service: ServiceSpec, candidate: str, architecture: Architecture) -> Problem | None:
    limit = architecture.max_model_len
    if service.context <= limit:
        return None
    message = f"service `{name}` asks for {service.context} tokens of context, `{candidate}` has {limit}"
    note = f"{service.context} − {limit} = {service.context - limit} tokens more than vLLM accepts for this config.json"
    shorter = format_tokens(limit)
    remedy = Remedy(f"`context: {shorter}`", (Edit(("services", name, "context"), shorter),), kind="context")
    return Problem("E0403", name, ("context",), message, f"at most {limit}", (note,), (remedy,))
