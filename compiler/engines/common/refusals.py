"""Why a candidate may not serve, where engines refuse for the same reasons."""

from __future__ import annotations

from math import floor

from compiler.diagnostics import Edit
from compiler.engines.interface.candidate import Candidate, Refusal
from compiler.engines.interface.problem import Problem, Remedy
from compiler.lock.models import ModelFacts
from compiler.spec.models import PolicySpec
from compiler.units import format_tokens


def terms_refusal(candidate: Candidate, policy: PolicySpec) -> Refusal | None:
    """E0305: the licence, or gating."""
    reason = terms_reason(candidate.facts, policy)
    if reason is None:
        return None
    message = f"the policy does not allow `{candidate.name}`: {reason}"
    remedies = _license_remedy(candidate.facts, policy)
    return Refusal(
        candidate.name,
        candidate.method,
        reason,
        Problem("E0305", candidate.service, ("model",), message, remedies=remedies),
    )


def terms_reason(facts: ModelFacts, policy: PolicySpec) -> str | None:
    """Why the policy does not allow a repository: gating, or its licence; None where it does."""
    if facts.gated and policy.gated == "deny":
        return f"its repository is gated ({facts.gated}) and `policy.gated` is deny"
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


def bits_refusal(candidate: Candidate, bits: float, policy: PolicySpec) -> Refusal | None:
    """E0305: fewer bits per weight than the policy has for the least."""
    least = policy.minimum_bits
    if least is None or bits >= least:
        return None
    reason = f"it has {bits:.2f} bits a weight, and `policy.minimum_bits` is {least:g}"
    gguf = candidate.facts.gguf
    notes = () if gguf is None else (f"8 × {gguf.tensor_bytes} bytes / {gguf.elements} weights = {bits:.2f} bits",)
    lower = floor(bits * 10) / 10
    edit = Edit(("policy", "minimum_bits"), lower)
    remedy = Remedy(f"`policy.minimum_bits: {lower:g}`, if its answers are good enough", (edit,), kind="bits")
    message = f"the policy does not allow `{candidate.name}`: {reason}"
    problem = Problem("E0305", candidate.service, ("model",), message, notes=notes, remedies=(remedy,))
    return Refusal(candidate.name, candidate.method, reason, problem)


def engine_refusal(candidate: Candidate, reason: str, key: str = "quantization") -> Refusal:
    """E0308: the engine does not run it, or not on this device."""
    message = f"`{candidate.name}` cannot run here: {reason}"
    problem = Problem("E0308", candidate.service, (key,), message)
    return Refusal(candidate.name, candidate.method, reason, problem)


def unusable_refusal(candidate: Candidate, message: str, reason: str) -> Refusal:
    """E0309: what was read contradicts itself, or is no model."""
    return Refusal(candidate.name, candidate.method, reason, Problem("E0309", candidate.service, ("model",), message))


def length_refusal(candidate: Candidate, limit: int, source: str) -> Refusal | None:
    """E0403: the model's longest request is shorter than the service's.

    Args:
        source: who sets the limit, as in `tokens more than …`.
    """
    asked, name = candidate.spec.context.min or 1, candidate.service
    if asked <= limit:
        return None
    message = f"service `{name}` asks for {asked} tokens of context, `{candidate.name}` has {limit}"
    note = f"{asked} − {limit} = {asked - limit} tokens more than {source}"
    shorter = format_tokens(limit)
    remedy = Remedy(f"`context: {shorter}`", (Edit(("services", name, "context"), shorter),), kind="context")
    problem = Problem("E0403", name, ("context",), message, f"at most {limit}", (note,), (remedy,))
    return Refusal(candidate.name, candidate.method, f"its context is {limit} tokens, asked are {asked}", problem)


def other_task(candidate: Candidate, task: str) -> tuple[Edit, ...]:
    """Another task, without what it may not have."""
    where, spec = ("services", candidate.service), candidate.spec
    without = tuple(Edit((*where, key), None) for key in ("features", "score_tokens") if getattr(spec, key))
    return (Edit((*where, "task"), task), *without)
