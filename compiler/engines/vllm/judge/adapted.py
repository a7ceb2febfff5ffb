"""Models beside which adapters are served: those whose bytes with adapters are proved, on kernels that take them."""

from __future__ import annotations

from compiler.checkpoints.architecture import HeadCache, LatentCache
from compiler.diagnostics import Edit
from compiler.engines.common.refusals import engine_refusal
from compiler.engines.interface.candidate import Candidate, Refusal
from compiler.engines.interface.problem import Problem, Remedy
from compiler.engines.vllm.degrees import Degrees
from compiler.engines.vllm.judge.reading import Reading
from compiler.engines.vllm.kernels.expert_backends import experts_of
from compiler.engines.vllm.memory.lora.adapters import EXPERTS
from compiler.engines.vllm.releases.adapters import AdapterClass

# Of experts that are stored like this, the kernel is the same with adapters (fused_moe/oracle of 0.33.0).
_SAME_KERNEL = ("awq", "fp8", "gptq")
_BLACKWELL = 10


def why_not_adapted(reading: Reading, found: AdapterClass) -> str | None:
    """Why nobody has proved what this model takes with adapters, or that it starts; None where that is proved."""
    architecture = reading.architecture
    kinds = {type(cache) for layer in architecture.kinds for cache in layer.caches}
    if architecture.encoders or found.wraps:
        return "it has towers, beside which adapters are not proved"
    if architecture.assumed or not kinds <= {HeadCache, LatentCache}:
        return f"what adapters take in layers of {architecture.name} is not proved"
    return _why_not_experts(reading, found) if experts_of(architecture) else None


def _why_not_experts(reading: Reading, found: AdapterClass) -> str | None:
    capability, slots = reading.rules.capability, reading.slots
    packing = None if reading.quantization is None else reading.quantization.experts
    if capability is None:
        return "vLLM runs experts beside adapters on Triton, which the CPU build has not"
    if capability[0] == _BLACKWELL and packing is None:
        return f"on compute capability {capability[0]}.x vLLM has another kernel for experts with adapters, not proved"
    if packing is not None and packing.style not in _SAME_KERNEL:
        return f"which kernel vLLM has for {packing.style} experts beside adapters is not proved"
    if not divisions_with_adapters(reading, reading.degrees):
        return "beside adapters vLLM cuts no block of FP8 experts, and each number of GPUs that is asked for would"
    if slots is None or EXPERTS not in (slots.modules or ()):
        return None
    if packing is not None:
        return f"its experts are stored as {packing.style}, and adapters of experts are proved for unquantized ones"
    return "adapters of such experts are not proved" if found.joined or found.ungated else None


def divisions_with_adapters(reading: Reading, divisions: tuple[Degrees, ...]) -> tuple[Degrees, ...]:
    """Those that cut no block of FP8 experts, which vLLM refuses beside adapters (fused_moe/oracle/fp8.py)."""
    packing = None if reading.quantization is None else reading.quantization.experts
    if not reading.candidate.adapters or packing is None or packing.block is None:
        return divisions
    block, widths = packing.block[0], {module.intermediate for module in experts_of(reading.architecture)}
    whole = reading.spec.expert_parallel
    return tuple(
        each for each in divisions if whole or each.tensor == 1 or not any(w % (block * each.tensor) for w in widths)
    )


def adapted_refusal(candidate: Candidate, reason: str) -> Refusal:
    """E0308, at the adapters."""
    edit = Edit(("services", candidate.service, "adapters"), None)
    slots = (Edit(("services", candidate.service, "adapters_at_once"), None),)
    edits = (edit, *(slots if candidate.spec.adapters_at_once is not None else ()))
    remedy = Remedy("remove `adapters`, or merge one into the model and serve that", edits, kind="adapters")
    refusal = engine_refusal(candidate, reason)
    problem = Problem("E0308", candidate.service, ("adapters",), refusal.problem.message, remedies=(remedy,))
    return Refusal(candidate.name, candidate.method, reason, problem)
