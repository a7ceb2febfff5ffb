"""Files of Sentence Transformers beside a model: what vLLM makes of its embeddings, and how long a text may be.

vllm/transformers_utils/config.py of 0.33.0: get_pooling_config, try_get_dense_modules and
get_sentence_transformer_tokenizer_config; vllm/config/model.py: get_and_verify_max_len.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compiler.lock.models import DenseFacts, EmbeddingFacts
from compiler.resolve.answers import MalformedError, Reader, Repository
from compiler.resolve.reading.defaults import TOKENIZER_CONFIG
from compiler.resolve.strangers import parse_config, parse_object

MODULES = "modules.json"
# The first that there is decides.
_LENGTHS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_MAX_MODULES = 16
_LARGEST = 2**20


def sentence_files(repository: Repository) -> tuple[str, ...]:
    """Files that are read first."""
    return tuple(name for name in (MODULES, *_LENGTHS) if repository.has(name))


def embedding_facts(repository: Repository, reader: Reader, config: Mapping[str, Any]) -> EmbeddingFacts | None:
    """What these files say; None where there are none, or none that can be read."""
    if not sentence_files(repository):
        return None
    try:
        return _read(repository, reader, config)
    except MalformedError:
        return None


def _read(repository: Repository, reader: Reader, config: Mapping[str, Any]) -> EmbeddingFacts:
    modules = _modules(repository, reader)
    kinds = [_kind(module) for module in modules]
    return EmbeddingFacts(
        # Without a pooling module vLLM passes over the rest, and normalises as it does by itself.
        normalized="Pooling" not in kinds or "Normalize" in kinds,
        dense=tuple(_dense(repository, reader, modules)),
        max_length=_max_length(repository, reader, config),
    )


def _modules(repository: Repository, reader: Reader) -> list[Mapping[str, Any]]:
    content = reader.read(MODULES) if repository.has(MODULES) else None
    if content is None:
        return []
    # A list; strangers' JSON is only taken as an object.
    found = parse_object(b'{"modules": ' + content + b"}", MODULES)["modules"]
    if not isinstance(found, list) or len(found) > _MAX_MODULES:
        raise MalformedError(f"`{MODULES}` is no list of at most {_MAX_MODULES} modules")
    return [module for module in found if isinstance(module, Mapping)]


def _kind(module: Mapping[str, Any]) -> str:
    kind = str(module.get("type"))
    return kind.rpartition(".")[2] if kind.startswith(("sentence_transformers.", "pylate.")) else ""


def _dense(repository: Repository, reader: Reader, modules: list[Mapping[str, Any]]) -> Iterator[DenseFacts]:
    for module in modules:
        if _kind(module) != "Dense":
            continue
        name = f"{module.get('path')}/config.json"
        content = reader.read(name) if repository.has(name) else None
        config = parse_config(content, name) if content is not None else {}
        inputs, outputs = _size(config.get("in_features")), _size(config.get("out_features"))
        if inputs is not None and outputs is not None:
            yield DenseFacts(inputs=inputs, outputs=outputs, bias=config.get("bias") is not False)


def _max_length(repository: Repository, reader: Reader, config: Mapping[str, Any]) -> int | None:
    """The tokenizer's limit counts where positions are absolute; that of Sentence Transformers in any case."""
    lengths = [_number(repository, reader, name, "max_seq_length") for name in _LENGTHS if repository.has(name)][:1]
    if config.get("position_embedding_type") == "absolute" and repository.has(TOKENIZER_CONFIG):
        lengths.append(_number(repository, reader, TOKENIZER_CONFIG, "model_max_length"))
    return min((length for length in lengths if length is not None), default=None)


def _number(repository: Repository, reader: Reader, name: str, key: str) -> int | None:
    content = reader.read(name)
    return _size(parse_object(content, f"{repository.name}/{name}").get(key)) if content is not None else None


def _size(value: object) -> int | None:
    return value if type(value) is int and 1 <= value <= _LARGEST else None
