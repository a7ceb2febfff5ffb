"""A finding of the solver before it is given its place in the file and its remedies."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.diagnostics import Edit


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change worth trying, as a whole.

    Attributes:
        text: what it is called.
        kind: remedies of one kind differ in degree only; the mildest that works is offered.
        is_graded: each asks for less than the one before it: where the last of the kind does not help, none does.
    """

    text: str
    edits: tuple[Edit, ...]
    kind: str
    is_graded: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a service cannot be compiled.

    Attributes:
        service: its name in the spec.
        path: below the service, the key that is at fault, such as ("context",).
        label: said at that place.
        remedies: changes worth trying, cheapest first. None is checked yet.
    """

    code: str
    service: str
    path: tuple[str | int, ...]
    message: str
    label: str = ""
    notes: tuple[str, ...] = ()
    remedies: tuple[Remedy, ...] = ()
