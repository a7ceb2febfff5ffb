"""The options of an engine's command line: which exist, what they take, and how a value is written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What an option takes. A human int is one with a suffix: 32k is 32000 and 32K is 32768."""

    SWITCH = "switch"
    BOOLEAN = "boolean"
    INT = "int"
    HUMAN_INT = "human-int"
    HUMAN_INT_OR_AUTO = "human-int-or-auto"
    FLOAT = "float"
    STRING = "string"
    JSON = "json"
    JSON_OR_STRING = "json-or-string"


class Many(StrEnum):
    """How many values an option takes: exactly one, at most one, one or more, or one each time it is repeated."""

    ONE = ""
    AT_MOST_ONE = "?"
    SEVERAL = "+"
    REPEATED = "repeat"


@dataclass(frozen=True, slots=True)
class Flag:
    """One option of an engine's server.

    Attributes:
        name: with dashes, such as `--max-model-len`.
        group: the part of the engine that it sets, such as a configuration class of vLLM; empty where there is none.
        aliases: other spellings with the same meaning.
        off: spellings that switch a boolean off, the one to write first.
        choices: the only values that the parser takes; empty if it does not check.
        known: values that the engine names without enforcing them.
        registered: names that the engine has; another one passes the parser and is refused when the server starts.
        default: None also where the default is an object or is worked out at the start.
    """

    name: str
    kind: Kind
    group: str = ""
    many: Many = Many.ONE
    aliases: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    choices: tuple[str | int, ...] = ()
    known: tuple[str, ...] = ()
    registered: tuple[str, ...] = ()
    default: Any = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of an option. `source` is where the engine says so."""

    text: str
    replacements: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class FlagCatalog:
    """Every option of one release.

    Attributes:
        version: of the engine.
        flags: sorted by name.
        removed: options of earlier releases, by name.
    """

    version: str
    flags: tuple[Flag, ...]
    removed: Mapping[str, Removal] = field(default_factory=dict, hash=False)

    def find(self, name: str) -> Flag | None:
        """The option that `swap_space`, `swap-space` or `--swap-space` names.

        A spelling that switches off, such as `no-enable-lora`, is not found: a spec says `enable-lora: false`, so that
        one option has one key. `nearest` and `hint` lead there.
        """
        spelling = _spelling(name)
        return next((flag for flag in self.flags if spelling == flag.name or spelling in flag.aliases), None)

    def nearest(self, name: str) -> tuple[str, ...]:
        """Options that the writer of an unknown `name` may have meant, likeliest first; at most three."""
        spelling = _spelling(name)
        if switched_off := self._switched_off_by(spelling):
            return (switched_off.name,)
        if removal := self.removed.get(spelling):
            return tuple(replacement for replacement in removal.replacements if self.find(replacement))
        # `compilation-config.mode` is a spelling on the command line for a key inside the option's JSON.
        if "." in spelling and (whole := self.find(spelling.partition(".")[0])):
            return (whole.name,)
        return tuple(get_close_matches(spelling, [flag.name for flag in self.flags], n=3, cutoff=0.75))

    def hint(self, name: str) -> str | None:
        """What to know about an option that does not exist any more or has another spelling, as a half-sentence."""
        spelling = _spelling(name)
        if switched_off := self._switched_off_by(spelling):
            return f"write `{_key(switched_off.name)}: false`"
        if removal := self.removed.get(spelling):
            return removal.text
        if "." in spelling and (whole := self.find(spelling.partition(".")[0])):
            return f"write the keys of `{_key(whole.name)}` as a mapping"
        return None

    def _switched_off_by(self, spelling: str) -> Flag | None:
        return next((flag for flag in self.flags if spelling in flag.off), None)


def _spelling(name: str) -> str:
    if name.startswith("-") and not name.startswith("--"):
        return name
    option, dot, key = name.removeprefix("--").partition(".")
    return f"--{option.replace('_', '-')}{dot}{key}"


def _key(name: str) -> str:
    return name.removeprefix("--")


def read_flags(version: str, records: Iterable[dict[str, Any]], removed: Mapping[str, Removal]) -> FlagCatalog:
    """The options of a release from its extracted data.

    Args:
        version: of the engine.
        records: an object for each option; a field that says nothing is left out.
        removed: what became of options that the release has not.

    Raises:
        KeyError: an option has no name or no kind.
        ValueError: a kind or a number of values is none of those known.
    """
    return FlagCatalog(version, tuple(map(_flag, records)), removed)


def _flag(record: dict[str, Any]) -> Flag:
    return Flag(
        name=record["name"],
        kind=Kind(record["kind"]),
        group=record.get("group", ""),
        many=Many(record.get("many", "")),
        aliases=tuple(record.get("aliases", ())),
        off=tuple(record.get("off", ())),
        choices=tuple(record.get("choices", ())),
        known=tuple(record.get("known", ())),
        registered=tuple(record.get("registered", ())),
        default=record.get("default"),
    )


def check_value(flag: Flag, value: object) -> str | None:
    """Why the option does not take a value that a spec gives it, as a half-sentence; None if it does.

    Only what the engine's parser decides is checked: vLLM's takes a utilization of 1.5, and refuses it later.
    """
    if flag.kind is Kind.SWITCH:
        return None if value is True else "it can only be switched on: write true, or leave it out"
    if flag.kind is Kind.BOOLEAN:
        return None if isinstance(value, bool) else "it takes true or false"
    if value is None:
        return "it needs a value: leave the key out for its default"
    if flag.many is Many.AT_MOST_ONE and value is True:
        return None
    if flag.many in (Many.SEVERAL, Many.REPEATED) and isinstance(value, list):
        return _check_list(flag, value)
    if not _CHECKS[flag.kind](value):
        return f"it takes {_WANTED[flag.kind]}"
    return _check_choice(flag, value)


def _check_list(flag: Flag, values: list[object]) -> str | None:
    if len(values) != 1:
        return "stackc gives an option one value: list exactly one"
    if isinstance(values[0], list):
        return f"each entry is {_WANTED[flag.kind]}"
    return check_value(flag, values[0])


def _check_choice(flag: Flag, value: object) -> str | None:
    if not flag.choices or value in flag.choices:
        return None
    return f"it takes one of {', '.join(str(choice) for choice in flag.choices)}"


def render(flag: Flag, value: Any) -> tuple[str, str | None]:
    """The option and its value as words of the command line; None as the value of a switch.

    Args:
        flag: of the catalog.
        value: one that `check_value` accepts.
    """
    if isinstance(value, bool):
        return (flag.name if value else flag.off[0]), None
    if isinstance(value, list) and flag.many in (Many.SEVERAL, Many.REPEATED):
        return render(flag, value[0])
    if isinstance(value, dict | list):
        return flag.name, json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return flag.name, str(value)


# vllm/utils/argparse_utils.py:human_readable_int, 0.33.0: a decimal fraction goes with a decimal suffix only.
_HUMAN_INT = re.compile(r"-?\d+|\d+[KMGT]|\d+(\.\d+)?[kmgt]", re.ASCII)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_human_int(value: object) -> bool:
    return _is_int(value) or (isinstance(value, str) and _HUMAN_INT.fullmatch(value) is not None)


def _is_float(value: object) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _is_json(value: object) -> bool:
    if isinstance(value, str):
        return _reads_as_json(value)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return isinstance(value, dict | list)


def _reads_as_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


_CHECKS: dict[Kind, Callable[[object], bool]] = {
    Kind.INT: _is_int,
    Kind.HUMAN_INT: _is_human_int,
    Kind.HUMAN_INT_OR_AUTO: lambda value: value == "auto" or _is_human_int(value),
    Kind.FLOAT: _is_float,
    Kind.STRING: _is_string,
    Kind.JSON: _is_json,
    Kind.JSON_OR_STRING: lambda value: isinstance(value, str) or (isinstance(value, dict) and _is_json(value)),
}
_WANTED = {
    Kind.INT: "a whole number",
    Kind.HUMAN_INT: "a whole number, or one with a suffix such as 32K",
    Kind.HUMAN_INT_OR_AUTO: "a whole number, one with a suffix such as 32K, or auto",
    Kind.FLOAT: "a number",
    Kind.STRING: "text: put it in quotes if YAML reads it as something else",
    Kind.JSON: "a mapping or list, or JSON in quotes",
    Kind.JSON_OR_STRING: "text or a mapping",
}
