"""What a registry's model is planned from where the Hub was not asked: its config.json, and a variant's block.

Data is in `data/checkpoints/`, a file a publisher. A checkpoint of the same shape as another says `like`, and what of
its config differs. The total of every config was compared with what its safetensors hold (`checked`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, Literal, get_args

from compiler.lock.models import DenseFacts, EmbeddingFacts, ModelFacts, Unconfirmed, WeightFile
from compiler.lock.names import publisher_of
from compiler.registry.entry import ModelEntry
from compiler.registry.formats import NotServed, expanded, typical_block
from compiler.registry.read import registry

SOURCE: Final = "registry"
"""`source` of facts that come from here: nobody has read the repository itself."""

UNREAD: tuple[Unconfirmed, ...] = get_args(Unconfirmed)
"""All that a lock would confirm."""

_DATA = files("compiler.registry") / "data" / "checkpoints"
_CHATS = frozenset({"instruct", "reasoning"})
_OWN_FORMAT = WeightFile(path="consolidated.safetensors")
_BLOCKS = ("quantization_config", "compression_config")

Exactness = Literal["copy", "typed", "completed", "widths", "common"]
"""Of a config: copied from a file that another project keeps; typed from what a page or another file shows; such a
copy with what it lacks as commonly published; widths by a catalogue that read the Hub, the rest as commonly published;
all as commonly published."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is known of one repository.

    Attributes:
        repository: its name on the Hub.
        config: config.json without its quantization block and without what nothing here reads.
        quantization: that block; None for an unquantized checkpoint.
        quantization_file: where that block is from, if not config.json.
        own_format: whether vLLM reads its params.json in place of a config.json.
        embedding: what files of Sentence Transformers beside it say.
        source: where config is from.
        exactness: how far it can be trusted.
        parameters: that a reader of this config counts: what is served, unpacked.
        checked: how that compares with what the repository's safetensors hold, in half a sentence.
    """

    repository: str
    config: Mapping[str, Any]
    quantization: Mapping[str, Any] | None
    quantization_file: str | None
    own_format: bool
    embedding: Mapping[str, Any] | None
    source: str
    exactness: Exactness
    parameters: int
    checked: str


@dataclass(frozen=True, slots=True)
class Unplannable:
    """A model or a variant of which no plan can be made from here.

    Attributes:
        repository: its name.
        reason: why, as half a sentence.
    """

    repository: str
    reason: str


def facts_of(entry: ModelEntry, repository: str | None = None) -> ModelFacts | Unplannable:
    """Facts of a model, or of one of the repositories with quantized weights of it, as a lock would have them.

    Args:
        entry: of a registry, the shipped one or a user's.
        repository: one of `variants_of`; None for the model itself.
    """
    if repository is None or repository == entry.id:
        known = _own(entry)
    else:
        known = checkpoint_of(repository) or assumed_checkpoint(entry, repository)
    if known is None:
        known = Unplannable(repository or entry.id, "its config.json is not known here; `stackc lock` reads it")
    return known if isinstance(known, Unplannable) else as_facts(entry, known)


def _own(entry: ModelEntry) -> Checkpoint | Unplannable | None:
    """That of a model itself: as a user's file has it, as it ships, or as of its base."""
    if entry.config is not None:
        return _of_user(entry, entry.config)
    known = checkpoint_of(entry.id)
    return _of_base(entry, entry.base_model) if known is None and entry.base_model is not None else known


def _of_user(entry: ModelEntry, config: Mapping[str, Any]) -> Checkpoint:
    block = next((config[key] for key in _BLOCKS if isinstance(config.get(key), Mapping)), None)
    return Checkpoint(
        repository=entry.id,
        config={key: value for key, value in config.items() if key not in _BLOCKS},
        quantization=block,
        quantization_file=None,
        own_format=False,
        embedding=None,
        source="the user's file",
        exactness="copy",
        parameters=entry.parameters,
        checked="compared with nothing",
    )


def _of_base(entry: ModelEntry, base: str) -> Checkpoint | Unplannable:
    """A fine-tune with as many parameters as its base has the base's shape."""
    known, told = checkpoint_of(base), registry().models.get(base)
    if known is None or told is None:
        return Unplannable(entry.id, f"nothing is known here of its base {base}: give it a `config`")
    if isinstance(known, Unplannable):
        return Unplannable(entry.id, known.reason)
    if entry.parameters != told.parameters:
        reason = f"it has {entry.parameters} parameters and its base {base} has {told.parameters}: give it a `config`"
        return Unplannable(entry.id, reason)
    if known.quantization is not None:
        return Unplannable(entry.id, f"its base {base} is quantized, and a fine-tune may not be: give it a `config`")
    source = f"as of {base}, of which it is a fine-tune"
    return replace(known, repository=entry.id, source=source, exactness="common", checked="as its base model")


def variants_of(entry: ModelEntry) -> tuple[tuple[str, str], ...]:
    """Repositories with quantized weights of a model, each with its format; also those that cannot be planned."""
    return tuple((each.repository, each.format) for each in entry.quantized if each.repository != entry.id)


def checkpoint_of(repository: str) -> Checkpoint | Unplannable | None:
    """What the data says of a repository by its own name; None where it says nothing."""
    entry = _stored(publisher_of(repository)).get(repository)
    if entry is None:
        return None
    if "unplannable" in entry:
        return Unplannable(repository, entry["unplannable"])
    return Checkpoint(
        repository=repository,
        config=_config(entry),
        quantization=_block(entry),
        quantization_file=entry.get("quantization_file"),
        own_format=bool(entry.get("own_format")),
        embedding=entry.get("embedding"),
        source=entry["source"],
        exactness=entry["exactness"],
        parameters=entry["parameters"],
        checked=entry["checked"],
    )


def known_checkpoints() -> tuple[str, ...]:
    """Every repository that the data speaks of, sorted."""
    names = (file.name.removesuffix(".json") for file in _DATA.iterdir() if file.name.endswith(".json"))
    return tuple(sorted(repository for publisher in names for repository in _stored(publisher)))


@lru_cache(maxsize=128)
def _stored(publisher: str) -> Mapping[str, Mapping[str, Any]]:
    """The file of a publisher, whose name on the Hub has no separators of paths."""
    path = _DATA / f"{publisher}.json"
    if not publisher or "/" in publisher or not path.is_file():
        return {}
    stored: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return stored


def _config(entry: Mapping[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = entry.get("config", {})
    other = entry.get("like")
    return merged(_config(_stored(publisher_of(other))[other]), own) if other is not None else copy.deepcopy(own)


def merged(config: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A config with some keys exchanged; the maps of its parts (`text_config`, …) key by key as well."""
    result = copy.deepcopy(dict(config))
    for key, value in own.items():
        deeper = key.endswith("_config") and isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if deeper else copy.deepcopy(value)
    return result


def _block(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """`quantization`, whose lists of modules are written short; one that is `like` another has its own or none."""
    block = entry.get("quantization")
    if block is None:
        return None
    return expanded(block, _config(entry))


def assumed_checkpoint(entry: ModelEntry, repository: str) -> Checkpoint | Unplannable | None:
    """The model's own config beside the block that is usual for the variant's format; None of what is no variant."""
    form = next((form for name, form in variants_of(entry) if name == repository), None)
    base = _own(entry)
    if form is None or base is None:
        return None
    if isinstance(base, Unplannable):
        return Unplannable(repository, base.reason)
    usual = typical_block(form, publisher_of(repository), base.config)
    if isinstance(usual, NotServed):
        return Unplannable(repository, usual.reason)
    return Checkpoint(
        repository=repository,
        config=base.config,
        quantization=usual.block,
        quantization_file=usual.file,
        own_format=base.own_format,
        embedding=base.embedding,
        source=f"the config of {entry.id}; the usual block of {form}: {usual.source}",
        exactness="common",
        parameters=base.parameters,
        checked="as its base model; the block was not read",
    )


def as_facts(entry: ModelEntry, known: Checkpoint) -> ModelFacts:
    """A checkpoint as a lock would have it, were all of it confirmed."""
    is_variant = known.repository != entry.id
    return ModelFacts(
        source=SOURCE,
        license=entry.license.tag,
        base_models=(entry.id,) if is_variant else (),
        base_relation="quantized" if is_variant else None,
        chat_template="tokenizer_config.json" if entry.kind in _CHATS and entry.chat_template != "no" else None,
        remote_code="auto_map" in known.config,
        weights=(_OWN_FORMAT,) if known.own_format else (),
        config=dict(known.config),
        quantization=dict(known.quantization) if known.quantization is not None else None,
        quantization_file=known.quantization_file or ("config.json" if known.quantization is not None else None),
        embedding=_embedding(known.embedding),
        unconfirmed=tuple(sorted(UNREAD)),
    )


def _embedding(said: Mapping[str, Any] | None) -> EmbeddingFacts | None:
    if said is None:
        return None
    dense = tuple(DenseFacts(**each) for each in said.get("dense", ()))
    return EmbeddingFacts(normalized=said["normalized"], dense=dense, max_length=said.get("max_length"))
