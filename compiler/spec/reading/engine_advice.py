"""What engines say of a spec that is being read: which of them a place is about, and what it makes of a word there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from compiler.spec.engines import engine_by_default

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Foreign:
    """An answer to a key of another tool.

    Attributes:
        why: what the spec's key means, or what holds where there is none.
        key: of the same map, which says it; None where no key of it does.
        inside: a map of the same map that takes the key as it is, such as `engine_args`.
    """

    why: str
    key: str | None = None
    inside: str | None = None


OtherWords = tuple[tuple[str, tuple[str, ...], str], ...]
"""Patterns of a value without case and separators; what may be written instead; and what to know, or nothing."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a key of a service takes, by one engine.

    Attributes:
        known: every word, the usual ones first.
        others: words of other tools.
    """

    known: tuple[str, ...]
    others: OtherWords = ()


class Advisor(Protocol):
    """An engine, of which a spec asks no more than this."""

    @property
    def title(self) -> str:
        """As it is called in messages."""

    @property
    def releases(self) -> Mapping[str, object]:
        """Those that stackc knows, by name."""

    @property
    def words(self) -> Mapping[str, Words]:
        """By the key of a service."""

    def key_hint(self, name: str, release: str | None) -> Foreign | None:
        """What to say of a key that no service has; None where the engine knows nothing of it.

        Args:
            name: as it was written.
            release: that the spec pins, known or not; None where it pins none.
        """


Advisors = Mapping[str, Advisor]
"""By the key of `engine` in a spec."""


def adviser_of(data: Any, path: Path, advisors: Advisors) -> tuple[str, Advisor]:
    """The engine that runs the service at `path`, or what is above it; that of a spec that pins none is the first.

    Args:
        data: of the spec, as it was read.
        path: in it, or in the services that it stands for.
        advisors: at least one.
    """
    service = _at(data, path[:2])
    candidate = _at(data, path[:4]) if path[2:4] == ("rollout", "candidate") else None
    named = [each.get("engine") for each in (candidate, service) if isinstance(each, Mapping)]
    found = (name for name in (*named, engine_by_default(data, service)) if isinstance(name, str) and name in advisors)
    name = next(found, next(iter(advisors)))
    return name, advisors[name]


def release_of(data: Any, engine: str) -> str | None:
    """The release that a spec pins, where it is text."""
    pinned = _at(data, ("engine", engine))
    pinned = pinned.get("release") if isinstance(pinned, Mapping) else pinned
    return pinned if isinstance(pinned, str) else None


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data.get(part) if isinstance(data, Mapping) else None
    return data
