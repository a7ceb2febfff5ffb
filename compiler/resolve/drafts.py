"""The models that draft tokens beside others: each is the one repository or folder that the spec names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from compiler.diagnostics import Diagnostic
from compiler.lock.models import LockedService, ModelFacts, repository_of
from compiler.lock.names import publisher_of
from compiler.lock.second_looks import Locate, new_name
from compiler.lock.staleness import Ask
from compiler.resolve.answers import SourceError
from compiler.resolve.candidates import gone_to_strangers
from compiler.resolve.problems import not_a_model, source_problem
from compiler.resolve.source import Found, Source


def find_drafts(
    asks: Mapping[str, Ask], kept: Mapping[str, LockedService], moving: Collection[str], source: Source
) -> dict[str, Found]:
    """What each service's draft is, by the service.

    Args:
        kept: services of the previous lock whose ask is the same: their drafts keep their commits.
        moving: services whose models move to their newest commits.
    """
    names = {name: _name(ask.draft, kept.get(name)) for name, ask in asks.items() if ask.draft is not None}
    still = source.find_all(key for name, key in names.items() if name not in moving)
    moved = replace(source, upgrade=True).find_all(key for name, key in names.items() if name in moving)
    return {
        name: _trusted(str(asks[name].draft), (moved if name in moving else still)[key], asks[name].publishers)
        for name, key in names.items()
    }


def _name(draft: str, kept: LockedService | None) -> str:
    return draft if kept is None or kept.draft_key is None else kept.draft_key


def _trusted(asked: str, found: Found, publishers: tuple[str, ...]) -> Found:
    """A repository that another publisher has now is not what the spec names."""
    if isinstance(found, SourceError) or new_name(asked, found[0]) is None:
        return found
    publisher = publisher_of(repository_of(found[0]))
    known = {publisher_of(asked), *(each.lower() for each in publishers)}
    return found if publisher in known else gone_to_strangers(found[0])


Drafts = Mapping[str, tuple[str, ModelFacts]]
"""Of each service, the key of its draft and its facts."""


def read_drafts(found: Mapping[str, Found]) -> Drafts:
    """Those that could be read."""
    return {name: each for name, each in found.items() if not isinstance(each, SourceError)}


def draft_problems(
    asks: Mapping[str, Ask], found: Mapping[str, Found], source: Source, locate: Locate
) -> Iterator[Diagnostic]:
    """Drafts that could not be read, or that are no models."""
    for name, draft in found.items():
        asked = str(asks[name].draft)
        if isinstance(draft, SourceError):
            path = ("services", name, "speculate", "model")
            yield source_problem(name, asked, draft, source.hub, locate, path=path)
        elif draft[1].kind != "model":
            yield not_a_model(name, asked, draft[1], locate, key=("speculate", "model"))
