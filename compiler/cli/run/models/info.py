"""`stackc models info`: everything that is known of one model, with where it is from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from compiler.cli.report import finish
from compiler.cli.run.models.graded import grade_lines, grade_objects, grades_of
from compiler.cli.run.models.known import known_models, unknown_model
from compiler.cli.run.models.objects import entry_object, score_object
from compiler.cli.run.models.worked_out import worked_out
from compiler.cli.terminal import terminal_width, wrapped
from compiler.registry.entry import ModelEntry, Quantized
from compiler.registry.quantities import format_parameters
from compiler.registry.read import Registry
from compiler.registry.scores import ScoreSet
from compiler.registry.terms import stricter_base
from compiler.units import format_tokens

_INDENT = 2
_LABEL = 15


def run(name: str, *, form: str) -> NoReturn:
    """Tell it, and end the run."""
    known = known_models()
    entry = known.find(name)
    if entry is None:
        finish(form, (*known.problems, unknown_model(name, known)), result={}, lines=())
    sets = known.scores_of(entry.id)
    more = worked_out(entry)
    graded = grades_of(entry, known)
    result = {
        "model": entry_object(entry, known),
        "grades": grade_objects(graded, entry, known),
        "scores": [score_object(entry.id, each, known) for each in sets],
    }
    lines = [
        *_facts(entry, known),
        *more.lines,
        *grade_lines(graded, entry, known),
        *_scores(entry.id, sets, known),
        *_sources(entry, known),
    ]
    finish(form, known.problems, result={**result, **more.result}, lines=lines)


def _facts(entry: ModelEntry, known: Registry) -> Iterator[str]:
    yield f"{entry.id}: {entry.kind} model"
    if entry.id in known.own:
        yield from _told("described at", known.own[entry.id])
    for label, name, text in _fields(entry):
        mark = known.marks(entry).get(name)
        if text:
            yield from _told(label, f"{text} [{mark}]" if mark else text)
    yield from _license(entry, known)
    yield from _quantized(entry)


def _fields(entry: ModelEntry) -> Iterator[tuple[str, str, str | None]]:
    """What stands before the colon, the field whose source it is, and the words; None where nothing is known."""
    yield "trap", "trap", entry.trap
    yield "used for", "tasks", ", ".join(entry.tasks)
    yield "good for", "good_for", "; ".join(entry.good_for)
    yield "not good for", "not_good_for", "; ".join(entry.not_good_for)
    yield "languages", "languages", "not named" if entry.languages is None else ", ".join(entry.languages)
    yield "reads", "modalities", ", ".join(entry.modalities)
    yield "parameters", "parameters", f"{entry.parameters:,} ({format_parameters(entry.parameters)})"
    active = f"{entry.active_parameters:,} ({format_parameters(entry.active_parameters)}) for each token"
    yield "active", "active_parameters", active if entry.is_mixture else None
    context = f"{entry.context} tokens ({format_tokens(entry.context)})"
    yield "context", "context", context if entry.context_note is None else f"{context}; {entry.context_note}"
    yield "chat template", "chat_template", entry.chat_template
    yield "tools", "tools", _with_parser(entry.tools, entry.tool_call_parser)
    yield "reasoning", "reasoning", _with_parser(entry.reasoning, entry.reasoning_parser)
    yield "base model", "base_model", entry.base_model
    yield "released", "released", entry.released
    yield "downloads", "downloads", None if entry.downloads is None else f"{entry.downloads:,}, which is no quality"
    yield "vLLM recipe", "recipe", _recipe(entry)


def _with_parser(answer: str, parser: str | None) -> str:
    return answer if parser is None else f"{answer}, vLLM's parser {parser}"


def _recipe(entry: ModelEntry) -> str | None:
    if entry.recipe is None:
        return None
    release = "" if entry.recipe.release is None else f", from vLLM {entry.recipe.release}"
    hardware = ", ".join(entry.recipe.hardware)
    return f"{entry.recipe.path}{release}" + (f"; tried on {hardware}" if hardware else "")


def _license(entry: ModelEntry, known: Registry) -> Iterator[str]:
    """Name, verdict and link always stand together: no verdict is a reading of the text."""
    license_, mark = entry.license, known.marks(entry).get("license")
    name = f"{license_.name} (tag {license_.tag})" + (f" [{mark}]" if mark else "")
    yield from _told("licence", name)
    verdict = f"commercial use: {license_.commercial}"
    condition = "" if license_.condition is None else f", {license_.condition}"
    yield from _told("", f"{verdict}{condition}; its text decides")
    yield from _told("", known.license_link(entry) or "no place is known where its text stands")
    base = stricter_base(entry, known)
    if base is not None:
        condition = "" if base.condition is None else f", {base.condition}"
        yield from _told("", f"made from {base.repository}, {base.name}; commercial use: {base.commercial}{condition}")
        yield from _told("", base.link or "no place is known where its text stands")


def _quantized(entry: ModelEntry) -> Iterator[str]:
    for index, each in enumerate(entry.quantized):
        yield from _told("quantized" if index == 0 else "", _variant(each))


def _variant(each: Quantized) -> str:
    claim = "" if each.claimed_gb is None else f", {each.claimed_gb:g} GB claimed, not proved"
    return f"{each.repository}: {each.format}{claim}"


def _scores(name: str, sets: Sequence[ScoreSet], known: Registry) -> Iterator[str]:
    yield ""
    if not sets:
        yield "no published score is known: that says nothing of its quality"
        return
    yield "published scores; values of different lines are not to be averaged"
    for each in sets:
        value, low, high = each.values[name]
        bounds = "" if low is None else f" ({low:g} to {high:g})"
        date = "undated" if each.date is None else each.date
        party = each.run_by if each.independent else f"{each.run_by}, a maker"
        mark = each.mark or known.source_of(each.source).mark
        of = f"{len(each.values)} models" if len(each.values) > 1 else "this one alone"
        words = f"{each.title}: {value:g} {each.unit}{bounds}; {party}, {date}; {of}"
        yield from wrapped(words + (f" [{mark}]" if mark else ""), _INDENT)


def _sources(entry: ModelEntry, known: Registry) -> Iterator[str]:
    """Fields by where they are from."""
    yield ""
    yield "sources"
    fields: dict[str, list[str]] = {}
    for name, text in sorted(entry.sources.items()):
        fields.setdefault(text, []).append(name.replace("_", " "))
    for text, names in fields.items():
        source = known.source_of(text)
        details = [part for part in (source.date, source.link) if part is not None]
        yield from wrapped(f"{', '.join(names)}: {', '.join((source.title, *details))}", _INDENT)


def _told(label: str, text: str) -> Iterator[str]:
    """A label, and its words beside it."""
    head = f"{'':{_INDENT}}{label:{_LABEL}}"
    if terminal_width() < len(head) + _LABEL:
        yield from wrapped(f"{label} {text}")
        return
    for index, line in enumerate(wrapped(text, len(head), 0)):
        yield head + line[len(head) :] if index == 0 else line
