"""Values that nobody would write, and values that a tired person does."""

from __future__ import annotations

import copy
import random
from typing import Any

NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 7, 15, 16, 127, 128, 255, 256, 4096, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1,
    2**63, 2**64, 10**18, 10**40, 10**500, -(2**31), -(2**63), 0.1, 0.5, -0.5, 2.0, -0.0, 5e-324, 1e-20, 1e21, 1e308,
    float("inf"), float("-inf"), float("nan"),
)  # fmt: skip

# What a shell, a template, a unit, a terminal, a parser of YAML or a path would read twice.
MARKER = "FUZZ_WAS_HERE"
LOADED = (
    f"$(touch {MARKER})", f"`touch {MARKER}`", f"'; touch {MARKER}; '", f"x\nExecStart=/bin/touch {MARKER}",
    "a\r\nb", "\t", "{{ 7 * 7 }}", "{% include 'x' %}", "{#", "%n", "%h/%i", "$HOME", "${HOME}", "$$", "\\", '"',
    "'", "#x", ": ", "- x", "? x", "&a x", "*a", "!!python/name:os.system", "<<", "|", ">", "@", "`", "-rf",
    "--help", "--trust-remote-code", "-", "--", "=", "<script>", "*", "~root",
)  # fmt: skip
ODD_TEXT = (
    "", " ", "\x00", "\x07", "\x1b[31mred", "\x9b31m", "\x85", "\u2028", "\u202ecba", "\u2066x", "\u200b", "\ufeff",
    "\ud800", "é", "e\u0301", "😀", "ı", "ß", "１６K", "٣", "x" * 300, "y" * 20_000, "é" * 5000,
)  # fmt: skip
PATHS = (
    "/", "//", "/etc", "/etc/passwd", "/dev/zero", "/proc/self/mem", ".", "..", "../..", "../../x", "/srv/../etc",
    "/a//b", "/a/./b", "a/b", "a/b/c", "/" + "a/" * 200, "/data", "/var/lib", "/opt", "/home", "/root",
    "/srv/models/x", "C:\\x",
)  # fmt: skip
WORDS = (
    "null", "true", "yes", "~", "0", "1", "-1", "0x10", "1e400", "inf", "nan", "max", "min", "auto", "none", "awq",
    "gptq", "fp8", "int8", "allow", "deny", "16K", "16k", "8K", "1M", "1GiB", "1.5GiB", "0GiB", "99999999999999GiB",
    "1KiB", "0.33.0", "0.32.0", "9.9", "12.0", "8.0", "3g.40gb", "127.0.0.1", "0.0.0.0", "::", "::1", "localhost",
    "example.org", "org/name", "org/name@main", "a@b", "default", "multi-user", "systemd", "gateway", "prefetch",
    "target", "prepare", "compose", "quadlet", "scripts", "chat", "embed", "completion", "h100", "a10", "t4", "b200",
    "rtx-pro-6000", "LlamaForCausalLM", "Qwen2ForCausalLM", "MixtralForCausalLM", "DeepseekV3ForCausalLM",
    "Qwen3NextForCausalLM", "bfloat16", "float16", "float32", "fp8_e4m3", "full_attention", "sliding_attention",
    "linear_attention", "dummy", "bitsandbytes", "__class__", "model_fields",
)  # fmt: skip
SCALARS: tuple[Any, ...] = (*NUMBERS, *LOADED, *ODD_TEXT, *PATHS, *WORDS, None, True, False)
NESTED: tuple[Any, ...] = (
    [], {}, [[]], [{}], [None], [0], [-1], [True], ["a", "a"], [[[[[[[[]]]]]]]], {"": None}, {"a": {"b": {"c": []}}},
    {"0": 1}, {"min": 2, "max": 1}, {"min": "max"}, {"max": {}}, {"rope_type": "yarn", "factor": 0},
    {"type": [], "factor": {}}, {"factor": 1e308}, ["full_attention"], ["sliding_attention"] * 5, ["nothing"] * 64,
    list(range(400)), [1e308] * 3, {str(i): i for i in range(300)},
)  # fmt: skip


def odd(rng: random.Random) -> Any:
    """Anything."""
    how = rng.randrange(20)
    if how < 12:
        return rng.choice(SCALARS)
    if how < 16:
        return copy.deepcopy(rng.choice(NESTED))
    if how == 16:
        return rng.choice((-1, 1)) * rng.getrandbits(rng.choice((1, 8, 31, 33, 63, 65, 300)))
    if how == 17:
        return "".join(
            chr(rng.choice((rng.randrange(32, 127), rng.randrange(160, 0xD7FF)))) for _ in range(rng.randrange(12))
        )
    if how == 18:
        return [odd(rng) for _ in range(rng.randrange(4))]
    return {str(odd(rng))[:50]: odd(rng) for _ in range(rng.randrange(4))}


def nearly(rng: random.Random, value: Any) -> Any:
    """What might have been typed instead."""
    if isinstance(value, bool):
        return rng.choice((not value, str(value), int(value), None))
    if isinstance(value, int) and abs(value) < 2**64:
        return rng.choice(
            (value + 1, value - 1, -value, value * 2, value // 2, value * 1024, str(value), float(value), value + 0.5)
        )
    if isinstance(value, str):
        cut = rng.randrange(len(value) + 1)
        twisted = (
            value[:cut],
            value[cut:],
            value * 2,
            value.swapcase(),
            f"{value} ",
            f" {value}",
            f"{value}\n",
            f"{value}-",
            f"-{value}",
            f"{value}0",
        )
        return rng.choice(
            (*twisted, [value], {value: value}, f"{value[:cut]}\u00a0{value[cut:]}", f"{value[:cut]}/{value[cut:]}")
        )
    if isinstance(value, list):
        return rng.choice((value[:-1], value[::-1], value * 2, value * 50, [*value, odd(rng)], [value], {}))
    if isinstance(value, dict):
        return rng.choice((list(value), list(value.values()), {**value, "extra": 1}, dict(reversed(value.items())), {}))
    return odd(rng)
