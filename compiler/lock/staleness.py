"""Whether a lock answers what its spec asks, compared fact by fact and not by a hash of the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from compiler.lock.models import Lock, LockedService
from compiler.spec.models import Spec
from compiler.spec.services import ServiceSpec

Field = Literal["model", "quantization", "publishers", "adapters", "draft", "missing", "extra"]


@dataclass(frozen=True, slots=True)
class Staleness:
    """One thing that the spec asks and the lock does not answer.

    Attributes:
        service: its name.
        field: what differs; `missing` where the lock has no such service, `extra` where the spec has none.
        asked: what the spec says, as it would be typed; empty for `extra`.
        answered: what the lock says; empty for `missing`.
    """

    service: str
    field: Field
    asked: str
    answered: str


def stale_services(spec: Spec, lock: Lock) -> tuple[Staleness, ...]:
    """Every difference, in the spec's order of services, then services that only the lock has."""
    found: list[Staleness] = []
    for name, service in spec.services.items():
        locked = lock.services.get(name)
        if locked is None:
            found.append(Staleness(name, "missing", service.model, ""))
        else:
            found += differences(name, asked_of(service, spec.policy.publishers), locked)
    for name in sorted(lock.services.keys() - spec.services.keys()):
        found.append(Staleness(name, "extra", "", lock.services[name].model))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a service asks the lock. Publishers matter only where variants are searched.

    Attributes:
        draft: the model that drafts beside it; None where none does.
    """

    model: str
    quantization: tuple[str, ...]
    publishers: tuple[str, ...]
    adapters: tuple[str, ...] = ()
    draft: str | None = None


def asked_of(service: ServiceSpec, publishers: tuple[str, ...]) -> Ask:
    """The part of a service that its lock entry depends on."""
    searched = service.quantization != ("none",)
    publishers = tuple(sorted(set(publishers))) if searched else ()
    adapters = tuple(sorted({adapter.model for adapter in service.adapters}))
    draft = service.speculate.model if service.speculate is not None else None
    return Ask(service.model, service.quantization, publishers, adapters, draft)


def differences(name: str, ask: Ask, locked: LockedService) -> Iterator[Staleness]:
    """Fields in which an entry of the lock differs from what is asked."""
    if ask.model != locked.model:
        yield Staleness(name, "model", ask.model, locked.model)
    if ask.quantization != locked.quantization:
        yield Staleness(name, "quantization", _words(ask.quantization), _words(locked.quantization))
    if ask.publishers != locked.publishers:
        yield Staleness(name, "publishers", _words(ask.publishers), _words(locked.publishers))
    if set(ask.adapters) != set(locked.adapters):
        yield Staleness(name, "adapters", _words(ask.adapters), _words(tuple(sorted(locked.adapters))))
    # A draft that nobody asks for any more is in nobody's way.
    if ask.draft is not None and ask.draft != locked.draft:
        yield Staleness(name, "draft", ask.draft, locked.draft or "no draft")


def _words(items: tuple[str, ...]) -> str:
    return f"[{', '.join(items)}]"
