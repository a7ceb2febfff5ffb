"""How findings of each code are taken in one run. Whatever else may decide on a level does so here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from compiler.diagnostics.catalogue import CODES, Severity
from compiler.diagnostics.model import Diagnostic


class Level(StrEnum):
    """What a warning does: nothing that people are told, a line, or the end of the run."""

    ALLOW = "allow"
    WARN = "warn"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Rule:
    """A level, and what sets it: the option as it is typed, or the key of a file."""

    level: Level
    by: str


DENY_WARNINGS = Rule(Level.DENY, "--deny-warnings")


@dataclass(frozen=True, slots=True)
class Levels:
    """The level of each warning that has a rule; `rest` is for the others. Errors are errors always."""

    of: Mapping[str, Rule] = field(default_factory=dict)
    rest: Rule | None = None

    @property
    def words(self) -> list[str]:
        """The options of the command line that say so; what a file says, it says again."""
        rules = (*self.of.values(), *(() if self.rest is None else (self.rest,)))
        return [word for rule in rules if rule.by.startswith("--") for word in rule.by.split()]

    def over(self, other: Levels) -> Levels:
        """These, and those of `other` where these have no rule."""
        return Levels({**other.of, **self.of}, self.rest or other.rest)

    def applied(self, diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """The findings as this run takes them."""
        return tuple(self._applied(each) for each in diagnostics)

    def _applied(self, diagnostic: Diagnostic) -> Diagnostic:
        rule = self.of.get(diagnostic.code, self.rest)
        if rule is None or diagnostic.severity is not Severity.WARNING:
            return diagnostic
        if rule.level is Level.DENY:
            return replace(diagnostic, denied_by=rule.by)
        return replace(diagnostic, allowed_by=rule.by) if rule.level is Level.ALLOW else diagnostic


def warning_code(given: str) -> str:
    """The code as the catalogue spells it.

    Raises:
        ValueError: it is no warning's.
    """
    code = given.upper()
    if code not in CODES or CODES[code].severity is not Severity.WARNING:
        known = ", ".join(code.code for code in CODES.values() if code.severity is Severity.WARNING)
        raise ValueError(f"no warning has the code {code}: there are {known}")
    return code


def level_of(given: object) -> Level:
    """The level of that name.

    Raises:
        ValueError: there is none.
    """
    try:
        return Level(str(given))
    except ValueError:
        raise ValueError(f"no level is called {given}: there are {', '.join(Level)}") from None


def denying(codes: Iterable[str]) -> Levels:
    """What `--deny CODE` says, for each.

    Raises:
        ValueError: one of them is no warning's.
    """
    return Levels({code: Rule(Level.DENY, f"--deny {code}") for code in map(warning_code, codes)})


def setting(pairs: Iterable[str]) -> Levels:
    """What `--warnings CODE=LEVEL` says, for each; the last one of a code counts.

    Raises:
        ValueError: a pair is none, or holds no warning's code or no level.
    """
    rules = {}
    for pair in pairs:
        code, is_pair, level = pair.partition("=")
        if not is_pair:
            raise ValueError(f"{pair} is not CODE=LEVEL, such as W0301=deny")
        known = warning_code(code)
        rules[known] = Rule(level_of(level), f"--warnings {known}={level_of(level)}")
    return Levels(rules)


WARNING = Levels()
"""Every warning is one."""
