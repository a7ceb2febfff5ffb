"""Facts of a plan that an artifact must hold, whatever template it was rendered with, and how they are found in it.

A fact is looked for in what a real reader of the syntax finds, so a value in a comment, or one that is set again
further down, does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from compiler.render.artifact import Artifact
from compiler.render.quoting import ShellVariable
from compiler.render.syntax import (
    BashWord,
    Expansion,
    ReadError,
    UnitFile,
    read_bash_array,
    read_bash_assignments,
    read_systemd_value,
    read_systemd_words,
    read_unit,
)

Word = str | ShellVariable


@dataclass(frozen=True, slots=True)
class Directive:
    """`key=value` of a unit's section. Of a key with one value the last one counts; of a list any does."""

    section: str
    key: str
    value: str
    is_listed: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A command line of a unit's `[Service]`, as words."""

    key: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a unit's environment; of several assignments the last one counts."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the command line in a launch script, each a line of words, in any order and none of them twice."""

    lines: tuple[tuple[Word, ...], ...]


@dataclass(frozen=True, slots=True)
class Assigned:
    """A value that a shell script gives to a variable, or the end of what it computes for it."""

    name: str
    value: str
    is_suffix: bool = False


UnitFact = Directive | Command | Variable
ScriptFact = Options | Assigned
Fact = UnitFact | ScriptFact


@dataclass(frozen=True, slots=True)
class Expected:
    """The facts of one artifact, all of one syntax."""

    path: PurePosixPath
    facts: tuple[Fact, ...]


def lost_facts(artifact: Artifact, facts: Sequence[Fact]) -> tuple[str, ...]:
    """What the artifact does not say, one line each; a text that cannot be read has lost everything."""
    try:
        return tuple(_lost(artifact.text, facts))
    except ReadError as error:
        return (f"it cannot be read: {error}",)


def _lost(text: str, facts: Sequence[Fact]) -> Iterator[str]:
    """Each fact is given to the reader of its syntax; an artifact has one, so the others read nothing."""
    of_unit = [fact for fact in facts if isinstance(fact, Directive | Command | Variable)]
    unit = read_unit(text) if of_unit else UnitFile(())
    for unit_fact in of_unit:
        yield from _lost_of_unit(unit, unit_fact)
    yield from _lost_of_script(text, [fact for fact in facts if isinstance(fact, Options | Assigned)])


def _lost_of_unit(unit: UnitFile, fact: UnitFact) -> Iterator[str]:
    match fact:
        case Directive():
            values = tuple(map(_value, unit.values(fact.section, fact.key)))
            if fact.value not in (values if fact.is_listed else values[-1:]):
                yield f"[{fact.section}] {fact.key}={fact.value} is missing{_instead(values)}"
        case Command():
            values = unit.values("Service", fact.key)
            # `-`, `+` and the like before the program are the template's to choose.
            if fact.words not in (_words(value.lstrip("@-:+!"), is_command=True) for value in values):
                yield f"[Service] {fact.key}={' '.join(fact.words)} is missing{_instead(values)}"
        case Variable():
            lines = unit.values("Service", "Environment")
            words = [word for line in lines for word in _words(line, is_command=False)]
            given = [word.partition("=")[2] for word in words if word.partition("=")[0] == fact.name]
            if given[-1:] != [fact.value]:
                yield f"[Service] Environment={fact.name}={fact.value} is missing{_instead(given)}"


# A specifier or a variable may stand in what a spec or a template adds; it is then nothing that the plan says.
def _value(value: str) -> str:
    try:
        return read_systemd_value(value)
    except ReadError:
        return value


@lru_cache(maxsize=1024)  # each variable that is looked for reads every line of a unit
def _words(value: str, *, is_command: bool) -> tuple[str, ...]:
    try:
        return read_systemd_words(value, is_command=is_command)
    except ReadError:
        return tuple(value.split())


def _instead(values: Sequence[object]) -> str:
    return f"; it has {', '.join(map(str, values))}" if values else ""


def _lost_of_script(text: str, facts: Sequence[ScriptFact]) -> Iterator[str]:
    assigned = read_bash_assignments(text) if facts else {}
    for fact in facts:
        match fact:
            case Options():
                yield from _lost_options(read_bash_array(text, "command"), fact.lines)
            case Assigned():
                values = assigned.get(fact.name, ())
                if not any(_is_assigned(value, fact) for value in values):
                    what = f"{fact.name}={'…' if fact.is_suffix else ''}{fact.value}"
                    yield f"{what} is missing{_instead([_shown(value) for value in values])}"


def _is_assigned(value: BashWord, fact: Assigned) -> bool:
    if fact.is_suffix and isinstance(value, Expansion):
        return value.text.strip('"').rstrip("}").endswith(fact.value)
    return value == fact.value


def _lost_options(words: Sequence[BashWord], lines: Sequence[tuple[Word, ...]]) -> Iterator[str]:
    for line in lines:
        wanted = " ".join(map(_shown, line))
        flag = str(line[0]).partition("=")[0]
        given = [index for index, word in enumerate(words) if str(word).partition("=")[0] == flag]
        if not any(tuple(words[index : index + len(line)]) == line for index in given):
            yield f"the option {wanted} is missing"
        elif len(given) > sum(str(other[0]).partition("=")[0] == flag for other in lines):
            yield f"the option {wanted} is there more than once, and the last one would count"


def _shown(word: object) -> str:
    match word:
        case ShellVariable():
            return f"${word.name}"
        case Expansion():
            return word.text
        case _:
            return str(word)


def lost_entries(own: str, text: str, free: frozenset[str]) -> tuple[str, ...]:
    """What one YAML file has and the other does not say: keys and items may come on top, but none may change.

    Args:
        free: keys, at any depth, below which everything may differ.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        return tuple(_lost_below((), yaml.load(own), yaml.load(text), free))
    except YAMLError as error:
        return (f"it cannot be read: {' '.join(str(error).split())}",)


def _lost_below(path: tuple[str, ...], own: Any, found: Any, free: frozenset[str]) -> Iterator[str]:
    match own, found:
        case dict(), dict():
            for key in (key for key in own if key not in free):
                yield from _lost_below((*path, str(key)), own[key], found.get(key), free)
        case list(), list():
            for item in own:
                if not any(not tuple(_lost_below((), item, other, free)) for other in found):
                    yield f"{'.'.join(path)}: {item} is missing"
        case _ if own != found:
            yield f"{'.'.join(path)}: {own} is missing{'' if found is None else f'; it has {found}'}"
        case _:
            pass
