"""What a file's tensors mostly are: the number in its header, and the label in its name, which is a hint only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

FILE_TYPES: Final[Mapping[int, str]] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}  # fmt: skip
"""Names of `general.file_type` (include/llama.h:llama_ftype, b10435)."""

UNQUANTIZED: Final = frozenset({"F32", "F16", "BF16"})
"""Those that store every number on its own."""

_NAMES = frozenset(FILE_TYPES.values())
# Set where the quantizer guessed the type (include/llama.h:LLAMA_FTYPE_GUESSED, b10435).
_GUESSED = 1024
# Other names of the same types: those of tools/quantize/quantize.cpp, b10435, and those that publishers give.
_ALIASES = {
    "FP32": "F32", "FP16": "F16", "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE",
}  # fmt: skip
_LABEL = re.compile(
    r"(?<![A-Z0-9])(?:Q[1-8]_(?:[01](?:_[48]_[48])?|K(?:_(?:X{0,2}[SL]|M))?)|IQ[1-6]_[A-Z]{1,3}|TQ[12]_0"
    r"|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32)(?![A-Z0-9])"
)
_FAMILY = re.compile(r"[A-Z]+[0-9]+")


def file_type_name(number: object) -> str | None:
    """The name of a `general.file_type`; None where it is absent or a type that llama.cpp does not know."""
    return FILE_TYPES.get(number & ~_GUESSED) if type(number) is int else None


def method_name(text: str) -> str:
    """A method as `FILE_TYPES` spells it, where it is one in another spelling: `q4-k-m`, `fp16`."""
    name = text.upper().replace("-", "_")
    return _ALIASES.get(name, name)


def is_file_type(name: str) -> bool:
    """Whether it is a type of llama.cpp's own, as `Q4_K_L` and `Q3_K_XL` are not."""
    return name in _NAMES


def label_of(path: str) -> str | None:
    """The method that a file's name, or else its folder's, speaks of; None where neither speaks of any."""
    for part in reversed(path.split("/")):
        # The last one counts: a model's own name may speak of another, of which it was made.
        if found := _LABEL.findall(part.upper().replace("-", "_")):
            return method_name(found[-1])
    return None


def may_be(label: str | None, method: str) -> bool:
    """Whether a file with this label in its name is worth reading when a method is asked for.

    Labels that are no type of llama.cpp's (`Q4_K_L`, `Q2_K_XL`) stand for some mixture of about as many bits.
    """
    if label is None or label == method:
        return True
    return not is_file_type(label) and _family(label) == _family(method)


def _family(name: str) -> str:
    found = _FAMILY.match(name)
    return found[0] if found is not None else name
