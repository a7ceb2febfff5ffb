"""What llama.cpp takes for the keys of a service that each engine has words of its own for, and what else is written.

Build b10434: types of a cache by common/arg.cpp (`--cache-type-k`), names of files by include/llama.h (`LLAMA_FTYPE`).
"""

from __future__ import annotations

from collections.abc import Mapping

from compiler.spec.reading.engine_advice import Foreign, Words
from compiler.spec.reading.foreign_keys import (
    ARGUMENT_WORDS,
    CACHE_WORDS,
    EXPERTS_WORDS,
    LAYERS_WORDS,
    OFFLOAD_WORDS,
    SAMPLING_WORDS,
    plain,
    read_rows,
)

KEYS = frozenset({"cpu_moe", "gpu_layers"})
"""Keys of a service that llama.cpp has, and not every engine."""

FILE_TYPES = (
    "Q4_K_M", "Q4_K_S", "Q5_K_M", "Q5_K_S", "Q6_K", "Q8_0", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "Q2_K_S", "Q4_0",
    "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "IQ4_XS", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS",
    "IQ2_XXS", "IQ1_M", "IQ1_S", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0", "MXFP4_MOE", "NVFP4", "BF16", "F16", "F32",
)  # fmt: skip
"""What a file says that most of its weights are stored as."""

CACHE_TYPES = ("f16", "bf16", "f32", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")

_OTHER = "GGUF files hold types of llama.cpp's own; checkpoints in this format are vLLM's"
WORDS: Mapping[str, Words] = {
    "quantization": Words(
        ("auto", *FILE_TYPES),
        (
            (r"awq|gptq|fp8|int8|compressedtensors?|bitsandbytes|bnb.*|nf4|exl[23]", (), _OTHER),
            (r"(u?int|w)?4(bits?|b)?|(ud)?q4k(xl)?", ("Q4_K_M",), ""),
            (r"(u?int|w)?8(bits?|b)?|q8", ("Q8_0",), ""),
            (r"mxfp4", ("MXFP4_MOE",), ""),
            (r"none|no|false|null|original|unquantized|full|16(bits?)?", ("BF16", "F16"), ""),
        ),
    ),
    "kv_cache_dtype": Words(
        ("auto", *CACHE_TYPES),
        (
            (r"fp8.*|int8|8(bits?)?", ("q8_0",), ""),
            (r"fp16|half|none|default", ("f16",), ""),
        ),
    ),
}
"""By the key of a service."""

_LAYERS = "layers that lie on GPUs: `all`, a number, or `auto` for as many as fit"
_ROWS = read_rows(
    (
        ("gpu_layers", _LAYERS, f"{LAYERS_WORDS} {OFFLOAD_WORDS}"),
        ("cpu_moe", "the first layers whose experts stay in main memory, or `auto`", EXPERTS_WORDS),
        (None, "options of `llama-server` stand in `engine_args`, one key each", ARGUMENT_WORDS),
        (None, "clients say it with each request", SAMPLING_WORDS),
        ("kv_cache_dtype", "a type such as `f16` or `q8_0`", CACHE_WORDS),
    )
)


def key_hint(name: str) -> Foreign | None:
    """What to say of a key that no service has; None where nothing is known of it."""
    return _ROWS.get(plain(name))
