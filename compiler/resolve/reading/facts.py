"""Turn answers of a source into the lock's facts. Pure apart from the reader that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from compiler.lock.models import (
    Kind,
    ModelFacts,
    TensorFacts,
    WeightFile,
)
from compiler.lock.quantization import AWQ_FILE, GPTQ_FILE, MODELOPT_FILE
from compiler.resolve.answers import (
    ConfigError,
    ListedFile,
    Reader,
    Repository,
    plain,
)
from compiler.resolve.limits import FILES_AT_ONCE
from compiler.resolve.parallel import begun, in_parallel
from compiler.resolve.reading.adapter import adapter_facts
from compiler.resolve.reading.card import card_fields, unconfirmed_facts
from compiler.resolve.reading.code import code_facts, code_files
from compiler.resolve.reading.defaults import chat_template, default_files, sampling
from compiler.resolve.reading.kinds import CONFIG, kind_of
from compiler.resolve.reading.mistral import PARAMS
from compiler.resolve.reading.own_format import has_own_format, is_served_in_own, read_own_format
from compiler.resolve.reading.safetensors import aggregate, read_tensors
from compiler.resolve.reading.sentence import embedding_facts, sentence_files
from compiler.resolve.reading.tokenizers import tokenizer_files
from compiler.resolve.reading.weights import INDEX, consolidated_files, has_index, mistral_only, own_files, weight_files
from compiler.resolve.strangers import parse_config

# No engine reads these, but how many labels there are; the last names a folder of whoever converted the checkpoint.
_NOT_CONFIG = frozenset({"id2label", "label2id", "task_specific_params", "transformers.js_config", "_name_or_path"})
_QUANTIZATION_KEYS = ("quantization_config", "compression_config")
_SIDECARS = (MODELOPT_FILE, AWQ_FILE, GPTQ_FILE)


def read_facts(repository: Repository, reader: Reader) -> ModelFacts:
    """Read a repository's small files and headers, and say what of it is not confirmed.

    Raises:
        SourceError: there is no configuration, or an answer is malformed.
    """
    kind = kind_of(repository)
    if kind == "adapter":
        return adapter_facts(repository, reader, _tensors)
    if kind != "model":
        return _unserved(repository, kind)
    if not repository.has(CONFIG, unlisted=True) and not has_own_format(repository):
        raise _no_config(repository)
    with begun(reader.read, _small_files(repository), FILES_AT_ONCE) as answers:
        return _model_facts(repository, _Ahead(reader, answers))


def _model_facts(repository: Repository, reader: Reader) -> ModelFacts:
    weights, tensors, config = _served(repository, reader)
    described = PARAMS if any(file in own_files(repository) for file in weights) else CONFIG
    quantization, quantization_file = quantization_block(repository, config, reader, described)
    template, named_templates, template_is_sure = chat_template(repository, reader)
    return ModelFacts(
        **card_fields(repository),
        chat_template=template,
        named_templates=named_templates,
        sampling=sampling(repository, reader),
        embedding=embedding_facts(repository, reader, config),
        remote_code=bool(config.get("auto_map")),
        code=code_facts(repository, reader, config),
        tokenizers=tokenizer_files(repository),
        consolidated=consolidated_files(repository),
        weights=tuple(WeightFile(path=file.path, size=file.size, sha256=file.sha256) for file in weights),
        config=_pruned(config),
        quantization=quantization,
        quantization_file=quantization_file,
        tensors=tensors,
        unconfirmed=unconfirmed_facts(repository, weights, chat_template=template_is_sure, tensors=tensors is not None),
    )


def _served(
    repository: Repository, reader: Reader
) -> tuple[tuple[ListedFile, ...], TensorFacts | None, dict[str, Any]]:
    """Weights, what their headers say and the configuration, in the one format that is served."""
    config = _read_config(repository, reader) if repository.has(CONFIG, unlisted=True) else {}
    if has_own_format(repository) and is_served_in_own(repository, config):
        return read_own_format(repository, reader, config, _tensors)
    weights = weight_files(repository, reader)
    return weights, _tensors(weights, reader), config


@dataclass(frozen=True, slots=True)
class _Ahead:
    """Small files whose reading has begun, so that one does not wait for another."""

    reader: Reader
    begun: Mapping[str, Future[bytes | None]]

    def read(self, path: str) -> bytes | None:
        return self.begun[path].result() if path in self.begun else self.reader.read(path)

    def read_range(self, path: str, start: int, stop: int) -> bytes | None:
        return self.reader.read_range(path, start, stop)

    def take(self, size: int) -> None:
        self.reader.take(size)


def _small_files(repository: Repository) -> tuple[str, ...]:
    """What will be read of every model with this listing."""
    index = (INDEX,) if has_index(repository) else ()
    config = (CONFIG,) if repository.has(CONFIG, unlisted=True) else ()
    names = (*config, *code_files(repository), *default_files(repository), *sentence_files(repository), *index)
    return tuple(dict.fromkeys(names))


def _unserved(repository: Repository, kind: Kind) -> ModelFacts:
    """What a repository is that no engine loads as a model: enough to tell the user."""
    return ModelFacts(**card_fields(repository), kind=kind, config={})


def _read_config(repository: Repository, reader: Reader) -> dict[str, Any]:
    content = reader.read(CONFIG)
    if content is None:
        raise _no_config(repository)
    config = parse_config(content, f"{repository.name}/{CONFIG}")
    if not config:
        raise ConfigError(f"the {CONFIG} of `{plain(repository.name)}` is empty")
    return config


def _pruned(config: Mapping[str, Any]) -> dict[str, Any]:
    dropped = _NOT_CONFIG.union(_QUANTIZATION_KEYS)
    kept = {key: value for key, value in config.items() if key not in dropped}
    names = config.get("id2label")
    if isinstance(names, Mapping | list) and names:
        # Transformers counts the names, whatever `num_labels` says.
        kept.pop("num_labels", None)
        kept |= {"num_labels": len(names)} if len(names) != _DEFAULT_LABELS else {}
    return {key: _pruned(value) if isinstance(value, dict) else value for key, value in kept.items()}


_DEFAULT_LABELS = 2  # transformers/configuration_utils.py:PreTrainedConfig


def _no_config(repository: Repository) -> ConfigError:
    if consolidated_files(repository):
        return mistral_only(repository)
    return ConfigError(f"`{plain(repository.name)}` has no {CONFIG}", ("vLLM reads the architecture from it",))


def quantization_block(
    repository: Repository, config: Mapping[str, Any], reader: Reader, file: str = CONFIG
) -> tuple[dict[str, Any] | None, str | None]:
    """The quantization block, wherever it stands, and the file that holds it; None where the checkpoint has none.

    Args:
        file: of which `config` was read.
    """
    text_config = config.get("text_config")
    for holder in (config, text_config if isinstance(text_config, dict) else {}):
        for key in _QUANTIZATION_KEYS:
            if isinstance(holder.get(key), dict):
                return holder[key], file
    for name in _SIDECARS:
        content = reader.read(name) if repository.has(name) else None
        if content is not None:
            return parse_config(content, f"{repository.name}/{name}"), name
    return None, None


def _tensors(weights: tuple[ListedFile, ...], reader: Reader) -> TensorFacts | None:
    if not weights or not all(file.path.endswith(".safetensors") for file in weights):
        return None

    def read(file: ListedFile) -> Any:
        return read_tensors(partial(reader.read_range, file.path), file.path, file.size, reader.take)

    shards = in_parallel(read, weights, FILES_AT_ONCE)
    if any(shard is None for shard in shards):
        return None
    return aggregate(tensor for shard in shards for tensor in shard)
