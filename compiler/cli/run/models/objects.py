"""What programs are told of a model."""

from __future__ import annotations

from typing import Any

from compiler.registry.entry import ModelEntry
from compiler.registry.read import Registry
from compiler.registry.scores import ScoreSet


def entry_object(entry: ModelEntry, known: Registry) -> dict[str, Any]:
    """A model, where its figures are from and which of them are to be taken with care."""
    data = entry.model_dump(mode="json")
    return {
        **data,
        "license": {**data["license"], "link": known.license_link(entry)},
        "sources": {name: source_object(known, text) for name, text in sorted(entry.sources.items())},
        "own": known.own.get(entry.id),
        "shadowed": list(known.shadowed.get(entry.id, ())),
    }


def source_object(known: Registry, text: str) -> dict[str, Any]:
    """Where a figure is from: the key or words that name it, and what is known of it."""
    return {"named": text, **known.source_of(text).model_dump(mode="json")}


def score_object(name: str, each: ScoreSet, known: Registry) -> dict[str, Any]:
    """A model's value of a set, with what the set is and how many models it compares."""
    data = each.model_dump(mode="json", exclude={"values"})
    value, low, high = each.values[name]
    of = len(each.values)
    return {**data, "value": value, "low": low, "high": high, "models": of, "source": source_object(known, each.source)}
