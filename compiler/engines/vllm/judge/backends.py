"""Kernels that a spec names in `engine_args`: taken where the ledger knows what they make of this model on this GPU."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.quantization.read import Quantization
from compiler.diagnostics import Edit
from compiler.engines.common.refusals import engine_refusal
from compiler.engines.interface.candidate import Candidate, Refusal
from compiler.engines.interface.problem import Remedy
from compiler.engines.vllm.judge.refusals import layout_refusal
from compiler.engines.vllm.kernels.attention import attention_plan, may_be_named
from compiler.engines.vllm.kernels.backend import NoBackendError
from compiler.engines.vllm.kernels.expert_backends import AUTO, experts_of, known_backend, why_not_run
from compiler.engines.vllm.kernels.kept import cache_flag

Capability = tuple[int, int]

MOE_BACKEND, ATTENTION_BACKEND = "moe-backend", "attention-backend"
_OWN = "without the option vLLM takes its own choice for this GPU and quantization, and the ledger follows it"


def kernel_refusal(
    candidate: Candidate,
    architecture: Architecture,
    quantization: Quantization | None,
    capability: Capability | None,
    dtype: str,
) -> Refusal | None:
    """E0307 where nobody knows how the named kernels lay out weights or cache, E0308 where vLLM refuses them."""
    refusal = _experts_refusal(candidate, architecture, quantization, capability)
    return refusal or _attention_refusal(candidate, architecture, quantization, capability, dtype)


def _experts_refusal(
    candidate: Candidate, architecture: Architecture, quantization: Quantization | None, capability: Capability | None
) -> Refusal | None:
    asked = candidate.spec.moe_backend
    if asked == AUTO or (capability is not None and not experts_of(architecture)):
        return None
    packing = quantization.experts if quantization is not None else None
    known = known_backend(packing) if capability is not None else None
    if asked == known and capability is not None:
        reason = why_not_run(architecture, packing, asked, capability)
        return None if reason is None else _placed(candidate, engine_refusal(candidate, reason), MOE_BACKEND, ())
    style = packing.style if packing is not None else "unquantized"
    refusal = layout_refusal(candidate, f"how `{asked}` lays out {style} experts is not known")
    return _placed(candidate, refusal, MOE_BACKEND, () if known is None else (known,))


def _attention_refusal(
    candidate: Candidate,
    architecture: Architecture,
    quantization: Quantization | None,
    capability: Capability | None,
    dtype: str,
) -> Refusal | None:
    asked = candidate.spec.attention_backend
    if asked is None:
        return None
    cache = cache_flag(quantization, candidate.spec.kv_cache_dtype)
    plans = partial(attention_plan, architecture, served_dtype=dtype, kv_cache_dtype=cache)
    try:
        own = () if capability is None else plans(capability=capability).backends
    except NoBackendError:
        return None  # told of by itself
    if own == (asked,):
        return None
    others = own if len(own) == 1 else ()
    if capability is None or not may_be_named(architecture, asked):
        taken = " and ".join(own) or "no backend of that kind"
        refusal = layout_refusal(candidate, f"the ledger is of {taken} for its attention, and not of `{asked}`")
        return _placed(candidate, refusal, ATTENTION_BACKEND, others)
    try:
        plans(capability=capability, named=asked)
    except NoBackendError as error:
        return _placed(candidate, engine_refusal(candidate, str(error)), ATTENTION_BACKEND, others)
    return None


def _placed(candidate: Candidate, refusal: Refusal, option: str, others: tuple[str, ...]) -> Refusal:
    """The refusal at the option, with what may stand there instead."""
    spellings = (option, option.replace("-", "_"), f"--{option}")
    key = next((key for key in spellings if key in candidate.spec.engine_args), option)
    path = ("services", candidate.service, "engine_args", key)
    named = tuple(Remedy(f"`{key}: {name}`", (Edit(path, name),), kind=f"{option} {name}") for name in others)
    remedies = (Remedy(f"remove `{key}`", (Edit(path, None),), kind=option), *named)
    notes = (*refusal.problem.notes, _OWN)
    return replace(refusal, problem=replace(refusal.problem, path=path[2:], notes=notes, remedies=remedies))
