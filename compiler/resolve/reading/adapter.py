"""Facts of a LoRA adapter: what its adapter_config.json says, and tensors and hash of its one file of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from compiler.lock.models import FOLDER, ModelFacts, TensorFacts, WeightFile
from compiler.resolve.answers import ListedFile, MalformedError, Reader, Repository, plain
from compiler.resolve.reading.card import card_fields, unconfirmed_facts
from compiler.resolve.reading.kinds import ADAPTER_CONFIG, ADAPTER_WEIGHTS, parse_adapter
from compiler.resolve.strangers import parse_config

ReadTensors = Callable[[tuple[ListedFile, ...], Reader], TensorFacts | None]

_PIECE = 1 << 20


def adapter_facts(repository: Repository, reader: Reader, read_tensors: ReadTensors) -> ModelFacts:
    """What the lock keeps of an adapter. One without safetensors has no weights here: pickles are not read.

    Raises:
        SourceError: its configuration is not there, or an answer is malformed.
    """
    content = reader.read(ADAPTER_CONFIG)
    if content is None:
        raise MalformedError(f"`{plain(repository.name)}` lists {ADAPTER_CONFIG} and does not give it")
    config = parse_config(content, f"{repository.name}/{ADAPTER_CONFIG}")
    files = tuple(_hashed(file, repository, reader) for file in repository.files or () if file.path == ADAPTER_WEIGHTS)
    tensors = read_tensors(files, reader)
    return ModelFacts(
        **card_fields(repository),
        kind="adapter",
        adapter=parse_adapter(config),
        weights=tuple(WeightFile(path=file.path, size=file.size, sha256=file.sha256) for file in files),
        config={},
        tensors=tensors,
        unconfirmed=unconfirmed_facts(repository, files, tensors=tensors is not None) if files else (),
    )


def _hashed(file: ListedFile, repository: Repository, reader: Reader) -> ListedFile:
    """A folder has no commit: what its file holds now is what was locked."""
    if repository.source != FOLDER:
        return file
    digest, start = hashlib.sha256(), 0
    while piece := reader.read_range(file.path, start, start + _PIECE):
        digest.update(piece)
        start += len(piece)
    return replace(file, sha256=digest.hexdigest())
