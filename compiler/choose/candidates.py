"""The checkpoints of a model that can be planned without asking anybody: its own, and quantized ones of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compiler.lock.models import ModelFacts
from compiler.lock.quantization import answers_quantization
from compiler.registry.entry import ModelEntry
from compiler.registry.facts import Unplannable, facts_of, variants_of
from compiler.registry.read import Registry


@dataclass(frozen=True, slots=True)
class Candidates:
    """What of a model may be served.

    Attributes:
        repository: that was asked for: the model's own, or one of its variants.
        models: facts by repository, the one that was asked for first; of all that can be planned.
        unplannable: the others, with the reasons.
    """

    entry: ModelEntry
    repository: str
    models: Mapping[str, ModelFacts]
    unplannable: tuple[Unplannable, ...] = ()


def find_candidates(known: Registry, name: str, methods: Sequence[str] = ("auto",)) -> Candidates | None:
    """Of a model by its name, or of one of its quantized repositories by that one's.

    Args:
        methods: as a service's `quantization`.

    Returns:
        None where the registry has neither.
    """
    entry = known.find(name)
    if entry is not None:
        return candidates_of(entry, methods)
    wanted = name.lower()
    found = ((each, own) for each in known.models.values() for own, _ in variants_of(each) if own.lower() == wanted)
    variant = next(found, None)
    return None if variant is None else _read(*variant, (variant[1],), methods)


def candidates_of(entry: ModelEntry, methods: Sequence[str] = ("auto",)) -> Candidates:
    """Of a model: `none` asks for its own weights alone."""
    variants = () if tuple(methods) == ("none",) else tuple(repository for repository, _ in variants_of(entry))
    return _read(entry, entry.id, (entry.id, *variants), methods)


def _read(entry: ModelEntry, repository: str, names: Sequence[str], methods: Sequence[str]) -> Candidates:
    found = {name: facts_of(entry, None if name == entry.id else name) for name in names}
    models = {
        name: facts
        for name, facts in found.items()
        if not isinstance(facts, Unplannable) and answers_quantization(facts, tuple(methods))
    }
    unplannable = tuple(facts for facts in found.values() if isinstance(facts, Unplannable))
    return Candidates(entry, repository, models, unplannable)
