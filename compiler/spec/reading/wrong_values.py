"""A value that its key does not take: what it must be, and what to write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pydantic_core import ErrorDetails

from compiler.catalog.hardware.gpus import same_gpus
from compiler.diagnostics import Diagnostic, Edit, Help, Label
from compiler.source.document import Document, Path
from compiler.spec.engines import ENGINE_NAMES
from compiler.spec.forms import form_words, nearest
from compiler.spec.reading.engine_advice import Advisors, adviser_of
from compiler.spec.reading.foreign_values import Advice, advice, value_advice
from compiler.spec.reading.model_names import model_advice, model_message

_WORDS = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "dict_type": "must be a map of keys to values",
    "model_type": "must be a map of keys to values",
    "tuple_type": "must be a list",
    "none_required": "must be empty",
}


def wrong_value(document: Document, path: Path, details: ErrorDetails, engines: Advisors) -> Diagnostic:
    """The finding about what stands at `path`."""
    name = next((part for part in reversed(path) if isinstance(part, str)), "spec")
    given = _shown(details["input"])
    label = Label(document.value(path) if not _is_key_error(details) else document.key(path))
    if _is_model(path) and details["type"] == "string_pattern_mismatch":
        notes, helps = model_advice(details["input"], path)
        return Diagnostic("E0203", model_message(details["input"]), label, notes, helps)
    if details["type"] == "engine_word":
        words = adviser_of(document.data, path, engines)[1].words[name]
        notes, helps = advice(details["input"], path, words)
        notes = (*((f"given: {given}",) if given else ()), *notes)
        return Diagnostic("E0203", f"`{name}` must be one of {_alternatives(words.known)}", label, notes, helps)
    notes, helps = _advice(document, name, path, details, engines)
    notes = (*((f"given: {given}",) if given else ()), *notes)
    return Diagnostic("E0203", f"`{name}` {value_words(details)}", label, notes, helps)


def _alternatives(words: Sequence[str]) -> str:
    *others, last = map(repr, words)
    return f"{', '.join(others)} or {last}" if others else last


def value_words(details: ErrorDetails) -> str:
    """What a value must be, behind the name of its key."""
    context, kind = details.get("ctx", {}), details["type"]
    if kind == "literal_error":
        return f"must be one of {context['expected']}"
    if kind == "string_pattern_mismatch":
        return form_words(context["pattern"])
    if kind in ("greater_than_equal", "less_than_equal"):
        return f"must be at {'least' if 'ge' in context else 'most'} {context.get('ge', context.get('le'))}"
    if kind == "too_short":
        return "must not be empty"
    return _WORDS.get(kind, details["msg"][:1].lower() + details["msg"][1:])


def _is_model(path: Path) -> bool:
    return path[:1] == ("services",) and path[-1] == "model"


def _advice(document: Document, name: str, path: Path, details: ErrorDetails, engines: Advisors) -> Advice:
    """What to write instead, where that can be told from what was written."""
    kind, given = details["type"], details["input"]
    if kind == "literal_error":
        return value_advice(name, given, path, re.findall(r"'([^']*)'", details["ctx"]["expected"]))
    if kind == "string_pattern_mismatch" and (meant := nearest(given, details["ctx"]["pattern"])) is not None:
        return (), (Help(f"write `{meant}`", () if _is_key_error(details) else (Edit(path, meant),)),)
    if kind == "string_type" and isinstance(given, int | float) and not isinstance(given, bool):
        return (), tuple(_as_text(document, path, engines))
    if kind == "int_type" and isinstance(given, str) and _DECIMAL.fullmatch(given):
        return (), (Help(f"write `{int(given)}`, without quotes", (Edit(path, int(given)),)),)
    if kind == "tuple_type" and isinstance(given, str | int):
        notes, helps = value_advice(name, given, path, ())
        words = [str(edit.value) for help_ in helps for edit in help_.edits] or [str(given)]
        return notes, tuple(Help(f"write `[{word}]`", (Edit(path, (word,)),) if helps else ()) for word in words)
    return (), ()


_DECIMAL = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


def _as_text(document: Document, path: Path, engines: Advisors) -> Iterator[Help]:
    """What YAML reads as a number, as the file has it: `8.0` and `8.00` are one number and two texts."""
    text = document.text(path)
    meant: tuple[str, ...] = ()
    if path[:1] == ("engine",) and path[-1] in ENGINE_NAMES:  # 0.33 for 0.33.0, 10434 for b10434
        releases = engines[str(path[-1])].releases if path[-1] in engines else ()
        meant = tuple(each for each in releases if each.startswith(f"{text}.") or each == f"b{text}")
    elif path[:1] == ("nodes",) and path[-1] == "model":  # 4090
        meant = same_gpus(text)
    elif _is_model(path):
        meant = ()
    elif text:
        meant = (text,)
    for each in meant:
        shown = f'"{each}"' if each == text else each
        yield Help(f"write `{shown}`", (Edit(path, each),))


def _is_key_error(details: ErrorDetails) -> bool:
    return "[key]" in details["loc"]


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str | int | float | bool) else ""
