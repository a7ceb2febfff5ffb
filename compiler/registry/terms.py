"""Under which licences a model is used: its own, and those of what it was made from. A summary, no legal advice.

Whoever quantizes or fine-tunes a model can give nobody rights that its makers did not give, whatever the card says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from compiler.lock.models import FOLDER, ModelFacts, repository_of
from compiler.lock.names import publisher_of
from compiler.registry.entry import Commercial, License, ModelEntry
from compiler.registry.read import Registry, licenses

_STRICTEST_FIRST: tuple[Commercial, ...] = ("no", "unknown", "conditional", "yes")
_HUB = "https://huggingface.co"
# What the Hub calls a licence that it has no identifier for: it says nothing.
_ANY = "other"

# Merges of merges have a dozen; a lock may come from anybody.
_MOST = 100

Source = Literal["lock", "registry"]


@dataclass(frozen=True, slots=True)
class Held:
    """A licence that a model is used under.

    Attributes:
        repository: whose licence it is: the model, or one that it was made from.
        made_into: what was made from that; None for the model itself.
        tag: the Hub's identifier; None where nobody states one.
        name: as its authors call it; where they are not known the tag, or `not stated`.
        link: where its text is, or the model's page, which says so; None of a folder whose licence has no known place.
        source: who says that it is this one; None where nobody does.
    """

    repository: str
    made_into: str | None
    tag: str | None
    name: str
    commercial: Commercial
    condition: str | None
    link: str | None
    source: Source | None


def strictest(held: tuple[Held, ...]) -> Held:
    """The licence that allows least; of equal ones the model's own, then the nearest."""
    return min(held, key=lambda each: _STRICTEST_FIRST.index(each.commercial))


def stricter_base(entry: ModelEntry, known: Registry) -> Held | None:
    """The licence of what a model was made from, where that allows less than the model's own."""
    least = strictest(terms_of(entry.id, {}, known))
    return None if least.made_into is None else least


def terms_of(key: str, locked: Mapping[str, ModelFacts], known: Registry) -> tuple[Held, ...]:
    """All licences of a model, its own first, then nearer ones before those that are farther.

    Args:
        key: of the model among those of a lock.
        locked: models of that lock; what they state wins over the registry.
    """
    found: list[Held] = []
    seen: set[str] = set()
    open_: list[tuple[str, str | None]] = [(key, None)]
    while open_:
        name, made_into = open_.pop(0)
        repository = repository_of(name)
        if repository.lower() in seen:
            continue
        if len(seen) == _MOST:
            return (*found, _unseen(repository, made_into))
        facts, entry = locked.get(name), _entry(repository, known)
        originals = _quantized_from(repository, known)
        bases = tuple(dict.fromkeys((*_bases(facts, entry), *originals)))
        held = _held(repository, made_into, facts, [entry, *(_entry(base, known) for base in bases)])
        if made_into is not None and held.source is None and _speaks_for(made_into, repository, known):
            continue
        seen.add(repository.lower())
        # Trusted quantizers that state nothing add no terms of their own.
        if held.source is not None or not originals:
            found.append(held)
        open_ += [(base, repository) for base in bases]
    return tuple(found)


def _unseen(repository: str, made_into: str | None) -> Held:
    condition = f"it was made from more than {_MOST} models, and of those only the first were looked at"
    return Held(repository, made_into, None, "not looked at", "unknown", condition, f"{_HUB}/{repository}", None)


def _entry(repository: str, known: Registry) -> ModelEntry | None:
    return known.find(repository) if "/" in repository.strip("/") else None


def _bases(facts: ModelFacts | None, entry: ModelEntry | None) -> Iterator[str]:
    if facts is not None:
        yield from facts.base_models
    if entry is not None and entry.base_model is not None:
        yield entry.base_model


def _quantized_from(repository: str, known: Registry) -> tuple[str, ...]:
    """Models of which the registry names it as a repository with quantized weights."""
    wanted = repository.lower()
    return tuple(
        each.id for each in known.models.values() if any(one.repository.lower() == wanted for one in each.quantized)
    )


def _speaks_for(name: str, base: str, known: Registry) -> bool:
    """Whether a model's licence covers a base of unknown licence: its makers' own, or that of one in the registry."""
    return publisher_of(name) == publisher_of(base) or _entry(name, known) is not None


def _held(
    repository: str, made_into: str | None, facts: ModelFacts | None, entries: Sequence[ModelEntry | None]
) -> Held:
    """One of them; `entries` are the registry's of the model itself, and then of what it was made from."""
    is_folder = facts is not None and facts.source == FOLDER
    page = None if is_folder else f"{_HUB}/{repository}"
    tag, entry = facts.license if facts is not None else None, entries[0]
    if tag is None and entry is not None:
        return _as(entry.license, repository, made_into, page, "registry")
    if tag is None:
        return Held(repository, made_into, None, "not stated", "unknown", None, page, None)
    found = _by_tag(tag, entries)
    if found is None:
        return Held(repository, made_into, tag, tag, "unknown", None, page, "lock")
    return _as(found, repository, made_into, page, "lock")


def _as(license_: License, repository: str, made_into: str | None, page: str | None, source: Source) -> Held:
    link = license_.link or page
    of = (license_.tag, license_.name, license_.commercial, license_.condition, link)
    return Held(repository, made_into, *of, source)


def _by_tag(tag: str, entries: Sequence[ModelEntry | None]) -> License | None:
    """The licence that a lock means: the registry's of the model or its bases, else what all so called share."""
    entry = entries[0]
    near = next((each for each in entries if each is not None and each.license.tag.lower() == tag.lower()), None)
    if near is not None and tag.lower() != _ANY:
        return near.license
    alike = [each for each in licenses().values() if each.tag.lower() == tag.lower() != _ANY]
    if not alike:
        # The row was written of a card that names no identifier, and of that the lock has the name.
        return entry.license if entry is not None and entry.license.tag == _ANY else None
    if len({(each.name, each.condition) for each in alike}) == 1:
        return alike[0]
    worst = min((each.commercial for each in alike), key=_STRICTEST_FIRST.index)
    condition = f"{len(alike)} licences are called so, and differ: only its text says which this is"
    return License(tag=alike[0].tag, name=alike[0].tag, commercial=worst, condition=condition)
