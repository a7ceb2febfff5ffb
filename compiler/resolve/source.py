"""Where facts come from: a folder, the previous lock, the cache, or the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from compiler.gguf.sets import FileSet
from compiler.lock.models import ModelFacts, branch_of, file_of, lock_key, repository_of
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
from compiler.resolve.limits import GGUF_HEADERS_AT_ONCE, MAX_GGUF_PIECE
from compiler.resolve.parallel import by_name
from compiler.resolve.reading.facts import read_facts
from compiler.resolve.reading.folder import folder_facts, is_folder
from compiler.resolve.reading.gguf import RepositorySets, folder_sets, is_gguf_file
from compiler.resolve.transport.hub import Hub
from compiler.resolve.transport.room import Room

# What reading values of another type or size than they should have raises.
_UNUSABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

# A key of the lock with its facts, or why there are none.
Found = tuple[str, ModelFacts] | SourceError
_Answer = TypeVar("_Answer")


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
        """Facts of one repository, `repository@branch`, folder, or of one model in GGUF files of these."""
        return self.guarded(key, lambda: self._find(key))

    def guarded(self, key: str, ask: Callable[[], _Answer]) -> _Answer | SourceError:
        """An answer about a model, or why there is none."""
        try:
            return ask()
        except SourceError as error:
            return _alone(_told_with_lock(key, error, self.known.get(key)))
        except _UNUSABLE as error:
            # Whatever a stranger writes, it concerns the stranger's repository alone.
            note = f"{type(error).__name__}: {plain(error)}"
            return ConfigError(f"what `{plain(key)}` says of itself cannot be used", (note,))

    def _find(self, key: str) -> tuple[str, ModelFacts]:
        if is_folder(key) and not _is_set(key):
            return key, folder_facts(key, self.copies.get(key.rstrip("/")))
        return self._offline(key) if self.hub.is_offline and not is_folder(key) else self._online(key)

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
        head = self.cache.head(lock_key(repository_of(key), branch_of(key)))
        if head is None:
            raise _not_here(f"`{plain(key)}`")
        if head.name is None:
            raise UnknownNameError(f"the Hub had no model `{plain(key)}` when it was last asked")
        found = lock_key(head.name, branch_of(key), file_of(key))
        facts = self.cache.facts(found, head.commit)
        if facts is None:
            raise _not_here(f"`{plain(key)}` at commit {plain(head.commit)}")
        return found, facts

    def _online(self, key: str) -> tuple[str, ModelFacts]:
        known = self.known.get(key)
        if known is not None and self._is_sure(known) and not self.upgrade:
            return key, known
        if _is_set(key):
            with self.sets(key) as sets:
                return sets.read(sets.named(key))
        repository = self._repository(key, known)
        name = lock_key(repository.name, repository.branch)
        return name, self._facts(name, repository, known)

    @contextmanager
    def sets(self, key: str) -> Iterator[Sets]:
        """Models in GGUF files of a repository, a branch or a folder, which can be read until the block ends.

        Raises:
            SourceError: there is no such place, or none of them is in it.
        """
        if is_folder(key):
            place = repository_of(key)
            yield Sets(place, folder_sets(place, self.copies.get(place.rstrip("/"))), self)
            return
        if self.hub.is_offline:
            raise _not_here(f"the list of models in `{plain(key)}`")
        repository = self._repository(key, self._known_in(key))
        with self.room.reading(repository.name) as allowance:
            allowance.take(GGUF_HEADERS_AT_ONCE * MAX_GGUF_PIECE)
            name = lock_key(repository.name, repository.branch)
            yield Sets(name, RepositorySets(repository, self.hub.reader(repository, allowance)), self)

    def _known_in(self, key: str) -> ModelFacts | None:
        """The lock's facts of a model, or of another one in the same place: they are of one commit."""
        place = lock_key(repository_of(key), branch_of(key))
        others = (facts for name, facts in self.known.items() if name.startswith(f"{place}#"))
        return self.known.get(key) or next(others, None)

    def _is_sure(self, known: ModelFacts) -> bool:
        return not known.unconfirmed and known.source == self.hub.source

    def _repository(self, key: str, known: ModelFacts | None) -> Repository:
        """What the Hub lists, at the commit of the lock unless that is to move."""
        name, branch = repository_of(key), branch_of(key)
        place = lock_key(name, branch)
        pinned = known.commit if known is not None and known.is_pinned and not self.upgrade else None
        self._tell(key)
        try:
            repository = self.hub.repository(name, pinned or branch, branch=branch)
        except UnknownNameError:
            self.cache.keep_head(place, None)
            raise
        if pinned is not None and repository.commit not in (None, pinned):
            raise MalformedError(
                f"the Hub answered about another commit of `{plain(name)}`",
                (f"asked for {pinned}, and it answered {plain(repository.commit)}",),
                ("try again; if it persists, check HF_ENDPOINT",),
            )
        if pinned is None:
            self.cache.keep_head(place, repository)
        return repository

    def _tell(self, key: str) -> None:
        """One line for a model of the spec; its variants, and names that are only guessed, are details."""
        model = self.models.get(key, key)
        is_first = key in self.models and self.told.setdefault(model, key) == key
        if is_first:
            self.hub.progress.say(f"reading {plain(model)}")
        if not is_first or key != model:
            self.hub.progress.detail(f"reading {plain(key)}")

    def _facts(self, key: str, repository: Repository, known: ModelFacts | None) -> ModelFacts:
        facts = self._told_before(key, repository, known)
        if facts is None:
            with self.room.reading(repository.name) as allowance:
                facts = read_facts(repository, self.hub.reader(repository, allowance))
                self.room.keep(key, facts)
            self.cache.keep_facts(key, facts)
        # All but the gate belongs to the commit.
        return facts.model_copy(update={"gated": repository.gated})

    def facts_of_set(self, key: str, sets: RepositorySets, chosen: FileSet) -> ModelFacts:
        """Facts of one model in GGUF files, which are read unless the lock or the cache has them."""
        facts = self._told_before(key, sets.repository, self.known.get(key))
        if facts is None:
            facts = sets.read(chosen)
            self.room.keep(key, facts)
            self.cache.keep_facts(key, facts)
        return facts.model_copy(update={"gated": sets.repository.gated})

    def _told_before(self, key: str, repository: Repository, known: ModelFacts | None) -> ModelFacts | None:
        """Facts of the lock or the cache, where they are of the commit that is listed now."""
        if known is not None and self._is_sure(known) and known.commit == repository.commit:
            return known
        return self.cache.facts(key, repository.commit)


@dataclass(frozen=True, slots=True)
class Sets:
    """Models in GGUF files of one place.

    Attributes:
        place: the repository, branch or folder, as keys of the lock begin; or the path of a file, which is a key.
        found: what is listed there.
    """

    place: str
    found: RepositorySets
    source: Source

    def key(self, chosen: FileSet) -> str:
        """Under which the lock keeps one of them."""
        return self.place if is_gguf_file(self.place) else f"{self.place}#{chosen.path}"

    def named(self, key: str) -> FileSet:
        """The one that a key of the lock names."""
        return self.found.named(file_of(key) or key.rpartition("/")[2])

    def read(self, chosen: FileSet) -> tuple[str, ModelFacts]:
        """Facts of one of them, with its key.

        Raises:
            SourceError: it could not be read, or llama.cpp would not load it.
        """
        return self.key(chosen), self.source.facts_of_set(self.key(chosen), self.found, chosen)


def _is_set(key: str) -> bool:
    """Whether a key names a model in GGUF files."""
    return file_of(key) is not None or is_gguf_file(key)


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


def _not_here(what: str) -> UnavailableError:
    return UnavailableError(
        f"{what} is not known here, and HF_HUB_OFFLINE is set",
        ("it is neither in the lock nor in the cache",),
        ("run `stackc lock` once without HF_HUB_OFFLINE",),
    )
