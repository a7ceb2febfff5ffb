"""Where facts come from: a folder, the previous lock, the cache, or the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compiler.lock.models import ModelFacts, lock_key, repository_of
from compiler.resolve.answers import (
    AccessError,
    ConfigError,
    GoneError,
    MalformedError,
    MissingError,
    Repository,
    SourceError,
    UnavailableError,
    UnknownNameError,
    plain,
)
from compiler.resolve.cache import Cache, Listing
from compiler.resolve.parallel import by_name
from compiler.resolve.reading.facts import read_facts
from compiler.resolve.reading.folder import folder_facts, is_folder
from compiler.resolve.transport.hub import Hub
from compiler.resolve.transport.room import Room

# What reading values of another type or size than they should have raises.
_UNUSABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

# A key of the lock with its facts, or why there are none.
Found = tuple[str, ModelFacts] | SourceError


@dataclass(frozen=True, slots=True)
class Source:
    """Answers what a repository, or one branch of it, is.

    Attributes:
        known: models of the previous lock. Their commits stay, and what they confirm is not asked again.
        upgrade: move to the newest commits instead.
        copies: of folders that lie elsewhere, by their paths there.
        room: what all models of one lock may take.
        models: which model of the spec a key is asked for, where that is known beforehand.
        told: the models that were told as being read, by the first of their keys.
    """

    hub: Hub
    cache: Cache
    known: Mapping[str, ModelFacts] = field(default_factory=dict)
    upgrade: bool = False
    copies: Mapping[str, Path] = field(default_factory=dict)
    room: Room = field(default_factory=Room)
    models: Mapping[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    def find(self, key: str) -> Found:
        """Facts of one repository, `repository@branch` or folder."""
        try:
            if is_folder(key):
                return key, folder_facts(key, self.copies.get(key.rstrip("/")))
            return self._offline(key) if self.hub.is_offline else self._on_hub(key)
        except SourceError as error:
            return _alone(_told_with_lock(key, error, self.known.get(key)))
        except _UNUSABLE as error:
            # Whatever a stranger writes, it concerns the stranger's repository alone.
            note = f"{type(error).__name__}: {plain(error)}"
            return ConfigError(f"what `{plain(key)}` says of itself cannot be used", (note,))

    def find_all(self, keys: Iterable[str]) -> dict[str, Found]:
        """Facts of several, each asked for once."""
        different = sorted(set(keys))
        self.hub.progress.expect(len(different))
        return by_name(self._find_and_tell, different)

    def _find_and_tell(self, key: str) -> Found:
        found = self.find(key)
        self.hub.progress.advance()
        return found

    def variants(self, name: str) -> tuple[str, ...] | SourceError:
        """Names that the Hub lists as quantized from a model."""
        return self._listing("variants", name, self.hub.quantized_variants)

    def branches(self, name: str) -> tuple[str, ...] | SourceError:
        """Branches of a repository beside `main`."""
        return self._listing("branches", name, self.hub.branches)

    def _listing(
        self, kind: Listing, name: str, ask: Callable[[str], tuple[str, ...]]
    ) -> tuple[str, ...] | SourceError:
        if self.hub.is_offline:
            known = self.cache.listing(kind, name)
            return _not_here(f"the list of {kind} of `{plain(name)}`") if known is None else known
        try:
            found = ask(name)
        except SourceError as error:
            return error
        self.cache.keep_listing(kind, name, found)
        return found

    def _offline(self, key: str) -> tuple[str, ModelFacts]:
        if self.upgrade:
            raise _not_here(f"a newer commit of `{plain(key)}`")
        if key in self.known:
            return key, self.known[key]
        head = self.cache.head(key)
        if head is None:
            raise _not_here(f"`{plain(key)}`")
        if head.name is None:
            raise UnknownNameError(f"the Hub had no model `{plain(key)}` when it was last asked")
        branch = _branch_of(key)
        facts = self.cache.facts(head.name, branch, head.commit)
        if facts is None:
            raise _not_here(f"`{plain(key)}` at commit {plain(head.commit)}")
        return lock_key(head.name, branch), facts

    def _on_hub(self, key: str) -> tuple[str, ModelFacts]:
        known = self.known.get(key)
        if known is not None and self._is_sure(known) and not self.upgrade:
            return key, known
        repository = self._repository(key, known)
        return lock_key(repository.name, repository.branch), self._facts(repository, known)

    def _is_sure(self, known: ModelFacts) -> bool:
        return not known.unconfirmed and known.source == self.hub.source

    def _repository(self, key: str, known: ModelFacts | None) -> Repository:
        """What the Hub lists, at the commit of the lock unless that is to move."""
        name, branch = repository_of(key), _branch_of(key)
        pinned = known.commit if known is not None and known.is_pinned and not self.upgrade else None
        self._tell(key)
        try:
            repository = self.hub.repository(name, pinned or branch, branch=branch)
        except UnknownNameError:
            self.cache.keep_head(key, None)
            raise
        if pinned is not None and repository.commit not in (None, pinned):
            raise MalformedError(
                f"the Hub answered about another commit of `{plain(name)}`",
                (f"asked for {pinned}, and it answered {plain(repository.commit)}",),
                ("try again; if it persists, check HF_ENDPOINT",),
            )
        if pinned is None:
            self.cache.keep_head(key, repository)
        return repository

    def _tell(self, key: str) -> None:
        """One line for a model of the spec; its variants, and names that are only guessed, are details."""
        model = self.models.get(key, key)
        is_first = key in self.models and self.told.setdefault(model, key) == key
        if is_first:
            self.hub.progress.say(f"reading {plain(model)}")
        if not is_first or key != model:
            self.hub.progress.detail(f"reading {plain(key)}")

    def _facts(self, repository: Repository, known: ModelFacts | None) -> ModelFacts:
        if known is not None and self._is_sure(known) and known.commit == repository.commit:
            facts: ModelFacts | None = known
        else:
            facts = self.cache.facts(repository.name, repository.branch, repository.commit)
        if facts is None:
            with self.room.reading(repository.name) as allowance:
                facts = read_facts(repository, self.hub.reader(repository, allowance))
                self.room.keep(lock_key(repository.name, repository.branch), facts)
            self.cache.keep_facts(repository.name, facts)
        # All but the gate belongs to the commit.
        return facts.model_copy(update={"gated": repository.gated})


def _alone(error: SourceError) -> SourceError:
    """A failure without the frames that it came through: they hold all that was read until then."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def _told_with_lock(key: str, error: SourceError, known: ModelFacts | None) -> SourceError:
    """A failure about a model that an earlier lock has: what changed since."""
    if known is None or known.source == "folder":
        return error
    commit = f"commit {known.commit}" if known.commit else "its facts"
    if isinstance(error, UnknownNameError):
        note = f"the lock has {commit}: it was removed, made private, or renamed without a trace since"
        helps = (
            "nodes that hold its files in their caches can go on serving it",
            "for new nodes name another model, or look for other variants with `stackc lock --upgrade`",
        )
        return MissingError(f"the Hub has no model `{plain(key)}` any more", (*error.notes, note), helps)
    if isinstance(error, GoneError):
        note = f"the lock has {commit}; the repository's history was rewritten, or the branch deleted, since"
        return GoneError(error.message, (*error.notes, note), error.helps)
    if isinstance(error, AccessError) and not known.gated:
        note = "it was open to everybody when the lock was written"
        return AccessError(error.message, (*error.notes, note), error.helps)
    return error


def _branch_of(key: str) -> str | None:
    return key.partition("@")[2] or None


def _not_here(what: str) -> UnavailableError:
    return UnavailableError(
        f"{what} is not known here, and HF_HUB_OFFLINE is set",
        ("it is neither in the lock nor in the cache",),
        ("run `stackc lock` once without HF_HUB_OFFLINE",),
    )
