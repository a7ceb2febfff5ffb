"""How findings of each code are taken in one run. Whatever else may decide on a level does so here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from compiler.diagnostics.catalogue import CODES, Severity
from compiler.diagnostics.model import Diagnostic


class Level(StrEnum):
    """What a warning does."""

    WARN = "warn"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Levels:
    """The level of each warning that is not `warn`; errors are errors always."""

    of: Mapping[str, Level] = field(default_factory=dict)

    @classmethod
    def denying(cls, codes: Iterable[str]) -> Levels:
        """Those codes are errors.

        Raises:
            ValueError: one of them is no warning's.
        """
        wanted = [code.upper() for code in codes]
        unknown = [code for code in wanted if code not in CODES or CODES[code].severity is not Severity.WARNING]
        if unknown:
            known = ", ".join(code.code for code in CODES.values() if code.severity is Severity.WARNING)
            raise ValueError(f"no warning has the code {', '.join(unknown)}: there are {known}")
        return cls(dict.fromkeys(wanted, Level.DENY))

    @property
    def words(self) -> list[str]:
        """The options that say so."""
        return [word for code in self.of for word in ("--deny", code)]

    def applied(self, diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """The findings as this run takes them."""
        return tuple(self._applied(each) for each in diagnostics)

    def _applied(self, diagnostic: Diagnostic) -> Diagnostic:
        is_warning = diagnostic.severity is Severity.WARNING
        if is_warning and self.of.get(diagnostic.code) is Level.DENY:
            return replace(diagnostic, denied_by=f"--deny {diagnostic.code}")
        return diagnostic


WARNING = Levels()
"""Every warning is one."""
