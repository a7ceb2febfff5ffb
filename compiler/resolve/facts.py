"""Turn answers of a source into the lock's facts. Pure apart from the reader that it is given."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from compiler.lock.models import FULL_COMMIT, AdapterFacts, Kind, ModelFacts, TensorFacts, Unconfirmed, WeightFile
from compiler.lock.quantization import AWQ_FILE, GPTQ_FILE, MODELOPT_FILE
from compiler.resolve.answers import (
    ConfigError,
    ListedFile,
    MalformedError,
    Reader,
    Repository,
    plain,
    without_controls,
)
from compiler.resolve.kinds import ADAPTER_CONFIG, CONFIG, kind_of, parse_adapter
from compiler.resolve.limits import MAX_CONFIG, SHARDS_AT_ONCE
from compiler.resolve.parallel import in_parallel
from compiler.resolve.safetensors import aggregate, read_tensors

LOOPBACK = "loopback"
FOLDER = "folder"

TOKENIZER_CONFIG = "tokenizer_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
INDEX = "model.safetensors.index.json"

# No engine reads these, and the last names a folder of whoever converted the checkpoint.
_NOT_CONFIG = frozenset({"id2label", "label2id", "task_specific_params", "transformers.js_config", "_name_or_path"})
_QUANTIZATION_KEYS = ("quantization_config", "compression_config")
_SIDECARS = (MODELOPT_FILE, AWQ_FILE, GPTQ_FILE)
_RELATIONS = ("quantized", "finetune", "adapter", "merge")
_RELATION = re.compile(rf"base_model:(?P<relation>{'|'.join(_RELATIONS)}):(?P<base>.+)")
# State of a training run that lies beside weights (vllm/model_executor/model_loader/weight_utils.py,
# filter_files_not_needed_for_inference, 0.33.0).
_NOT_WEIGHTS = frozenset({"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt"})
_SHARD = re.compile(r".+-\d+-of-\d+\.safetensors", re.ASCII)
_MAX_DEPTH = 32


def read_facts(repository: Repository, reader: Reader) -> ModelFacts:
    """Read a repository's small files and headers, and say what of it is not confirmed.

    Raises:
        SourceError: there is no configuration, or an answer is malformed.
    """
    kind = kind_of(repository)
    if kind != "model":
        return _unserved(repository, reader, kind)
    config = _read_config(repository, reader)
    quantization, quantization_file = _quantization(repository, config, reader)
    chat_template, template_is_sure = _chat_template(repository, reader)
    weights = _weights(repository, reader)
    tensors = _tensors(weights, reader)
    return ModelFacts(
        source=repository.source,
        branch=repository.branch,
        commit=repository.commit if _is_commit(repository.commit) else None,
        license=_license(repository),
        gated=repository.gated,
        base_models=_base_models(repository),
        base_relation=_relation(repository.tags),
        pipeline_tag=plain(repository.pipeline_tag) if repository.pipeline_tag else None,
        chat_template=chat_template,
        remote_code=bool(config.get("auto_map")),
        weights=tuple(WeightFile(path=file.path, size=file.size, sha256=file.sha256) for file in weights),
        config=_pruned(config),
        quantization=quantization,
        quantization_file=quantization_file,
        tensors=tensors,
        unconfirmed=_unconfirmed(repository, weights, tensors, template_is_sure=template_is_sure),
    )


def _unserved(repository: Repository, reader: Reader, kind: Kind) -> ModelFacts:
    """What a repository is that no engine loads as a model: enough to tell the user."""
    return ModelFacts(
        source=repository.source,
        branch=repository.branch,
        commit=repository.commit if _is_commit(repository.commit) else None,
        kind=kind,
        adapter=_adapter(repository, reader) if kind == "adapter" else None,
        license=_license(repository),
        gated=repository.gated,
        base_models=_base_models(repository),
        config={},
    )


def _adapter(repository: Repository, reader: Reader) -> AdapterFacts:
    content = reader.read(ADAPTER_CONFIG)
    if content is None:
        raise MalformedError(f"`{plain(repository.name)}` lists {ADAPTER_CONFIG} and does not give it")
    return parse_adapter(_parse_config(content, f"{repository.name}/{ADAPTER_CONFIG}"))


def _unconfirmed(
    repository: Repository, weights: tuple[ListedFile, ...], tensors: TensorFacts | None, *, template_is_sure: bool
) -> tuple[Unconfirmed, ...]:
    holds: dict[Unconfirmed, bool] = {
        "chat_template": template_is_sure,
        "commit": repository.source == FOLDER or FULL_COMMIT.fullmatch(repository.commit or "") is not None,
        # A Hub on this machine replays a recording: its word is not the Hub's.
        "config": repository.source != LOOPBACK,
        "files": repository.files is not None and all(file.size is not None for file in weights),
        # Where the Hub names no licence there is none; a recording may only lack it.
        "license": _license(repository) is not None or repository.source != LOOPBACK,
        "tensors": tensors is not None,
    }
    return tuple(fact for fact, is_sure in holds.items() if not is_sure)


def _is_commit(commit: str | None) -> bool:
    return commit is not None and re.fullmatch(r"[0-9a-f]{7,40}", commit, re.ASCII) is not None


def _read_config(repository: Repository, reader: Reader) -> dict[str, Any]:
    content = reader.read(CONFIG)
    if content is None:
        raise ConfigError(f"`{plain(repository.name)}` has no {CONFIG}", ("vLLM reads the architecture from it",))
    config = _parse_config(content, f"{repository.name}/{CONFIG}")
    if not config:
        raise ConfigError(f"the {CONFIG} of `{plain(repository.name)}` is empty")
    return config


def _parse_config(content: bytes, name: str) -> dict[str, Any]:
    if len(content) > MAX_CONFIG:
        raise MalformedError(f"`{plain(name)}` is longer than {MAX_CONFIG} bytes, and no configuration")
    return parse_object(content, name)


def parse_object(content: bytes, name: str) -> dict[str, Any]:
    """A JSON object, free of control characters.

    Raises:
        MalformedError: it is something else.
    """
    try:
        value = _clean(json.loads(content), 0)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"`{plain(name)}` is not valid JSON", (plain(error),)) from error
    if not isinstance(value, dict):
        raise MalformedError(f"`{plain(name)}` is not a JSON object")
    return value


def _clean(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(value, str):
        return without_controls(value)
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {without_controls(key): _clean(item, depth + 1) for key, item in value.items()}
    return value


def _pruned(config: Mapping[str, Any]) -> dict[str, Any]:
    dropped = _NOT_CONFIG.union(_QUANTIZATION_KEYS)
    kept = {key: value for key, value in config.items() if key not in dropped}
    return {key: _pruned(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _quantization(
    repository: Repository, config: Mapping[str, Any], reader: Reader
) -> tuple[dict[str, Any] | None, str | None]:
    text_config = config.get("text_config")
    for holder in (config, text_config if isinstance(text_config, dict) else {}):
        for key in _QUANTIZATION_KEYS:
            if isinstance(holder.get(key), dict):
                return holder[key], CONFIG
    for name in _SIDECARS:
        content = reader.read(name) if _is_listed(repository, name, unlisted=False) else None
        if content is not None:
            return _parse_config(content, f"{repository.name}/{name}"), name
    return None, None


def _is_listed(repository: Repository, name: str, *, unlisted: bool) -> bool:
    """Whether the listing has a file; `unlisted` is the answer where there is no listing."""
    if repository.files is None:
        return unlisted
    return any(file.path == name for file in repository.files)


def _chat_template(repository: Repository, reader: Reader) -> tuple[str | None, bool]:
    """The file that holds the chat template, and whether that is sure."""
    # Where a repository has both, transformers reads the file of its own.
    if _is_listed(repository, CHAT_TEMPLATE, unlisted=True) and (repository.files or reader.read(CHAT_TEMPLATE)):
        return CHAT_TEMPLATE, True
    if not _is_listed(repository, TOKENIZER_CONFIG, unlisted=True):
        return None, True
    content = reader.read(TOKENIZER_CONFIG)
    if content is None:
        return None, repository.files is None
    try:
        template = parse_object(content, TOKENIZER_CONFIG).get("chat_template")
    except MalformedError:
        return None, False
    return (TOKENIZER_CONFIG if template else None), True


def _weights(repository: Repository, reader: Reader) -> tuple[ListedFile, ...]:
    """Files at the root that vLLM loads: one format, one copy."""
    root = [file for file in repository.files or () if "/" not in file.path and file.path not in _NOT_WEIGHTS]
    for suffix, choose in ((".safetensors", partial(_indexed, repository, reader)), (".bin", tuple), (".pt", tuple)):
        files = [file for file in root if file.path.endswith(suffix) and not file.path.startswith("consolidated")]
        if files:
            return tuple(sorted(choose(files), key=lambda file: file.path))
    if repository.files is not None:
        name = plain(repository.name)
        raise ConfigError(f"`{name}` holds no weights that vLLM loads", ("no .safetensors, .bin or .pt at its root",))
    return ()


def _indexed(repository: Repository, reader: Reader, files: Iterable[ListedFile]) -> Iterable[ListedFile]:
    """Only what the index names, where there is one: a stray copy beside the shards is not loaded."""
    if not _is_listed(repository, INDEX, unlisted=False):
        return files
    content = reader.read(INDEX)
    shards = [file for file in files if _SHARD.fullmatch(file.path)]
    if content is None:
        return shards or files
    weight_map = parse_object(content, f"{repository.name}/{INDEX}").get("weight_map")
    values = weight_map.values() if isinstance(weight_map, dict) else ()
    named = {value for value in values if isinstance(value, str)}
    return [file for file in files if file.path in named] or shards or files


def _tensors(weights: tuple[ListedFile, ...], reader: Reader) -> TensorFacts | None:
    if not weights or not all(file.path.endswith(".safetensors") for file in weights):
        return None

    def read(file: ListedFile) -> Any:
        return read_tensors(partial(reader.read_range, file.path), file.path, file.size)

    shards = in_parallel(read, weights, SHARDS_AT_ONCE)
    if any(shard is None for shard in shards):
        return None
    return aggregate(tensor for shard in shards for tensor in shard)


def _license(repository: Repository) -> str | None:
    found = repository.license or next(
        (tag.removeprefix("license:") for tag in repository.tags if tag.startswith("license:")), None
    )
    if found == "other" and repository.license_name:
        found = repository.license_name
    return plain(found) if found and found != "unknown" else None


def _relation(tags: tuple[str, ...]) -> str | None:
    found = {match["relation"] for tag in tags if (match := _RELATION.fullmatch(tag))}
    return next((relation for relation in _RELATIONS if relation in found), None)


def _base_models(repository: Repository) -> tuple[str, ...]:
    tagged = {plain(match["base"]) for tag in repository.tags if (match := _RELATION.fullmatch(tag))}
    return tuple(sorted({plain(name) for name in repository.base_models} | tagged))
