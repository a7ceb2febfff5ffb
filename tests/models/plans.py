"""Models of the registry, asked of machines that hold them."""

from __future__ import annotations

import json

from compiler.choose.demand import Demand, gpus
from compiler.choose.fits import Fit, ask
from compiler.lock.models import ModelFacts
from compiler.registry.entry import Kind, ModelEntry
from compiler.registry.facts import Unplannable, facts_of
from compiler.spec.models import PolicySpec
from compiler.spec.services import Task

LARGEST, MOST = "b300", 16
"""A machine as large as they come."""

_TASKS: dict[Kind, Task] = {"embedding": "embed", "reranker": "score"}
_OPEN = PolicySpec(gated="allow", trust_remote_code="allow")
_ONE_CARD = 100 * 10**9  # parameters, of two bytes


def asked(entry: ModelEntry, facts: ModelFacts, name: str, *, context: int, card: str = LARGEST) -> Fit:
    """Whether it runs with requests of a length, on one card where that is enough."""
    count = 1 if entry.parameters < _ONE_CARD else MOST
    task, alone = _TASKS.get(entry.kind, "completion"), 1 if count == 1 else None
    demand = Demand(context=context, task=task, tensor_parallel_size=alone, policy=_OPEN)
    return ask({name: facts}, gpus(card, count), demand, wants_most=False)


def asked_of_registry(entry: ModelEntry) -> Fit | Unplannable:
    """What is answered to requests as long as the registry says that it reads; once for models of one shape."""
    facts = facts_of(entry)
    if isinstance(facts, Unplannable):
        return facts
    shape = json.dumps([facts.config, facts.quantization, entry.kind, entry.context], sort_keys=True)
    if shape not in _ANSWERS:
        _ANSWERS[shape] = asked(entry, facts, entry.id, context=entry.context)
    return _ANSWERS[shape]


_ANSWERS: dict[str, Fit] = {}
