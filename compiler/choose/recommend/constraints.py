"""What a wish asks of a model before any memory is counted, one condition after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from compiler.choose.grades import UNKNOWN, Grade
from compiler.choose.recommend.candidates import Checkpoint, answers_methods, checkpoints
from compiler.choose.recommend.wish import Wish
from compiler.registry.entry import ModelEntry
from compiler.registry.facts import Unplannable
from compiler.registry.quantities import format_parameters
from compiler.registry.wanted import COMMERCIAL_USE
from compiler.units import format_tokens


@dataclass(frozen=True, slots=True)
class Removed:
    """What one condition takes out of what those before it left.

    Attributes:
        constraint: its name, which is that of the option where there is one.
        asked: what it asks for, in words.
        count: models.
        example: the best graded of them; None where there are none.
        because: why that one, as half a sentence.
        unsaid: of the models, those of which nobody says whether they meet it.
        is_open: whether somebody who asks may drop it.
    """

    constraint: str
    asked: str
    count: int
    example: str | None = None
    because: str | None = None
    unsaid: int = 0
    is_open: bool = True


@dataclass(frozen=True, slots=True)
class Option:
    """A model that may be asked about, with what may be served of it."""

    entry: ModelEntry
    checkpoints: tuple[Checkpoint, ...]
    grade: Grade


@dataclass(frozen=True, slots=True)
class Constraint:
    """One condition.

    Attributes:
        name: as `Removed.constraint`.
        asked: in words; empty where nothing is asked.
        lacks: why a model does not meet it, as half a sentence; None where it does.
        dropped: the wish without it; None where there is no such wish.
        is_unsaid: whether nobody says of a model that it does or does not meet it.
    """

    name: str
    asked: str
    lacks: Callable[[ModelEntry], str | None]
    dropped: Wish | None = None
    is_unsaid: Callable[[ModelEntry], bool] = lambda _: False


def constraints(wish: Wish, grades: Mapping[str, Grade]) -> tuple[Constraint, ...]:
    """Those of a wish, in the order in which they are applied."""
    return (
        Constraint("kind", _kinds(wish), lambda entry: _kind(entry, wish)),
        Constraint("task", wish.task, lambda entry: _task(entry, wish, grades)),
        *_license(wish),
        *(_language(wish, language) for language in wish.languages),
        *_context(wish),
        *(_modality(each, wish) for each in wish.modalities),
        *_abilities(wish),
        *_sizes(wish),
    )


def options(
    models: Iterable[ModelEntry], wish: Wish, grades: Mapping[str, Grade]
) -> tuple[tuple[Option, ...], tuple[Removed, ...]]:
    """Models that meet all conditions, and what each condition took out of what those before it left."""
    left = list(models)
    removed: list[Removed] = []
    for constraint in constraints(wish, grades):
        lacking = {entry.id: lack for entry in left if (lack := constraint.lacks(entry)) is not None}
        removed.append(_removed(constraint, [entry for entry in left if entry.id in lacking], lacking, grades))
        left = [entry for entry in left if entry.id not in lacking]
    known = {entry.id: checkpoints(entry) for entry in left}
    unknown = {name: each.reason for name, each in known.items() if isinstance(each, Unplannable)}
    unread = Constraint("facts", "a config that is known offline", lambda _: None)
    removed.append(_removed(unread, [entry for entry in left if entry.id in unknown], unknown, grades, is_open=False))
    left = [entry for entry in left if entry.id not in unknown]
    found = [
        Option(entry, tuple(each for each in some if answers_methods(each, wish)), grades.get(entry.id, UNKNOWN))
        for entry in left
        if not isinstance(some := known[entry.id], Unplannable)
    ]
    if wish.methods:
        none = {each.entry.id: "no such weights of it are known" for each in found if not each.checkpoints}
        stored = Constraint("quantization", ", ".join(wish.methods), lambda _: None, replace(wish, methods=()))
        removed.append(_removed(stored, [each.entry for each in found if each.entry.id in none], none, grades))
    return tuple(each for each in found if each.checkpoints), tuple(removed)


def _removed(
    constraint: Constraint,
    entries: Sequence[ModelEntry],
    lacking: Mapping[str, str],
    grades: Mapping[str, Grade],
    *,
    is_open: bool = True,
) -> Removed:
    best = min(entries, key=lambda entry: (-(grades.get(entry.id, UNKNOWN).position or 0), entry.id), default=None)
    return Removed(
        constraint.name,
        constraint.asked,
        len(entries),
        None if best is None else best.id,
        None if best is None else lacking[best.id],
        sum(map(constraint.is_unsaid, entries)),
        is_open and constraint.name not in ("kind", "task"),
    )


def _kinds(wish: Wish) -> str:
    return " or ".join(sorted(wish.profile.kinds))


def _kind(entry: ModelEntry, wish: Wish) -> str | None:
    if entry.kind in wish.profile.kinds:
        return None
    return f"it is a {entry.kind} model"


def _task(entry: ModelEntry, wish: Wish, grades: Mapping[str, Grade]) -> str | None:
    """A model of a task that covers it, or that was measured at it, may do it, whatever its card says it is for."""
    if not wish.profile.covered_by.isdisjoint(entry.tasks):
        return None
    if wish.task in entry.tasks or grades.get(entry.id, UNKNOWN).kind == "graded":
        return None
    return f"it is described for {', '.join(entry.tasks) or 'nothing'}, and no two tests measured it at {wish.task}"


def _license(wish: Wish) -> tuple[Constraint, ...]:
    if not wish.commercial:
        return ()
    words = {"no": "its licence forbids commercial use", "unknown": "nobody has read its licence"}
    return (
        Constraint(
            "license",
            "commercial use",
            lambda entry: (
                None
                if entry.license.commercial in COMMERCIAL_USE
                else f"{words[entry.license.commercial]} ({entry.license.name})"
            ),
            replace(wish, commercial=False),
            lambda entry: entry.license.commercial == "unknown",
        ),
    )


def _language(wish: Wish, language: str) -> Constraint:
    left = tuple(each for each in wish.languages if each != language)
    return Constraint(
        "language",
        language,
        lambda entry: (
            None
            if language in (entry.languages or ())
            else "its card names no languages"
            if entry.languages is None
            else f"its card does not name {language}"
        ),
        replace(wish, languages=left),
        lambda entry: entry.languages is None,
    )


def _context(wish: Wish) -> tuple[Constraint, ...]:
    asked = wish.context
    if asked is None:
        return ()
    return (
        Constraint(
            "context",
            format_tokens(asked),
            lambda entry: None if entry.context >= asked else f"it was trained for {format_tokens(entry.context)}",
            replace(wish, context=None),
        ),
    )


def _modality(modality: str, wish: Wish) -> Constraint:
    left = tuple(each for each in wish.needs if each != modality)
    return Constraint(
        "modality",
        modality,
        lambda entry: None if modality in entry.modalities else f"it reads {', '.join(entry.modalities)}",
        replace(wish, needs=left) if modality in wish.needs else None,
    )


def _abilities(wish: Wish) -> Iterable[Constraint]:
    """Abilities that a model must have been trained for: `claimed` is a catalogue's word, which the row says."""
    for need in ("tools", "reasoning"):
        if need in wish.all_needs:
            left = tuple(each for each in wish.needs if each != need)
            dropped = replace(wish, needs=left) if need in wish.needs else None
            yield Constraint(need, need, partial(_untrained, need), dropped, partial(_is_unsaid, need))


def _untrained(need: str, entry: ModelEntry) -> str | None:
    if getattr(entry, need) in ("yes", "claimed"):
        return None
    return f"nobody says that it was trained for {need}"


def _is_unsaid(need: str, entry: ModelEntry) -> bool:
    unsaid: bool = getattr(entry, need) == "unknown"
    return unsaid


def _sizes(wish: Wish) -> Iterable[Constraint]:
    most, publishers = wish.most_parameters, tuple(each.lower() for each in wish.publishers)
    if most is not None:
        yield Constraint(
            "max-parameters",
            format_parameters(most),
            lambda entry: (
                None if entry.parameters <= most else f"it has {format_parameters(entry.parameters)} parameters"
            ),
            replace(wish, most_parameters=None),
        )
    if publishers:
        yield Constraint(
            "publisher",
            ", ".join(wish.publishers),
            lambda entry: None if entry.publisher.lower() in publishers else f"it is {entry.publisher}'s",
            replace(wish, publishers=()),
        )
