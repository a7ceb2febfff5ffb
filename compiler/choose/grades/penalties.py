"""What quantization costs a model's scores, by studies that measured models before and after."""

from __future__ import annotations

import re
from dataclasses import replace
from math import log2
from typing import Final

from compiler.choose.grades.model import Penalty
from compiler.gguf.file_types import UNQUANTIZED, method_name

_RECOVERY: Final = "arXiv 2411.02355, Llama 3.1 of 8, 70 and 405 billion parameters"
_AIDER: Final = "Aider's quantization notes, Qwen2.5-Coder-32B: 69 to 72 whole, 66.9 as Q4_K_M, 61.7 as Q2_K"
_LLAMA: Final = (
    "card of Llama 3.2: MMLU 49.3 to 43.3 at 1 billion parameters, 63.4 to 60.5 at 3, without further training"
)
_SMALL: Final = "measured from 8 billion parameters up; small models lose more"
_MEASURED_FROM: Final = 8 * 10**9

_NONE: Final = Penalty(0.0, 0.0, "not quantized")
_NATIVE: Final = Penalty(0.0, 0.0, "trained in this format: these are its own weights")
_FP8: Final = Penalty(0.0, 0.01, _RECOVERY)
_INT8: Final = Penalty(0.0, 0.03, _RECOVERY)
_INT4: Final = Penalty(0.005, 0.04, f"{_RECOVERY}; card of Granite 3.1 8B as w4a16: 70.30 to 69.81")
_FP4: Final = Penalty(0.0, 0.03, "makers' claims of about 99 %", "no independent study")
_Q4_K_M: Final = Penalty(0.03, 0.08, _AIDER, "one model and one test")
_Q2_K: Final = Penalty(0.11, 0.15, _AIDER, "one model and one test")

# Of GGUF only two types were measured; of the others what lies between them can be said, as more bits never cost more.
_BETWEEN: Final = "not measured; no worse than a type of fewer bits, no better than one of more"
_Q8_0: Final = Penalty(0.0, 0.03, _RECOVERY, "not measured; no worse than 8-bit integers for weights and activations")
_ABOVE_Q4: Final = Penalty(0.0, 0.08, _AIDER, _BETWEEN)
_BELOW_Q4: Final = Penalty(0.03, 0.15, _AIDER, _BETWEEN)

# Least and most parameters of the small models that were measured, and what the smaller one lost.
_SMALLEST, _SMALL_LOSS = 1.24e9, 0.122
_SMALL_UNTIL, _UNTIL_LOSS = 4e9, 0.04

_PATTERNS: Final[tuple[tuple[str, Penalty], ...]] = (
    (r"none|bf16|bfloat16|fp16|float16|f16|f32|fp32", _NONE),
    (r"fp8([-_].*)?|fbgemm_fp8|w8a8[-_]fp8", _FP8),
    (r"int8|w8a8|w8a16|gptq[-_]int8|int8[-_].*", _INT8),
    (r"awq([-_](4bit|int4|marlin))?|gptq([-_](int4|4b.*|marlin))?|w4a16|int4([-_].*)?|auto[-_]?round", _INT4),
    # Of compressed-tensors that is neither FP8 nor INT8 it is only known that it has four bits or thereabouts.
    (r"compressed-tensors", replace(_INT4, low=0.0, mark="which format it is, is not known")),
    (r"(gpt_oss_)?mxfp4|nvfp4|fp4|modelopt(_fp4)?|ct-(mx|nv)fp4|(mxfp4_moe)", _FP4),
)
_GGUF: Final[tuple[tuple[str, Penalty], ...]] = (
    (r"Q4_K_M", _Q4_K_M),
    (r"Q2_K", _Q2_K),
    (r"Q8_0", _Q8_0),
    (r"Q[56]_.*", _ABOVE_Q4),
    (r"Q4_.*|IQ4_.*|Q3_.*|IQ3_.*", _BELOW_Q4),
)
_FOUR_BITS: Final = (_INT4, _Q4_K_M)


def penalty(method: str, parameters: int, native: bool) -> Penalty | None:  # noqa: FBT001 - reads as a question does
    """What serving a model in a format costs its scores; None where nothing is published.

    A share of the score itself, such as 0.03 of 70 points: 2.1. It differs by task: long reasoning and code suffer
    first. Of quantized KV caches nothing is published that would belong here.

    Args:
        method: of the weights, as the registry, a lock or GGUF names it: `fp8-dynamic`, `awq`, `Q4_K_M`, `none`.
        parameters: in all.
        native: whether the model was trained in this format, or was published in no other.
    """
    if native:
        return _NATIVE
    gguf = method_name(method)
    if gguf in UNQUANTIZED:
        return _NONE
    found = _matching(_GGUF, gguf) or _matching(_PATTERNS, method.lower())
    return None if found is None else _of_size(found, parameters)


def _matching(patterns: tuple[tuple[str, Penalty], ...], name: str) -> Penalty | None:
    return next((each for pattern, each in patterns if re.fullmatch(pattern, name)), None)


def _of_size(found: Penalty, parameters: int) -> Penalty:
    """The same for a model of a size: small ones lose more, and nobody measured by how much in every format."""
    if parameters >= _MEASURED_FROM or found is _NONE:
        return found
    if found.source.startswith(_INT4.source) or found is _Q4_K_M:
        return replace(found, high=max(found.high, _four_bits(parameters)), source=f"{found.source}; {_LLAMA}")
    return replace(found, mark=_SMALL if found.mark is None else f"{found.mark}; {_SMALL}")


def _four_bits(parameters: int) -> float:
    """What four bits cost a small model at most: from 4 % at four billion parameters to 12 % at one."""
    steps = log2(_SMALL_UNTIL / max(parameters, 1)) / log2(_SMALL_UNTIL / _SMALLEST)
    return _UNTIL_LOSS + max(0.0, min(1.0, steps)) * (_SMALL_LOSS - _UNTIL_LOSS)
