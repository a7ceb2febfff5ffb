"""Which model of the Hub a name of Ollama's library means.

Pairs are those of AlexsJones/llmfit@3f44fd3 (llmfit-core/src/providers.rs, read 2026-11-30), whose authors look tags up
at ollama.com/library. Left out is what they leave open or the library has moved since, such as `deepseek-r1:8b`, and
names without a size that stand for several.
"""

from __future__ import annotations

import re

_META, _QWEN, _MISTRAL = "meta-llama", "Qwen", "mistralai"

# By name and size; the empty size is a name alone, or with the tag `latest`.
_MODELS: dict[str, dict[str, str]] = {
    "bge-large": dict.fromkeys(("", "335m"), "BAAI/bge-large-en-v1.5"),
    "codellama": {size: f"codellama/CodeLlama-{size}-Instruct-hf" for size in ("7b", "13b", "34b")},
    "command-a": dict.fromkeys(("", "111b"), "CohereLabs/c4ai-command-a-03-2025"),
    "deepseek-coder-v2": {"16b": "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"},
    "deepseek-r1": {
        "1.5b": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
        "7b": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
        "14b": "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
        "32b": "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
        "70b": "deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
    },
    "falcon": {
        "7b": "tiiuae/falcon-7b-instruct",
        "40b": "tiiuae/falcon-40b-instruct",
        "180b": "tiiuae/falcon-180B-chat",
    },
    "falcon3": {"7b": "tiiuae/Falcon3-7B-Instruct"},
    "gemma2": {size: f"google/gemma-2-{size}-it" for size in ("2b", "9b", "27b")},
    "gemma3": {"12b": "google/gemma-3-12b-it"},
    "gemma3n": {"e4b": "google/gemma-3n-E4B-it"},
    "hermes3": {"8b": "NousResearch/Hermes-3-Llama-3.1-8B"},
    "lfm2.5": {"1.2b": "LiquidAI/LFM2.5-1.2B-Instruct"},
    "llama3": {"8b": f"{_META}/Meta-Llama-3-8B-Instruct"},
    "llama3.1": {size: f"{_META}/Llama-3.1-{size.upper()}-Instruct" for size in ("8b", "70b", "405b")},
    "llama3.2": {size: f"{_META}/Llama-3.2-{size.upper()}-Instruct" for size in ("1b", "3b")},
    "llama3.2-vision": {"11b": f"{_META}/Llama-3.2-11B-Vision-Instruct"},
    "llama3.3": dict.fromkeys(("", "70b"), f"{_META}/Llama-3.3-70B-Instruct"),
    "mistral": {"7b": f"{_MISTRAL}/Mistral-7B-Instruct-v0.3"},
    "mistral-nemo": dict.fromkeys(("", "12b"), f"{_MISTRAL}/Mistral-Nemo-Instruct-2407"),
    "mistral-small": {"24b": f"{_MISTRAL}/Mistral-Small-24B-Instruct-2501"},
    "mistral-small3.1": dict.fromkeys(("", "24b"), f"{_MISTRAL}/Mistral-Small-3.1-24B-Instruct-2503"),
    "mixtral": {f"8x{size}b": f"{_MISTRAL}/Mixtral-8x{size}B-Instruct-v0.1" for size in (7, 22)},
    "nemotron": {"70b": "nvidia/Llama-3.1-Nemotron-70B-Instruct-HF"},
    "nomic-embed-text": {"": "nomic-ai/nomic-embed-text-v1.5"},
    "nous-hermes2-mixtral": {"8x7b": "NousResearch/Nous-Hermes-2-Mixtral-8x7B-DPO"},
    "olmo2": {"13b": "allenai/OLMo-2-1124-13B-Instruct"},
    "orca2": {size: f"microsoft/Orca-2-{size}" for size in ("7b", "13b")},
    "phi": dict.fromkeys(("", "2.7b"), "microsoft/phi-2"),
    "phi3.5": dict.fromkeys(("", "3.8b"), "microsoft/Phi-3.5-mini-instruct"),
    "phi4": dict.fromkeys(("", "14b"), "microsoft/phi-4"),
    "phi4-mini": dict.fromkeys(("", "3.8b"), "microsoft/Phi-4-mini-instruct"),
    "phi4-reasoning": dict.fromkeys(("", "14b"), "microsoft/Phi-4-reasoning"),
    "qwen2": {"1.5b": f"{_QWEN}/Qwen2-1.5B-Instruct"},
    "qwen2.5": {
        size: f"{_QWEN}/Qwen2.5-{size.upper()}-Instruct" for size in ("0.5b", "1.5b", "3b", "7b", "14b", "32b", "72b")
    },
    "qwen2.5-coder": {size: f"{_QWEN}/Qwen2.5-Coder-{size.upper()}-Instruct" for size in ("1.5b", "7b", "14b", "32b")},
    "qwen2.5vl": {size: f"{_QWEN}/Qwen2.5-VL-{size.upper()}-Instruct" for size in ("7b", "72b")},
    "qwen3": {size: f"{_QWEN}/Qwen3-{size.upper()}" for size in ("0.6b", "8b", "14b", "32b")},
    "qwen3-coder": dict.fromkeys(("", "30b"), f"{_QWEN}/Qwen3-Coder-30B-A3B-Instruct"),
    "qwen3-coder-next": {"": f"{_QWEN}/Qwen3-Coder-Next"},
    "qwen3.5": {"35b": f"{_QWEN}/Qwen3.5-35B-A3B", "122b": f"{_QWEN}/Qwen3.5-122B-A10B"},
    "qwen3.8": {"27b": f"{_QWEN}/Qwen3.8-27B"},
    "qwq": dict.fromkeys(("", "32b"), f"{_QWEN}/QwQ-32B"),
    "smollm2": {"1.7b": "HuggingFaceTB/SmolLM2-1.7B-Instruct"},
    "tinyllama": dict.fromkeys(("", "1.1b"), "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
    "zephyr": {"7b": "HuggingFaceH4/zephyr-7b-beta"},
}

_LONGEST = 200
_NAME = re.compile(r"(?:ollama:(?://)?)?(?:library/)?([a-z][a-z0-9.-]*)(?::([a-z0-9._-]*))?")
# Behind the size: what does not make it another model.
_SAME = re.compile(r"instruct|chat|it|latest|q\d\w*|[a-z]?f?p?(?:16|32)|mxfp4|")


def hub_name(name: str) -> str | None:
    """The Hub's name of what Ollama's library has under a name such as `llama3.1:8b-instruct-q4_K_M`.

    Returns:
        None where the table does not say, of which nothing follows.
    """
    found = _NAME.fullmatch(name.lower()) if len(name) <= _LONGEST else None
    sizes = _MODELS.get(found[1]) if found is not None else None
    if found is None or sizes is None:
        return None
    size, *rest = (found[2] or "").split("-")
    is_same = all(_SAME.fullmatch(word) for word in rest)
    return sizes.get("" if size == "latest" else size) if is_same else None


def names() -> dict[str, str]:
    """Every name of the table, with the Hub's."""
    return {f"{name}:{size}" if size else name: each for name, sizes in _MODELS.items() for size, each in sizes.items()}
