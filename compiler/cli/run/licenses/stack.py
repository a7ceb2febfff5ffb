"""Under which licences the models of a stack are used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compiler.pipeline import Explained
from compiler.plan.ir import Service
from compiler.registry.read import Registry
from compiler.registry.terms import Held, strictest, terms_of
from compiler.solve.judgements import Judgement, Standing


@dataclass(frozen=True, slots=True)
class ModelTerms:
    """A model of a service.

    Attributes:
        model: its key in the lock.
        is_served: it is what the stack serves; else one that may be, of a stack that does not compile.
        held: its own licence, then those of what it was made from.
    """

    service: str
    model: str
    is_served: bool
    held: tuple[Held, ...]

    @property
    def strictest(self) -> Held:
        """The licence that allows least."""
        return strictest(self.held)


def stack_terms(explained: Explained, known: Registry) -> tuple[ModelTerms, ...]:
    """What is served by each service, in the spec's order; where nothing can be, all that was judged."""
    found: list[ModelTerms] = []
    for service, rows in explained.candidates.items():
        served = [row.candidate for row in rows if row.standing is Standing.CHOSEN]
        names = served or _judged(rows)
        found += [ModelTerms(service, name, bool(served), terms_of(name, explained.models, known)) for name in names]
    drafts = (each for plan in explained.plans for each in plan.services if each.draft is not None)
    found += [
        ModelTerms(each.name, name, is_served=True, held=terms_of(name, explained.models, known))
        for each in drafts
        for name in _draft_of(each)
    ]
    return tuple(found)


def _draft_of(service: Service) -> tuple[str, ...]:
    """The model that guesses tokens for a server, where one does."""
    model = None if service.draft is None else service.draft.model
    return () if model is None else (str(model.repository or model.folder),)


def _judged(rows: Iterable[Judgement]) -> list[str]:
    return [row.candidate for row in rows if row.standing in (Standing.PASSED_OVER, Standing.REFUSED)]
