"""Values of other tools, by the spec's key: what to write instead, and why where that is not plain.

Words that are an engine's own are in its package.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from compiler.diagnostics import Edit, Help
from compiler.spec.reading.engine_advice import OtherWords, Words

Path = tuple[str | int, ...]
Advice = tuple[tuple[str, ...], tuple[Help, ...]]

# By the key, patterns of a value without case and separators: what may be written, and what to know.
_VALUES: Mapping[str, OtherWords] = {
    "targets": (
        (r"podman.*|quadlets?", ("quadlet",), ""),
        (r"docker.*|compose.*|container.*", ("compose",), ""),
        (r"systemd.*|units?|services?", ("systemd",), ""),
        (r"bash|sh|shell|scripts?|baremetal|native", ("scripts",), ""),
        (r"k8s|kubernetes|kustomize|openshift", ("kubernetes",), ""),
        (r"helm|kserve", ("kubernetes",), "what is written for clusters are plain documents with a kustomization"),
        (r"slurm.*|sbatch|hpc", ("slurm",), ""),
        (r"nomad|swarm", (), "no target writes for it"),
    ),
    "engine": ((r"(o?llama|gguf).*", ("llama.cpp",), ""), (r"vllm.*", ("vllm",), "")),
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
    "method": (
        (r"draft.*|assist.*|.*speculative.*", ("draft",), ""),
        (r"ngram.*|promptlookup.*|lookup", ("ngram",), ""),
        (r".*mtp|nextn|eagle2?|suffix|dflash|dspark", ("ngram",), "what it takes of a GPU is not counted; a lookup is"),
        (r"medusa|mlpspeculator", ("ngram",), "vLLM has it no more"),
    ),
    "media": ((r"no|off|false|0|text(only)?", ("none",), ""),),
}  # fmt: skip


def value_advice(key: str, given: object, path: Path, known: Sequence[str]) -> Advice:
    """Notes and helps for a value that is none of the `known` words of `key`, at `path`."""
    return advice(given, path, Words(tuple(known), _VALUES.get(key, ())))


def advice(given: object, path: Path, words: Words) -> Advice:
    """Notes and helps for a value, at `path`, that is none of the words."""
    word = re.sub(r"[^a-z0-9]", "", str(given).lower())
    for pattern, written, why in words.others:
        if re.fullmatch(pattern, word):
            return ((why,) if why else ()), tuple(_instead(path, each) for each in written)
    # Another digit is another thing, and no slip of the hand.
    digits = _DIGITS.sub("", word)
    likely = {each.lower(): each for each in words.known if _DIGITS.sub("", each) == digits}
    nearest = difflib.get_close_matches(str(given).lower(), likely, n=1)
    return (), tuple(_instead(path, likely[each]) for each in nearest)


_DIGITS = re.compile(r"[^0-9]")


def _instead(path: Path, word: str) -> Help:
    return Help(f"write `{word}`", (Edit(path, word),))
