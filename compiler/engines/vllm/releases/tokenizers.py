"""What a vLLM release makes of text by itself: tokenizers, processors, and chats that it renders without a template.

The data is `VERSION/tokenizers.json`, read from vLLM and transformers by `tools/extract_tokenizers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from compiler.engines.vllm.releases.data import read_release_file


@dataclass(frozen=True, slots=True)
class Tokenizers:
    """What one release has.

    Attributes:
        transformers: its version, which makes tokenizers and processors.
        modes: the `--tokenizer-mode` that an architecture gets by itself (vllm/config/model.py).
        renderers: modes that render chats without a Jinja template (vllm/renderers/registry.py).
        template_types: model types for whose chats vLLM brings a template (vllm/transformers_utils/chat_templates).
        tokenizer_types: model types that have a tokenizer in transformers, or whose own one vLLM passes over.
        tokenizer_classes: names of tokenizers, without `Fast`.
        processor_types: model types that have a processor in transformers.
        processor_classes: names of processors in transformers and vLLM.
    """

    transformers: str
    modes: Mapping[str, str]
    renderers: frozenset[str]
    template_types: frozenset[str]
    tokenizer_types: frozenset[str]
    tokenizer_classes: frozenset[str]
    processor_types: frozenset[str]
    processor_classes: frozenset[str]


@cache
def load_tokenizers(version: str) -> Tokenizers:
    """The table of a vLLM release in the catalog.

    Raises:
        FileNotFoundError: the catalog does not have this version.
    """
    data = read_release_file(version, "tokenizers.json")
    return Tokenizers(
        transformers=data["transformers"],
        modes=data["modes"],
        **{key: frozenset(data[key]) for key in _SETS},
    )


_SETS = (
    "renderers", "template_types", "tokenizer_types", "tokenizer_classes", "processor_types", "processor_classes",
)  # fmt: skip
