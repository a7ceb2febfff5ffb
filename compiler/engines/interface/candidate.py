"""A name of the lock that is asked to serve a service, and why it may not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from compiler.engines.interface.problem import Problem
from compiler.lock.models import LockedService, ModelFacts
from compiler.lock.quantization import quantization_method
from compiler.spec.services import AdapterSpec, ServiceSpec


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter of a service.

    Attributes:
        spec: what the spec says of it.
        key: of `Lock.models`.
    """

    spec: AdapterSpec
    key: str
    facts: ModelFacts


@dataclass(frozen=True, slots=True)
class DraftModel:
    """A model of the lock that is to draft tokens for another: its name there, and its facts."""

    name: str
    facts: ModelFacts


@dataclass(frozen=True, slots=True)
class Candidate:
    """One name from the lock, asked to serve one service, with all adapters of that.

    Attributes:
        draft: the model that the service names to draft beside it; None where it names none.
    """

    service: str
    spec: ServiceSpec
    name: str
    facts: ModelFacts
    adapters: tuple[Adapter, ...] = ()
    draft: DraftModel | None = None

    @property
    def method(self) -> str:
        """Its quantization method, or `none`."""
        return quantization_method(self.facts)


def adapters_of(service: ServiceSpec, locked: LockedService, models: Mapping[str, ModelFacts]) -> Iterator[Adapter]:
    """The adapters of a service as the lock answers them, in the order of the spec."""
    for adapter in service.adapters:
        key = locked.adapters[adapter.model]
        yield Adapter(adapter, key, models[key])


@dataclass(frozen=True, slots=True)
class Refusal:
    """A candidate that may not serve.

    Attributes:
        reason: for a row of the table, without the candidate's name.
        problem: as it is reported where this is the only candidate.
    """

    candidate: str
    method: str
    reason: str
    problem: Problem


# Headlines where several candidates are refused for one cause; each has its own reason in the notes.
_OF_SEVERAL: Mapping[str, str] = {
    "E0228": "the tokenizer mode of service `{service}` suits none of {count} candidates",
    "E0305": "the policy allows none of {count} candidates of service `{service}`",
    "E0306": "service `{service}` is for chat, and none of {count} candidates has a chat template",
    "E0307": "stackc cannot account for the memory of {count} candidates of service `{service}`",
    "E0308": "{count} candidates of service `{service}` cannot run here",
    "E0309": "the configuration of {count} candidates of service `{service}` cannot be used",
    "E0315": "{count} candidates of service `{service}` lack what their config.json implies",
    "E0325": "the draft of service `{service}` suits none of {count} candidates",
    "E0322": "none of {count} candidates of service `{service}` may be used commercially, as far as is known",
    "E0331": "the adapters of service `{service}` are for none of {count} candidates",
    "E0403": "service `{service}` asks for more context than {count} candidates have",
    "E0404": "service `{service}` cannot be split over the GPUs it asks for",
    "E0405": "a limit of service `{service}` suits none of {count} candidates",
}
_SHOWN_UNREAD = 5
_MOST_REASONS = 12


def refused_problems(refusals: Iterable[Refusal], unread: tuple[str, ...] = ()) -> tuple[Problem, ...]:
    """One problem for each cause, where no candidate is left."""
    causes: dict[str, list[Refusal]] = {}
    for refusal in refusals:
        causes.setdefault(refusal.problem.code, []).append(refusal)
    problems = [_one_cause(code, group) for code, group in causes.items()]
    if unread and problems:
        problems[0] = replace(problems[0], notes=(*problems[0].notes, _unread_note(unread)))
    return tuple(problems)


def _one_cause(code: str, refusals: list[Refusal]) -> Problem:
    first = refusals[0].problem
    if len(refusals) == 1:
        return first
    reasons = tuple(_reasons(refusals))
    shared = tuple(note for note in first.notes if all(note in refusal.problem.notes for refusal in refusals))
    remedies = tuple(dict.fromkeys(remedy for refusal in refusals for remedy in refusal.problem.remedies))
    message = _OF_SEVERAL[code].format(count=len(refusals), service=first.service)
    return replace(first, message=message, notes=(*reasons, *shared), remedies=remedies)


def _reasons(refusals: list[Refusal]) -> Iterator[str]:
    """Of each candidate; of many with one reason, as of a repository of GGUF files, the first names."""
    if len(refusals) <= _MOST_REASONS:
        yield from (f"`{refusal.candidate}` ({refusal.method}): {refusal.reason}" for refusal in refusals)
        return
    alike: dict[str, list[str]] = {}
    for refusal in refusals:
        alike.setdefault(refusal.reason, []).append(refusal.candidate)
    for reason, names in itertools.islice(alike.items(), _MOST_REASONS):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"`{names[0]}`{more}: {reason}"
    if len(alike) > _MOST_REASONS:
        yield f"and {len(alike) - _MOST_REASONS} other reasons"


def _unread_note(unread: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{name}`" for name in unread[:_SHOWN_UNREAD])
    more = f" and {len(unread) - _SHOWN_UNREAD} more" if len(unread) > _SHOWN_UNREAD else ""
    return f"not read, because their publishers are not in policy.publishers: {shown}{more}"
