"""Values of options that `llama-server`'s parser takes, and with which it would end, or serve nobody (b10435)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from compiler.engines.llama_cpp.options.catalog import Flag


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends belong to it."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a number is in it."""
        return self.low <= value <= self.high


LEAST_IMAGE, MOST_IMAGE = 64, 16384
"""Tokens of the largest image: no kind of projector makes smaller ones larger than 64, and none lets more pass."""
_MOST_THREADS = 512
"""GGML_MAX_N_THREADS (ggml/include/ggml.h): the program aborts beyond it."""
_UNIT = Range(0, 1)
_SWITCH = Range(0, 1)

RANGES: Mapping[str, Range] = {
    "--cpu-strict": _SWITCH,
    "--cpu-strict-batch": _SWITCH,
    "--dynatemp-range": Range(0, 100),
    "--image-max-tokens": Range(LEAST_IMAGE, MOST_IMAGE),
    "--keep": Range(-1, 2**31 - 1),
    "--min-p": _UNIT,
    "--mirostat": Range(0, 2),
    "--poll": Range(0, 100),
    "--poll-batch": _SWITCH,
    "--predict": Range(-1, 2**31 - 1),
    "--slot-prompt-similarity": _UNIT,
    "--temp": Range(0, 100),
    "--threads": Range(1, _MOST_THREADS),
    "--threads-batch": Range(1, _MOST_THREADS),
    "--threads-http": Range(1, _MOST_THREADS),
    "--timeout": Range(1, 2**31 - 1),
    "--top-p": _UNIT,
    "--typical": _UNIT,
    "--xtc-probability": _UNIT,
}
"""What its options say of themselves (common/arg.cpp), and what a server that waits for nothing would not do."""

# What common/common.cpp (parse_cpu_mask, parse_cpu_range) and `--logit-bias` cannot read ends the start.
_FORMS: Mapping[str, tuple[str, str]] = {
    "--cpu-mask": (r"(0x)?[0-9A-Fa-f]{1,128}", "it takes a mask in hexadecimal digits"),
    "--cpu-mask-batch": (r"(0x)?[0-9A-Fa-f]{1,128}", "it takes a mask in hexadecimal digits"),
    "--cpu-range": (r"[0-9]{1,3}-[0-9]{1,3}", "it takes the first and the last processor, such as 0-7"),
    "--cpu-range-batch": (r"[0-9]{1,3}-[0-9]{1,3}", "it takes the first and the last processor, such as 0-7"),
    "--logit-bias": (r"[0-9]{1,9}[+-][0-9.]{1,12}", "it takes a token and its bias, such as 15043+1"),
}
_ABSOLUTE = frozenset({"--chat-template-file", "--grammar-file", "--json-schema-file"})


def check_limits(flag: Flag, value: object) -> str | None:
    """Why a server would not start or not serve with a value that has the option's type; None if it would."""
    if flag.name in RANGES and isinstance(value, int | float) and not RANGES[flag.name].holds(value):
        limits = RANGES[flag.name]
        return f"it takes {limits.low:.10g} to {limits.high:.10g}"
    if flag.name in _ABSOLUTE and not _is_absolute(value):
        return "it takes an absolute path: the unit's working folder is the stack's state"
    pattern, words = _FORMS.get(flag.name, ("", ""))
    is_formed = not pattern or (isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None)
    return None if is_formed else words


def _is_absolute(value: object) -> bool:
    return isinstance(value, str) and value.startswith("/") and ".." not in value.split("/")
