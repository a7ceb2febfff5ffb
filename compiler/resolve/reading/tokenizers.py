"""Files of which a tokenizer is made. Pure."""

from __future__ import annotations

import re

from compiler.lock.names import is_file
from compiler.resolve.answers import Repository

# transformers' own names (vocab_files_names of its tokenizers), and those of Mistral's (vllm/tokenizers/registry.py).
_NAMES = frozenset(
    {
        "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tekken.json", "tokenizer.json", "tokenizer.model",
        "vocab.json", "vocab.txt",
    }
)  # fmt: skip
_VERSIONED = re.compile(r"tokenizer\.model\.v\d{1,3}(?:m\d{1,3})?", re.ASCII)
_MOST = 16


def tokenizer_files(repository: Repository) -> tuple[str, ...]:
    """Those at the root, sorted; files of any other name belong to code of the repository."""
    names = (file.path for file in repository.files or ())
    found = sorted(name for name in names if name in _NAMES or _VERSIONED.fullmatch(name) or _is_tiktoken(name))
    return tuple(found[:_MOST])


def _is_tiktoken(name: str) -> bool:
    return name.endswith(".tiktoken") and is_file(name)
