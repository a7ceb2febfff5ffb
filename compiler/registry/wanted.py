"""Which models answer what somebody looks for, and what each condition takes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from compiler.registry.entry import Kind, ModelEntry, Task

COMMERCIAL_USE = ("yes", "conditional")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Conditions, of which None asks for nothing.

    Attributes:
        task: that it is used for.
        kind: what it was trained for.
        commercial: whether its licence must allow commercial use, be it under a condition.
        language: that its card names; a model whose card names none is left out, because nobody knows.
        context: tokens that it must have been trained for, at least.
        least_parameters, most_parameters: in all.
    """

    task: Task | None = None
    kind: Kind | None = None
    commercial: bool = False
    language: str | None = None
    context: int | None = None
    least_parameters: int | None = None
    most_parameters: int | None = None

    def lacking(self, entry: ModelEntry) -> Iterator[str]:
        """The conditions that a model does not meet."""
        if self.task is not None and self.task not in entry.tasks:
            yield "task"
        if self.kind is not None and self.kind != entry.kind:
            yield "kind"
        if self.commercial and entry.license.commercial not in COMMERCIAL_USE:
            yield "license"
        if self.language is not None and self.language not in (entry.languages or ()):
            yield "language"
        if self.context is not None and entry.context < self.context:
            yield "context"
        if self.least_parameters is not None and entry.parameters < self.least_parameters:
            yield "min-parameters"
        if self.most_parameters is not None and entry.parameters > self.most_parameters:
            yield "max-parameters"


@dataclass(frozen=True, slots=True)
class Selection:
    """What is left of models, and why the others are not.

    Attributes:
        found: the newest first; those whose date nobody knows last.
        removed: by condition, how many models do not meet it, whatever else they do not meet.
        unsaid: of those that the language took out, how many have a card that names no language.
    """

    found: tuple[ModelEntry, ...]
    removed: dict[str, int]
    unsaid: int


def select(models: Iterable[ModelEntry], wanted: Wanted) -> Selection:
    """The models that meet all conditions."""
    found: list[ModelEntry] = []
    removed: dict[str, int] = {}
    unsaid = 0
    for entry in models:
        lacking = tuple(wanted.lacking(entry))
        found += [] if lacking else [entry]
        unsaid += "language" in lacking and entry.languages is None
        for name in lacking:
            removed[name] = removed.get(name, 0) + 1
    newest_first = sorted(sorted(found, key=lambda each: each.id.lower()), key=_date, reverse=True)
    return Selection(tuple(newest_first), removed, unsaid)


def _date(entry: ModelEntry) -> str:
    return entry.released or ""
