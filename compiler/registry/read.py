"""The registry as a whole: what ships, and over it what a user's own files say."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from compiler.catalog.ollama import hub_name
from compiler.diagnostics import Diagnostic
from compiler.registry.data import rows, table
from compiler.registry.entry import License, ModelEntry, Source, folded
from compiler.registry.scores import ScoreSet, read_scores, with_own_sets

_NEAREST = 3
# Of a name, by which others are found that hold it.
_SHORTEST_PART = 3
# What one publisher writes behind a name, and another does not.
_ENDINGS = re.compile(r"(?:instruct|chat|it|hf|base)+$")


@dataclass(frozen=True, slots=True)
class Registry:
    """What is known of models.

    Attributes:
        models: by their names, sorted as people sort them.
        own: of models that a user's file describes, the file and the line of the row.
        shadowed: of models that ship and that a user's file describes otherwise, the fields that differ.
        warnings: about these, for whoever asks about one model.
        problems: rows of a user's files that cannot be used, which are left out, and a warning for each shadowed model.
        own_sets: scores that a user's files have.
    """

    models: Mapping[str, ModelEntry]
    own: Mapping[str, str] = field(default_factory=dict)
    shadowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: Mapping[str, Diagnostic] = field(default_factory=dict)
    problems: tuple[Diagnostic, ...] = ()
    own_sets: tuple[ScoreSet, ...] = ()

    @property
    def sets(self) -> tuple[ScoreSet, ...]:
        """Published scores, read when they are first asked for, with a user's own."""
        return with_own_sets(shipped_sets(), self.own_sets)

    @property
    def sources(self) -> Mapping[str, Source]:
        """Where figures are from, by the keys that entries and sets name."""
        return _sources()

    def find(self, name: str) -> ModelEntry | None:
        """A model by its name on the Hub, or by the part after the slash where only one has it; in any case."""
        wanted = name.lower()
        named = [entry for entry in self.models.values() if entry.id.lower() == wanted]
        named = named or [entry for entry in self.models.values() if entry.short_name.lower() == wanted]
        return named[0] if len(named) == 1 else None

    def nearest(self, name: str) -> tuple[str, ...]:
        """Models that may be meant, best first: by Ollama's name, by a quantized repository, else spelled nearly so."""
        return nearest_models(self.models.values(), name)

    def scores_of(self, name: str) -> tuple[ScoreSet, ...]:
        """Sets that have a value of a model."""
        return tuple(each for each in self.sets if name in each.values)

    def source_of(self, text: str) -> Source:
        """What an entry or a set names as its source: one of `sources`, with its detail, or words of its own."""
        key, _, detail = text.partition(": ")
        known = self.sources.get(key)
        if known is None:
            return Source(title=text)
        return known if not detail else known.model_copy(update={"title": f"{known.title}: {detail}"})

    def license_link(self, entry: ModelEntry) -> str | None:
        """Where the text of a model's licence is, or its page, which says so; None where a user's file names none."""
        page = None if entry.id in self.own else f"https://huggingface.co/{entry.id}"
        return entry.license.link or page

    def marks(self, entry: ModelEntry) -> Mapping[str, str]:
        """Fields whose figures are to be taken with care, and why."""
        found = {name: self.source_of(text).mark for name, text in entry.sources.items()}
        return {name: mark for name, mark in found.items() if mark is not None}


def nearest_models(models: Collection[ModelEntry], name: str) -> tuple[str, ...]:
    """See `Registry.nearest`."""
    bounded, meant = name[:256], hub_name(name)
    if any(each.id == meant for each in models):
        return (str(meant),)
    of = [each.id for each in models if bounded.lower() in _variants(each)]
    if of:
        return tuple(of[:_NEAREST])
    spelled: dict[str, list[str]] = {}
    for each in models:
        spelled.setdefault(folded(each.id if "/" in bounded else each.short_name), []).append(each.id)
    wanted = folded(bounded)
    same = [key for key in spelled if _ENDINGS.sub("", key) == _ENDINGS.sub("", wanted)]
    close = difflib.get_close_matches(wanted, spelled, n=_NEAREST, cutoff=0.7)
    within = sorted((key for key in spelled if wanted in key), key=len) if len(wanted) >= _SHORTEST_PART else []
    return tuple(name for key in dict.fromkeys((*same, *close, *within)) for name in spelled[key])[:_NEAREST]


def registry(user_files: Sequence[Path] = ()) -> Registry:
    """What ships, with what a user's files say.

    Args:
        user_files: those that there are, the most specific first (`compiler.source.user_file.user_files`): where
            several describe one model, the first one's words hold.
    """
    if not user_files:
        return _shipped()
    # Reading YAML takes longer than all of this, and most runs have no such file.
    from compiler.registry.user import with_files  # noqa: PLC0415

    overlay = with_files(_shipped().models, user_files)
    return Registry(
        _sorted(overlay.models), overlay.own, overlay.shadowed, overlay.warnings, overlay.problems, overlay.sets
    )


@cache
def licenses() -> Mapping[str, License]:
    """Licences by the keys that rows name."""
    return {key: License.model_validate(row) for key, row in table("licenses").items()}


@cache
def _shipped() -> Registry:
    known = licenses()
    found: list[dict[str, Any]] = [{**row, "license": known[row["license"]]} for row in rows("models")]
    entries = TypeAdapter(list[ModelEntry]).validate_python(found)
    return Registry(_sorted({entry.id: entry for entry in entries}))


def _sorted(models: Mapping[str, ModelEntry]) -> Mapping[str, ModelEntry]:
    return {name: models[name] for name in sorted(models, key=str.lower)}


def _variants(entry: ModelEntry) -> set[str]:
    return {each.repository.lower() for each in entry.quantized}


@cache
def shipped_sets() -> tuple[ScoreSet, ...]:
    """Published scores as they ship."""
    return read_scores()


@cache
def _sources() -> Mapping[str, Source]:
    return {key: Source.model_validate(row) for key, row in table("sources").items()}
