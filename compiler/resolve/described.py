"""A row of the registry from what the Hub or a config.json says of a model. What these do not say is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.catalog.licenses import SPDX
from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.config import ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.counted import parameter_counts
from compiler.checkpoints.read import read_architecture
from compiler.lock.models import FOLDER, ModelFacts
from compiler.lock.quantization import whole_config
from compiler.registry.entry import Kind, ModelEntry
from compiler.registry.facts import facts_of
from compiler.registry.read import licenses

_EMBEDDING_TAGS = ("feature-extraction", "sentence-similarity")
_RERANKER_TAG = "text-ranking"


class UndescribedError(ValueError):
    """What is said of a model does not suffice, or contradicts itself."""


def described(name: str, facts: ModelFacts, base: ModelEntry | None) -> dict[str, Any]:
    """A row, in the order in which people read one.

    Args:
        name: of the model.
        facts: of its lock, or of its config.json alone.
        base: of which it is a fine-tune, where the registry knows that: what is the same there is left out.

    Raises:
        UndescribedError: nothing is known of its size, from its class or from its base.
    """
    shape = _of_architecture(facts, base)
    row = {"id": name, **shape, **_of_card(facts)}
    if base is not None:
        same = _fields(base)
        row = {key: value for key, value in row.items() if key not in same or same[key] != value}
        row["base_model"] = base.id
    if base is not None and "parameters" not in row:
        row.pop("active_parameters", None)
    if not shape or base is None or not _has_shape_of(base, row, facts):
        row["config"] = dict(whole_config(facts))
    return row


def _has_shape_of(base: ModelEntry, row: Mapping[str, Any], facts: ModelFacts) -> bool:
    """Whether a plan may take a fine-tune's config.json for its base's."""
    known = facts_of(base)
    is_other = "parameters" in row or "context" in row or "quantization_config" in whole_config(facts)
    return not is_other and isinstance(known, ModelFacts) and known.quantization is None


def _of_architecture(facts: ModelFacts, base: ModelEntry | None) -> dict[str, Any]:
    """Sizes, context and what it reads, by its config.json."""
    try:
        architecture = read_architecture(facts.config)
    except (ConfigError, UnsupportedArchitectureError) as error:
        if base is not None:
            return {}
        reason = str(error) if isinstance(error, ConfigError) else f"no class is known as {str(error)[:80]}"
        raise UndescribedError(reason) from error
    counts = parameter_counts(architecture)
    media = {"modalities": ["text", *architecture.modalities]} if architecture.modalities else {}
    active = {} if counts.active == counts.total else {"active_parameters": counts.active}
    return {
        "kind": _kind(facts, architecture),
        "parameters": counts.total,
        **active,
        "context": architecture.max_model_len,
        **media,
    }


def _kind(facts: ModelFacts, architecture: Architecture) -> Kind:
    if facts.pipeline_tag == _RERANKER_TAG:
        return "reranker"
    if architecture.pooling or facts.embedding is not None or facts.pipeline_tag in _EMBEDDING_TAGS:
        return "embedding"
    # Nobody has looked for the template of a config.json alone; most models that are served have one.
    return "instruct" if facts.chat_template is not None or facts.source == FOLDER else "base"


def _of_card(facts: ModelFacts) -> dict[str, Any]:
    """Licence and chat template, of which a config.json says nothing."""
    if facts.source == FOLDER:
        return {"license": _license(None)}
    template = "unknown" if "chat_template" in facts.unconfirmed else "no" if facts.chat_template is None else "yes"
    return {"license": _license(facts.license), "chat_template": template}


def _license(tag: str | None) -> str | Mapping[str, str]:
    """A licence that the registry knows, else one whose text somebody has to read."""
    if tag is not None and tag in licenses():
        return tag
    shown = "not stated" if tag is None else SPDX.get(tag, tag)
    return {"tag": "unknown" if tag is None else tag, "name": shown, "commercial": "unknown"}


def _fields(entry: ModelEntry) -> dict[str, Any]:
    """An entry as a row has it."""
    keys = {key: licenses()[key] for key in licenses()}
    license_: Any = next((key for key, known in keys.items() if known == entry.license), None)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in entry}
    return {**plain, "license": license_}
