"""Which files of a repository name Python code beside them. What of it an engine needs is judged when compiling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compiler.lock.models import CodeFacts
from compiler.resolve.answers import MalformedError, Reader, Repository, plain
from compiler.resolve.reading.defaults import TOKENIZER_CONFIG
from compiler.resolve.reading.kinds import CONFIG
from compiler.resolve.strangers import parse_object

# The key by which each names the class that it wants otherwise.
_CLASS_KEYS: Mapping[str, str] = {
    TOKENIZER_CONFIG: "tokenizer_class",
    "processor_config.json": "processor_class",
    "preprocessor_config.json": "processor_class",
    "video_preprocessor_config.json": "processor_class",
}
_MOST = 32


def code_files(repository: Repository) -> tuple[str, ...]:
    """Files that this question will read."""
    return tuple(name for name in _CLASS_KEYS if repository.has(name, unlisted=name == TOKENIZER_CONFIG))


def code_facts(repository: Repository, reader: Reader, config: Mapping[str, Any]) -> tuple[CodeFacts, ...]:
    """Every file with an `auto_map`: config.json, and those of tokenizers and processors that there are."""
    return tuple(_facts(repository, reader, config))


def _facts(repository: Repository, reader: Reader, config: Mapping[str, Any]) -> Iterator[CodeFacts]:
    if config.get("auto_map"):
        yield CodeFacts(file=CONFIG, auto_map=_classes(config["auto_map"]))
    for name in code_files(repository):
        content = reader.read(name)
        try:
            found = {} if content is None else parse_object(content, name)
        except MalformedError:
            continue  # no engine reads it either
        if found.get("auto_map"):
            class_name = found.get(_CLASS_KEYS[name])
            named = plain(class_name) if isinstance(class_name, str) else None
            yield CodeFacts(file=name, auto_map=_classes(found["auto_map"]), class_name=named)


def _classes(auto_map: object) -> dict[str, tuple[str, ...]]:
    """A list is the older form of a tokenizer's (transformers/models/auto/tokenization_auto.py)."""
    if isinstance(auto_map, list):
        auto_map = {"AutoTokenizer": auto_map}
    if not isinstance(auto_map, dict):
        return {}
    return {plain(key): _names(value) for key, value in sorted(auto_map.items())[:_MOST]}


def _names(value: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    return tuple(plain(name) for name in names[:2] if isinstance(name, str))
