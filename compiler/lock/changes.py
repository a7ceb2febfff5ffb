"""What differs between two locks of one spec, as facts that a reviewer asks about. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from compiler.lock.models import Lock, ModelFacts, file_of
from compiler.lock.quantization import quantization_method

Value = str | int | None


@dataclass(frozen=True, slots=True)
class FactChange:
    """One fact that differs; None where it is not known."""

    fact: str
    old: Value
    new: Value


@dataclass(frozen=True, slots=True)
class Change:
    """One model of a lock.

    Attributes:
        model: its key in the new lock, or in the old one where it is `gone`.
        kind: `renamed` where the repository has the same commit by another name.
        facts: what differs; nothing for new and gone models.
        was: the earlier name of a renamed one.
    """

    model: str
    kind: Literal["gone", "moved", "new", "renamed"]
    facts: tuple[FactChange, ...] = ()
    was: str | None = None


def lock_changes(old: Lock, new: Lock) -> tuple[Change, ...]:
    """Models that came, went, were renamed or say something else, by name."""
    renamed = _renamed(old.models, new.models)
    changes: list[Change] = []
    for name in sorted(old.models.keys() | new.models.keys()):
        if name not in new.models:
            if name not in renamed.values():
                changes.append(Change(name, "gone"))
        elif name in renamed:
            facts = _differing(old.models[renamed[name]], new.models[name])
            changes.append(Change(name, "renamed", facts, renamed[name]))
        elif name not in old.models:
            changes.append(Change(name, "new"))
        elif facts := _differing(old.models[name], new.models[name]):
            changes.append(Change(name, "moved", facts))
    return tuple(changes)


def weight_bytes(facts: ModelFacts) -> int | None:
    """Bytes of all weights; None where the source did not say."""
    if facts.gguf is not None:
        return facts.gguf.tensor_bytes
    if facts.tensors is not None:
        return facts.tensors.total_bytes
    sizes = [file.size for file in facts.weights]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


def _renamed(old: Mapping[str, ModelFacts], new: Mapping[str, ModelFacts]) -> dict[str, str]:
    """New names to old ones, by a commit and a file of it that only one of each has."""
    gone = {(facts.commit, file_of(name)): name for name, facts in old.items() if name not in new and facts.is_pinned}
    came = {name: (facts.commit, file_of(name)) for name, facts in new.items() if name not in old}
    return {name: gone[place] for name, place in came.items() if place in gone}


def _differing(old: ModelFacts, new: ModelFacts) -> tuple[FactChange, ...]:
    was, now = _compared(old), _compared(new)
    return tuple(FactChange(fact, was[fact], now[fact]) for fact in was if was[fact] != now[fact])


def _compared(facts: ModelFacts) -> dict[str, Value]:
    dtype = facts.config.get("torch_dtype", facts.config.get("dtype"))
    held = facts.gguf or facts.tensors
    return {
        "commit": facts.commit,
        "weights": weight_bytes(facts),
        "licence": facts.license,
        "gated": facts.gated or None,
        "chat template": facts.chat_template,
        "code": ", ".join(_code(facts)) or None,
        "named templates": ", ".join(facts.named_templates) or None,
        "sampling": ", ".join(f"{key} {value}" for key, value in sorted((facts.sampling or {}).items())) or None,
        "dtype": dtype if isinstance(dtype, str) else None,
        "quantization": quantization_method(facts),
        "tensors": held.digest if held is not None else None,
        "config": _digest(facts.config if facts.gguf is None else facts.gguf.keys),
        "projector": _projector(facts),
    }


def _projector(facts: ModelFacts) -> str | None:
    """The file with which it reads images, and what it holds."""
    found = facts.gguf.projector if facts.gguf is not None else None
    return None if found is None else f"{found.file.path} {_digest(found.model_dump())}"


def _code(facts: ModelFacts) -> Iterator[str]:
    """What Python of the repository would make, by file."""
    for entry in facts.code:
        yield from (f"{entry.file} {key} {' '.join(classes)}" for key, classes in sorted(entry.auto_map.items()))


def _digest(config: Mapping[str, object]) -> str:
    """Tells that a configuration differs, without telling how."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:12]
