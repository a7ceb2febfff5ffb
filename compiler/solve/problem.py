"""A finding of the solver before it is given its place in the file and its remedies."""

from __future__ import annotations

from dataclasses import dataclass, field

from compiler.diagnostics import Edit


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a service cannot be compiled.

    Attributes:
        service: its name in the spec.
        path: below the service, the key that is at fault, such as ("context",).
        label: said at that place.
        candidate_edits: changes worth trying, each a whole remedy: its words and its edits. None is checked yet.
    """

    code: str
    service: str
    path: tuple[str | int, ...]
    message: str
    label: str = ""
    notes: tuple[str, ...] = ()
    candidate_edits: tuple[tuple[str, tuple[Edit, ...]], ...] = field(default=())
