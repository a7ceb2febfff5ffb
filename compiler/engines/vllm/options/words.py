"""What vLLM takes for the keys of a service that each engine has words of its own for, and what else is written."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.engines.vllm.options.catalog import load_flags
from compiler.engines.vllm.options.decided import decided
from compiler.engines.vllm.options.instead import INSTEAD, instead
from compiler.engines.vllm.releases import RELEASES
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
from compiler.spec.services import ServiceSpec

KEYS = frozenset(
    {
        "adapters",
        "adapters_at_once",
        "allowed_media_domains",
        "expert_parallel",
        "machines",
        "max_num_seqs",
        "pipeline_parallel_size",
        "score_tokens",
        "speculate",
        "split_over_network",
        "tensor_parallel_size",
    }
)
"""Keys of a service that vLLM has, and not every engine."""

_FOUR = "4 bits are `awq` or `gptq`: which of them, the checkpoint says"
_EIGHT = "8 bits are `int8` or `fp8`: which of them, the checkpoint says"
_GGUF = "GGUF is the format of llama.cpp and Ollama: `engine: llama.cpp` serves it, and vLLM other checkpoints"
_OWN = "such weights are served as the checkpoint has them: `model` names it, and `auto` takes it as it is"
_NOT_SERVED = "weights in this format are not served; checkpoints of 4 bits are `awq` or `gptq`"

WORDS: Mapping[str, Words] = {
    "quantization": Words(
        ("auto", "none", "awq", "gptq", "fp8", "int8", "compressed-tensors"),
        (
            (r"q8(0|k)?", ("int8", "fp8"), _GGUF),
            (r"gguf|i?q[2-6]([k01]?[a-z]*)", ("awq", "gptq"), _GGUF),
            (r"bitsandbytes|bnb.*|nf4|exl[23]|hqq|aqlm|quip.*|mlx.*|eetq", ("awq", "gptq"), _NOT_SERVED),
            (r"(u?int|w)?4(bits?|b)?(a16)?|loadin4bit", ("awq", "gptq"), _FOUR),
            (r"(u?int|w)?8(bits?|b)(a8|a16)?|w8a(8|16)|8|loadin8bit", ("int8", "fp8"), _EIGHT),
            (r"(nv|mx)?fp4|mxfp8|w4a(4|8)|modelopt.*|autoround", ("auto",), _OWN),
            (r"fp8.*|float8.*|e4m3.*", ("fp8",), ""),
            (r"b?f(p|loat)?(16|32)|half|full|16(bit)?|no|false|null|original|unquantized", ("none",), ""),
            (r"awq.*", ("awq",), ""),
            (r"gptq.*", ("gptq",), ""),
            (r"compressedtensors?", ("compressed-tensors",), ""),
        ),
    ),
    "kv_cache_dtype": Words(
        ("auto", "fp8"),
        (
            (r"fp8.*|q80|int8|8(bit)?", ("fp8",), ""),
            (r"b?f(p|loat)?16|half|none|default", ("auto",), ""),
        ),
    ),
}
"""By the key of a service."""

_ROWS = read_rows(
    (
        (None, f"all layers are on the GPUs: {INSTEAD['--cpu-offload-gb']}",
         f"gpu_layers cpu_moe {LAYERS_WORDS} {EXPERTS_WORDS} {OFFLOAD_WORDS}"),
        (None, "options of `vllm serve` stand in `engine_args`, one key each", ARGUMENT_WORDS),
        (None, "clients say it with each request; `override-generation-config` in `engine_args` has defaults",
         SAMPLING_WORDS),
        ("kv_cache_dtype", "`auto` or `fp8`", CACHE_WORDS),
    )
)  # fmt: skip


def key_hint(name: str, release: str | None) -> Foreign | None:
    """What to say of a key that no service has, or that vLLM's have not; None where nothing is known of it.

    Args:
        name: as it was written.
        release: that the spec pins, whose options it may be one of.
    """
    found = _ROWS.get(plain(name))
    flag = load_flags(release).find(name) if found is None and release in RELEASES else None
    if flag is None:
        return found
    why = decided(flag)
    if why is None:
        return Foreign("an option of `vllm serve` that has no key of its own", inside="engine_args")
    if why.key is not None and why.key in ServiceSpec.model_fields:
        return Foreign(why.why, why.key)
    return Foreign(f"{why.why}: {sentence}" if (sentence := instead(flag)) else why.why)
