"""A finding of the solver before it is given its place in the file and its remedies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

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


class Cost(IntEnum):
    """What a change costs the user, the least first: in this order changes are offered where memory is short."""

    SEATS_THAT_FIT = 0
    BATCH = 1
    CONCURRENCY = 2
    CONTEXT = 3
    EVERYTHING = 4
    OTHER_GPUS = 5
    SPEED = 6
    CACHE_PRECISION = 7
    MEDIA = 8
    VARIANT = 9
    MORE_GPUS = 10
    LARGER_GPU = 11
    RISK = 12


@dataclass(frozen=True, slots=True)
class Relief:
    """A remedy for a lack of memory, with what it costs."""

    cost: Cost
    remedy: Remedy


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
