"""Values of other tools, by the spec's key: what to write instead, and why where that is not plain."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from compiler.diagnostics import Edit, Help

Path = tuple[str | int, ...]
Advice = tuple[tuple[str, ...], tuple[Help, ...]]

_FOUR = "4 bits are `awq` or `gptq`: which of them, the checkpoint says"
_EIGHT = "8 bits are `int8` or `fp8`: which of them, the checkpoint says"
_GGUF = "GGUF, llama.cpp's and Ollama's format, is not served: checkpoints for vLLM are other ones"
_OWN = "such weights are served as the checkpoint has them: `model` names it, and `auto` takes it as it is"
_NOT_SERVED = "weights in this format are not served; checkpoints of 4 bits are `awq` or `gptq`"

# By the key, patterns of a value without case and separators: what may be written, and what to know.
_VALUES: Mapping[str, tuple[tuple[str, tuple[str, ...], str], ...]] = {
    "quantization": (
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
    "targets": (
        (r"podman.*|quadlets?", ("quadlet",), ""),
        (r"docker.*|compose.*|container.*", ("compose",), ""),
        (r"systemd.*|units?|services?", ("systemd",), ""),
        (r"bash|sh|shell|scripts?|baremetal|native", ("scripts",), ""),
        (r"k8s|kubernetes|helm|kustomize|kserve|openshift|nomad|swarm|slurm", (), "no target writes for a cluster"),
    ),
    "task": (
        (r"embed.*", ("embed",), ""),
        (r"rerank.*|scor.*|crossencod.*", ("score",), ""),
        (r"classif.*|label.*|reward", ("classify",), ""),
        (r"chat.*|instruct|assistant", ("chat",), ""),
        (r"generat.*", ("chat", "completion"), ""),
        (r"complet.*|textgeneration|base", ("completion",), ""),
    ),
    "features": (
        (r"tool.*|function.*", ("tools",), ""),
        (r"json.*|structured.*|guided.*|grammar", ("structured-output",), ""),
        (r"reason.*|think.*", ("reasoning",), ""),
    ),
    "kv_cache_dtype": (
        (r"fp8.*|q80|int8|8(bit)?", ("fp8",), ""),
        (r"b?f(p|loat)?16|half|none|default", ("auto",), ""),
    ),
    "media": ((r"no|off|false|0|text(only)?", ("none",), ""),),
}  # fmt: skip


def value_advice(key: str, given: object, path: Path, known: Sequence[str]) -> Advice:
    """Notes and helps for a value that is none of the `known` words of `key`, at `path`."""
    word = re.sub(r"[^a-z0-9]", "", str(given).lower())
    for pattern, written, why in _VALUES.get(key, ()):
        if re.fullmatch(pattern, word):
            return ((why,) if why else ()), tuple(_instead(path, each) for each in written)
    # Another digit is another thing, and no slip of the hand.
    digits = _DIGITS.sub("", word)
    likely = [each for each in known if _DIGITS.sub("", each) == digits]
    nearest = difflib.get_close_matches(str(given).lower(), likely, n=1)
    return (), tuple(_instead(path, each) for each in nearest)


_DIGITS = re.compile(r"[^0-9]")


def _instead(path: Path, word: str) -> Help:
    return Help(f"write `{word}`", (Edit(path, word),))
