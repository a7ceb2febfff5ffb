"""The options of `llama-server` by build: which exist, what they take, and how a value is written.

The data is `releases/BUILD/options.json`, extracted from the program itself by `tools/extract_llama_options.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, Final

Default = bool | int | float | str | None


class Kind(StrEnum):
    """What an option takes. An integer or word is a number, or one of the option's choices."""

    SWITCH = "switch"
    BOOLEAN = "boolean"
    INT = "int"
    INT_OR_WORD = "int-or-word"
    FLOAT = "float"
    STRING = "string"
    JSON = "json"


class Many(StrEnum):
    """How many values an option takes: one, several in one word with commas between them, or two words.

    None is given twice: the last would win, with a warning (common/arg.cpp:common_params_parse_ex, b10435).
    """

    ONE = ""
    COMMAS = "commas"
    PAIR = "pair"


@dataclass(frozen=True, slots=True)
class Flag:
    """One option of `llama-server`.

    Attributes:
        name: the first long spelling, such as `--ctx-size`.
        group: the help's section.
        aliases: other spellings with the same meaning, such as `-c`.
        off: spellings that switch a boolean off, the one to write first.
        choices: the only values that the parser takes; of an integer or word, the words.
        known: values that the help names and the parser does not enforce.
        default: None also where it depends on the model, on the machine or on another option.
        environment: the variable that sets it where the command line does not; None if it has none.
        is_deprecated: it still works.
        replacements: what to write instead of one that the parser refuses by name; `*` stands for several names.
    """

    name: str
    kind: Kind
    group: str = ""
    many: Many = Many.ONE
    aliases: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    default: Default = field(default=None, hash=False)
    environment: str | None = None
    is_deprecated: bool = False
    replacements: tuple[str, ...] = ()

    @property
    def is_removed(self) -> bool:
        """Whether the program ends when it meets it."""
        return bool(self.replacements)


@dataclass(frozen=True, slots=True)
class FlagCatalog:
    """Every option of one build. `flags` is sorted by name."""

    version: str
    flags: tuple[Flag, ...]
    by_spelling: Mapping[str, Flag] = field(compare=False, repr=False)

    def find(self, name: str) -> Flag | None:
        """The option that `ctx_size`, `ctx-size`, `--ctx-size` or `-c` names; None also for one that is removed.

        A spelling that switches off, such as `no-mmap`, is not found: a spec says `mmap: false`, so that one option has
        one key. `nearest` and `hint` lead there.
        """
        spelling = _spelling(name)
        flag = self.by_spelling.get(spelling)
        return None if flag is None or flag.is_removed or spelling in flag.off else flag

    def nearest(self, name: str) -> tuple[str, ...]:
        """Options that the writer of an unknown `name` may have meant, likeliest first; at most three."""
        spelling = _spelling(name)
        if flag := self.by_spelling.get(spelling):
            return tuple(filter(self.find, flag.replacements)) if flag.is_removed else (flag.name,)
        return tuple(get_close_matches(spelling, [flag.name for flag in self.flags if not flag.is_removed], 3, 0.75))

    def hint(self, name: str) -> str | None:
        """What to know about an option that is removed or has another spelling, as a half-sentence."""
        spelling = _spelling(name)
        flag = self.by_spelling.get(spelling)
        if flag is None:
            return None
        if flag.is_removed:
            return f"llama.cpp removed it: use {' or '.join(flag.replacements)}"
        return f"write `{flag.name.removeprefix('--')}: false`" if spelling in flag.off else None


def _spelling(name: str) -> str:
    """As the command line has it: there, a short spelling stands after one dash, and `_` is `-` in a long one."""
    if name.startswith("-") and not name.startswith("--"):
        return name
    return f"--{name.removeprefix('--').replace('_', '-')}"


@cache
def load_flags(version: str) -> FlagCatalog:
    """The options of a build in the catalog, such as `b10434`.

    Raises:
        FileNotFoundError: the catalog does not have this build.
    """
    path = files("compiler.engines.llama_cpp") / "releases" / version / "options.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    flags = tuple(_flag(record) for record in data["options"])
    spellings = {each: flag for flag in flags for each in (flag.name, *flag.aliases, *flag.off)}
    return FlagCatalog(data["llama_cpp"], flags, spellings)


def _flag(record: Mapping[str, Any]) -> Flag:
    return Flag(
        name=record["name"],
        kind=Kind(record["kind"]),
        group=record["group"],
        many=Many(record.get("many", "")),
        aliases=tuple(record.get("aliases", ())),
        off=tuple(record.get("off", ())),
        choices=tuple(record.get("choices", ())),
        known=tuple(record.get("known", ())),
        default=record.get("default"),
        environment=record.get("environment"),
        is_deprecated=record.get("deprecated", False),
        replacements=tuple(record.get("replacements", ())),
    )


def check_value(flag: Flag, value: object) -> str | None:
    """Why the option does not take a value that a spec gives it, as a half-sentence; None if it does.

    It is stricter than the program where that reads what nobody means: `1.5` of a whole number as 1, and `12abc` as 12
    (std::stoi). What the program refuses after it has parsed all options is not known here.
    """
    if flag.kind is Kind.SWITCH:
        return None if value is True else "it can only be switched on: write true, or leave it out"
    if flag.kind is Kind.BOOLEAN:
        return None if isinstance(value, bool) else "it takes true or false"
    if value is None:
        return "it needs a value: leave the key out for llama-server's default"
    if flag.many is Many.PAIR:
        return _check_pair(flag, value)
    if flag.many is Many.COMMAS:
        return _check_several(flag, value)
    return _check_one(flag, value)


def _check_pair(flag: Flag, value: object) -> str | None:
    if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004 - a pair
        return "it takes a list of two values"
    return next((reason for each in value if (reason := _check_one(flag, each))), None)


def _check_several(flag: Flag, value: object) -> str | None:
    """The program splits the word at its commas, so no value can hold one."""
    values = value if isinstance(value, list) else str(value).split(",") if isinstance(value, str) else [value]
    if not values:
        return "it takes one value or more"
    if isinstance(value, list) and any("," in each for each in value if isinstance(each, str)):
        return "no value of its list can hold a comma"
    if flag.kind in (Kind.INT, Kind.FLOAT):
        values = [_number(each) for each in values]
    return next((reason for each in values if (reason := _check_one(flag, each))), None)


def _number(value: object) -> object:
    """The number that a part of a text writes; the part itself where it writes none."""
    if not isinstance(value, str):
        return value
    for reader in (int, float):
        try:
            return reader(value)
        except ValueError:
            continue
    return value


def _check_one(flag: Flag, value: object) -> str | None:
    if not _CHECKS[flag.kind](value):
        if flag.kind is Kind.INT_OR_WORD and value in flag.choices:
            return None
        return f"it takes {_WANTED[flag.kind]}{_or_words(flag)}"
    if flag.kind is Kind.STRING and flag.choices and value not in flag.choices:
        return f"it takes one of {', '.join(flag.choices)}"
    return None


def _or_words(flag: Flag) -> str:
    return f", or {' or '.join(flag.choices)}" if flag.kind is Kind.INT_OR_WORD else ""


def render(flag: Flag, value: Any) -> tuple[str, ...]:
    """The option and its value as words of the command line.

    Args:
        flag: of the catalog.
        value: one that `check_value` accepts.
    """
    if isinstance(value, bool):
        return (flag.name if value else flag.off[0],)
    if flag.kind is Kind.JSON and not isinstance(value, str):
        return flag.name, json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    if flag.many is Many.PAIR:
        return flag.name, *map(str, value)
    return flag.name, ",".join(map(str, value)) if isinstance(value, list) else str(value)


# std::stoi reads an int of 32 bits, and ends the program at any other.
_LEAST, _MOST = -(2**31), 2**31 - 1


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and _LEAST <= value <= _MOST


def _is_float(value: object) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _is_string(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_json(value: object) -> bool:
    try:
        return isinstance(json.loads(value) if isinstance(value, str) else value, dict) and bool(
            json.dumps(value, allow_nan=False)
        )
    except (TypeError, ValueError, RecursionError):
        return False


_CHECKS: Final[Mapping[Kind, Callable[[object], bool]]] = {
    Kind.INT: _is_int,
    Kind.INT_OR_WORD: _is_int,
    Kind.FLOAT: _is_float,
    Kind.STRING: _is_string,
    Kind.JSON: _is_json,
}
_WANTED: Final[Mapping[Kind, str]] = {
    Kind.INT: "a whole number of 32 bits",
    Kind.INT_OR_WORD: "a whole number of 32 bits",
    Kind.FLOAT: "a number",
    Kind.STRING: "text: put it in quotes if YAML reads it as something else",
    Kind.JSON: "a mapping, or one as JSON in quotes",
}
