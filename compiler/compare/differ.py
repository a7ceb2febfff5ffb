"""The difference of two versions of a tree: facts of the plan, files, and what an upgrade restarts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from compiler.compare.containers import container_restarts
from compiler.compare.facts import Path, Value, facts_of, is_derived, thing_of, title_of, words_of
from compiler.compare.restarts import Restart, has_units, restarts
from compiler.compare.versions import Version

# In this order things are told; what is not named comes after these.
_ORDER = ("verdict", "engine", "node", "services", "devices", "gateway", "monitoring", "images")
# Of a thing's facts these come first.
_FIRST = ("model", "commit", "quantization", "context", "concurrency", "KV cache", "GPUs")
LIBRARY = "_lib"
"""In the place of a tree's folder: what the trees of an output share."""
# What all units of a stack depend on.
_SHARED = ("engine", "node", "paths", "user", "secrets", "stack")


class Kind(StrEnum):
    """What became of a tree or a thing."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference of two plans.

    Attributes:
        thing: the path of what it is about: `services`, `chat`.
        path: of the fact; that of the thing where the whole of it came or went.
        before: None where there was nothing.
        is_derived: whether it follows from other facts.
    """

    thing: Path
    path: Path
    kind: Kind
    before: Value | None = None
    after: Value | None = None
    is_derived: bool = False

    @property
    def title(self) -> str:
        """The thing, for people; empty for the plan itself."""
        return title_of(self.thing)

    @property
    def words(self) -> str:
        """The fact, for people; empty where it is the thing."""
        return "" if self.path == self.thing and len(self.thing) > 1 else words_of(self.path)


@dataclass(frozen=True, slots=True)
class TreeDiff:
    """What became of the tree of one node. Byte values are bytes, times seconds, lengths tokens, as in the plan.

    Attributes:
        tree: its folder below the output.
        is_readable: whether both versions have a plan that could be compared.
        files: what became of each file that is not the same, by path; what it shares is told of the library.
    """

    tree: str
    kind: Kind
    changes: tuple[Change, ...]
    restarts: tuple[Restart, ...]
    files: Mapping[str, Kind]
    is_readable: bool = True

    @property
    def is_library(self) -> bool:
        """Whether it is no tree, but what all trees share."""
        return self.tree == LIBRARY

    def causes(self, restart: Restart) -> tuple[Change, ...]:
        """The changes for which a unit stops or reloads: its own, else those of what all units share."""
        own = ("gateway",) if restart.service == "gateway" else ("services", restart.service)
        of_it = [change for change in self.changes if change.thing == own]
        shared = [change for change in self.changes if change.thing[0] in _SHARED]
        found = [change for change in (*of_it, *shared) if not change.is_derived]
        return tuple(found or of_it or shared)


def differences(old: Mapping[str, Version], new: Mapping[str, Version]) -> tuple[TreeDiff, ...]:
    """What became of each tree that is not the same, by its folder, and before them of what they share."""
    found = (_tree(name, old.get(name), new.get(name)) for name in sorted({*old, *new}))
    return (*_libraries(old, new), *(each for each in found if each is not None))


def _libraries(old: Mapping[str, Version], new: Mapping[str, Version]) -> tuple[TreeDiff, ...]:
    """Each change of a library once, however many trees it is in. One that no tree had, or has, is no change."""
    found: list[TreeDiff] = []
    for name in sorted({*old} & {*new}):
        files = _files(old[name].library, new[name].library)
        diff = TreeDiff(LIBRARY, Kind.CHANGED, (), (), files)
        if files and diff not in found:
            found.append(diff)
    return tuple(found)


def _tree(name: str, old: Version | None, new: Version | None) -> TreeDiff | None:
    if old is None or new is None:
        only, kind = (old, Kind.REMOVED) if new is None else (new, Kind.ADDED)
        return None if only is None else _whole(name, kind, only)
    files, restarted = _files(old.own, new.own), _restarted(old, new)
    if not files and not restarted:
        return None
    before, after = _facts(old), _facts(new)
    is_readable = before is not None and after is not None
    changes = () if before is None or after is None else _changes(before, after)
    return TreeDiff(name, Kind.CHANGED, changes, restarted, files, is_readable=is_readable)


def _restarted(old: Version, new: Version) -> tuple[Restart, ...]:
    """Where units are written, containers are the other way to run the same servers."""
    return restarts(old, new) or (() if has_units(old) or has_units(new) else container_restarts(old, new))


def _whole(name: str, kind: Kind, version: Version) -> TreeDiff:
    """A tree that came or went, with its services."""
    facts = _facts(version)
    services = dict.fromkeys(thing_of(path) for path in facts or () if path[0] == "services")
    changes = tuple(Change(thing, thing, kind) for thing in services)
    return TreeDiff(name, kind, changes, (), dict.fromkeys(sorted(version.own), kind), is_readable=facts is not None)


def _facts(version: Version) -> dict[Path, Value] | None:
    plan = version.plan
    try:
        return None if plan is None else facts_of(plan)
    except RecursionError:
        return None


def _files(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for path in sorted({*old, *new}):
        if path not in old or path not in new:
            found[path] = Kind.ADDED if path in new else Kind.REMOVED
        elif old[path] != new[path]:
            found[path] = Kind.CHANGED
    return found


def _changes(old: Mapping[Path, Value], new: Mapping[Path, Value]) -> tuple[Change, ...]:
    return tuple(sorted(_found(old, new), key=_rank))


def _found(old: Mapping[Path, Value], new: Mapping[Path, Value]) -> Iterator[Change]:
    things = [{thing_of(path) for path in facts} for facts in (old, new)]
    for thing in things[0] ^ things[1]:
        yield Change(thing, thing, Kind.ADDED if thing in things[1] else Kind.REMOVED, old.get(thing), new.get(thing))
    for path in {*old, *new}:
        thing = thing_of(path)
        if thing in things[0] & things[1] and old.get(path) != new.get(path):
            kind = Kind.CHANGED if path in old and path in new else Kind.ADDED if path in new else Kind.REMOVED
            before_after = old.get(path), new.get(path)
            yield Change(thing, path, kind, *before_after, is_derived=is_derived(path, *before_after))


def _rank(change: Change) -> tuple[object, ...]:
    place = _ORDER.index(change.thing[0]) if change.thing[0] in _ORDER else len(_ORDER)
    words = change.words
    first = _FIRST.index(words) if words in _FIRST else len(_FIRST)
    return change.is_derived, place, change.kind is Kind.CHANGED, change.thing, first, change.path
