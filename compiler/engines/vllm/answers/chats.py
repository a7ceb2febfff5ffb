"""How a server turns chats into text, and text into tokens: by which tokenizer, and by whose template.

Followed are vllm/config/model.py and vllm/tokenizers/registry.py of 0.33.0, with one difference: a checkpoint that has
both formats is served in that of Hugging Face where vLLM can, which the lock says by its weights. vLLM would take
Mistral's, so that the plan names the format of each file (`formats`).
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from compiler.engines.vllm.releases.tokenizers import load_tokenizers
from compiler.lock.models import ModelFacts
from compiler.spec.services import ServiceSpec

TOKENIZER_MODE = "--tokenizer-mode"
AUTO, MISTRAL, HUGGING_FACE = "auto", "mistral", "hf"
_PROCESSOR_TEMPLATE = "chat_template.json"
_MISTRAL_FILES = ("tekken.json", "tokenizer.model.v*")
# Modes that need files which the lock knows by name, and those (mistral_common reads a plain tokenizer.model too).
_READ_BY = {MISTRAL: (*_MISTRAL_FILES, "tokenizer.model")}
# vllm/model_executor/models/pixtral.py:PixtralProcessingInfo.get_tokenizer
_MISTRAL_ONLY = frozenset({"PixtralForConditionalGeneration"})


def tokenizer_mode(spec: ServiceSpec, facts: ModelFacts, version: str) -> str:
    """What the server's `--tokenizer-mode` comes to: the user's, the architecture's, or that of the files."""
    given = spec.tokenizer_mode
    if given != AUTO:
        return given
    by_itself = load_tokenizers(version).modes.get(_architecture(facts))
    if by_itself is not None:
        return by_itself
    return MISTRAL if facts.in_own_format or _is_mistral(spec, facts, version) else HUGGING_FACE


def formats(spec: ServiceSpec, facts: ModelFacts, version: str) -> Iterator[tuple[str, str]]:
    """Options that hold a server to the files that were proved, where vLLM could take others by itself."""
    if facts.in_own_format:
        yield "--config-format", MISTRAL
        yield "--load-format", MISTRAL
    elif facts.consolidated:
        yield "--config-format", HUGGING_FACE
        is_safe = bool(facts.weights) and all(file.path.endswith(".safetensors") for file in facts.weights)
        yield "--load-format", "safetensors" if is_safe else HUGGING_FACE
    is_open = spec.tokenizer_mode == AUTO and load_tokenizers(version).modes.get(_architecture(facts)) is None
    if is_open and (facts.consolidated or _is_mistral(spec, facts, version)):
        yield TOKENIZER_MODE, tokenizer_mode(spec, facts, version)


def renders_chats(spec: ServiceSpec, facts: ModelFacts, version: str) -> bool:
    """Whether the server can turn chats into text."""
    table, mode = load_tokenizers(version), tokenizer_mode(spec, facts, version)
    if mode in table.renderers or spec.brings_chat_template:
        return True
    return has_template(facts, version) or model_type_of(facts) in table.template_types


def has_template(facts: ModelFacts, version: str) -> bool:
    """Whether the repository brings one that vLLM reads: the older file of processors is none to a text model."""
    if facts.chat_template != _PROCESSOR_TEMPLATE:
        return facts.chat_template is not None
    return model_type_of(facts) in load_tokenizers(version).processor_types


def why_not_read(spec: ServiceSpec, facts: ModelFacts, version: str) -> str | None:
    """Why the tokenizer's mode finds no file that it reads, as a half-sentence; None if it does, or nobody knows."""
    mode = tokenizer_mode(spec, facts, version)
    if mode != MISTRAL and _architecture(facts) in _MISTRAL_ONLY:
        return f"`{_architecture(facts)}` is served with `tokenizer-mode: mistral` alone"
    if mode not in _READ_BY or not facts.tokenizers or _has(facts, _READ_BY[mode]):
        return None
    return f"`tokenizer-mode: {mode}` reads tekken.json or tokenizer.model, of which it has none"


def model_type_of(facts: ModelFacts) -> str:
    """`model_type` of config.json; empty where it is none."""
    found = facts.config.get("model_type")
    return found if isinstance(found, str) else ""


def _is_mistral(spec: ServiceSpec, facts: ModelFacts, version: str) -> bool:
    """Mistral's tokenizer where there is no other, or where chats have no template that another one could use."""
    if not _has(facts, _MISTRAL_FILES):
        return False
    others = [name for name in facts.tokenizers if not any(fnmatchcase(name, one) for one in _MISTRAL_FILES)]
    table = load_tokenizers(version)
    is_rendered = has_template(facts, version) or spec.brings_chat_template
    return not others or (spec.task == "chat" and not is_rendered and model_type_of(facts) not in table.template_types)


def _has(facts: ModelFacts, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for name in facts.tokenizers for pattern in patterns)


def _architecture(facts: ModelFacts) -> str:
    names = facts.config.get("architectures")
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
