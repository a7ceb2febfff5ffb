"""Whether a model needs Python code of its repository: the one place that decides E0305 and `--trust-remote-code`.

An `auto_map` alone says nothing: without `--trust-remote-code`, transformers takes its own class where it has one, and
fails where it has none (transformers/dynamic_module_utils.py:resolve_trust_remote_code). What is not known here counts
as needed. Followed are, of 0.33.0: vllm/transformers_utils/config.py:HFConfigParser for config.json,
vllm/tokenizers/registry.py and transformers/models/auto/tokenization_auto.py for tokenizers, and
vllm/transformers_utils/processor.py and transformers/models/auto/processing_auto.py for processors.
"""

from __future__ import annotations

from compiler.engines.vllm.answers.chats import model_type_of, tokenizer_mode
from compiler.engines.vllm.answers.media import takes_media
from compiler.engines.vllm.releases.architectures import why_code_is_needed
from compiler.engines.vllm.releases.release import Release
from compiler.engines.vllm.releases.tokenizers import Tokenizers, load_tokenizers
from compiler.lock.models import CodeFacts, ModelFacts
from compiler.spec.services import ServiceSpec

_TOKENIZER, _PROCESSOR = "AutoTokenizer", "AutoProcessor"
# The parts of a processor, which it makes by the same rule.
_PROCESSING = (_PROCESSOR, "AutoImageProcessor", "AutoVideoProcessor", "AutoFeatureExtractor")
# Tokenizers of vLLM's own, which read none of transformers' classes.
_OWN_MODES = frozenset({"kimi_audio", "mistral"})


def code_needed(spec: ServiceSpec, facts: ModelFacts, release: Release) -> str | None:
    """What only code of the repository does for a service, as a half-sentence; None if nothing does."""
    if facts.remote_code and not facts.code and not facts.config.get("auto_map"):
        return "the lock says that it brings code, and not for what"
    why = why_code_is_needed(release, facts.config)
    if why is not None:
        return f"{why}, and `auto_map` in config.json names code for it"
    table = load_tokenizers(release.version)
    wanted = (_tokenizer(spec, facts, table, release), _processor(facts, table, release))
    return next((reason for reason in wanted if reason is not None), None)


def code_is_unread(facts: ModelFacts) -> bool:
    """Whether the lock is older than the question what code a tokenizer or processor brings."""
    return facts.remote_code and not facts.code


def _tokenizer(spec: ServiceSpec, facts: ModelFacts, table: Tokenizers, release: Release) -> str | None:
    """Code for a tokenizer that transformers does not know, or of which it could not read the files."""
    entry = _entry(facts, "tokenizer_config.json", _TOKENIZER)
    if entry is None or tokenizer_mode(spec, facts, release.version) in _OWN_MODES:
        return None
    name = (entry.class_name or "").removesuffix("Fast")
    if name in table.tokenizer_classes:
        return None
    # Any other name becomes transformers' general class, which reads tokenizer.json alone.
    if model_type_of(facts) in table.tokenizer_types and "tokenizer.json" in facts.tokenizers:
        return None
    return (
        f"its tokenizer is made by {_named(entry, _TOKENIZER)}, which transformers {table.transformers} does not have"
    )


def _processor(facts: ModelFacts, table: Tokenizers, release: Release) -> str | None:
    """Code for a processor of images, sound or videos that neither transformers nor vLLM has."""
    entries = [(entry, key) for entry in facts.code for key in _PROCESSING if key in entry.auto_map]
    entries = [(entry, key) for entry, key in entries if entry.file != "config.json"]
    if not entries or not takes_media(facts, release.version):
        return None
    names = {entry.class_name for entry, _ in entries}
    if names & table.processor_classes or model_type_of(facts) in table.processor_types:
        return None
    entry, key = entries[0]
    return f"its processor is made by {_named(entry, key)}, which transformers {table.transformers} does not have"


def _entry(facts: ModelFacts, file: str, key: str) -> CodeFacts | None:
    return next((entry for entry in facts.code if entry.file == file and key in entry.auto_map), None)


def _named(entry: CodeFacts, key: str) -> str:
    classes = entry.auto_map[key]
    return f"`{classes[-1]}` (`auto_map` in {entry.file})" if classes else f"code (`auto_map` in {entry.file})"
