"""Whether adapters are for a checkpoint: the model that they name, their layers and sizes; and the room they need.

vLLM compares no names of models: an adapter whose sizes are right is served whatever it was trained on. Where its
layers have other names, it is loaded and changes nothing (vllm/lora/model_manager.py:activate_adapter, 0.33.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from compiler.checkpoints.architecture import Architecture, Experts, Linear, Table
from compiler.checkpoints.parameters.modules import Fused, fused_modules
from compiler.diagnostics import Edit
from compiler.engines.interface.candidate import Adapter, Candidate, Refusal
from compiler.engines.interface.problem import Problem, Remedy
from compiler.engines.vllm.memory.lora.adapters import EXPERTS, HEAD, MOST_WORDS, AdapterSlots, takes_adapters
from compiler.engines.vllm.releases.adapters import RANKS, AdapterClass
from compiler.lock.models import ModelFacts, TensorKind, repository_of

_PREFIX = "base_model.model."
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_MATRIX_DIMENSIONS = 2
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class _Place:
    """Matrices of a model that an adapter may change, by one name.

    Attributes:
        sizes: inputs and outputs, of each layer that has such a matrix.
        target: by which the engine is told to give them room.
        count: of them.
    """

    sizes: frozenset[tuple[int, int]]
    target: str
    count: int


@dataclass(slots=True)
class _Found:
    """What an adapter holds for one place: each of the two matrices, by shape, with how many there are."""

    first: dict[tuple[int, ...], int] = field(default_factory=dict)
    second: dict[tuple[int, ...], int] = field(default_factory=dict)


def adapter_refusal(candidate: Candidate, architecture: Architecture, found: AdapterClass) -> Refusal | None:
    """E0331 for the first adapter that is not for this checkpoint."""
    for index, adapter in enumerate(candidate.adapters):
        problem = _other_base(candidate, index, adapter)
        reason = None if problem is not None else why_not_fitting(adapter.facts, architecture, found)
        if reason is not None:
            message = f"the adapter `{adapter.key}` is not for `{candidate.name}`: {reason}"
            path = ("adapters", index, "model")
            problem = Problem("E0331", candidate.service, path, message, notes=(_SILENT,))
        if problem is not None:
            return Refusal(candidate.name, candidate.method, problem.message, problem)
    return None


_SILENT = "vLLM would end as it loads the adapter, or serve it without a word and without an effect"


def slots_of(candidate: Candidate, architecture: Architecture, found: AdapterClass) -> AdapterSlots | None:
    """Room for the service's adapters, which are for this checkpoint; None where it has none."""
    if not candidate.adapters:
        return None
    largest = max(_rank(adapter.facts) for adapter in candidate.adapters)
    places = _places(architecture, found)
    named = {name for adapter in candidate.adapters for name in _matrices(adapter.facts.tensors_of(), architecture)}
    weights = [sum(file.size or 0 for file in adapter.facts.weights) for adapter in candidate.adapters]
    return AdapterSlots(
        rank=next((rank for rank in RANKS if rank >= largest), RANKS[-1]),
        at_once=candidate.spec.adapter_slots,
        held=len(candidate.adapters),
        modules=tuple(sorted({places[name].target for name in named})),
        held_bytes=sum(weights) + max(weights),
    )


def _rank(facts: ModelFacts) -> int:
    """The largest of a module's, which no tensor is beyond."""
    assert facts.adapter is not None  # noqa: S101  the lock has adapters only of that kind
    return facts.adapter.largest_rank or 1


def _other_base(candidate: Candidate, index: int, adapter: Adapter) -> Problem | None:
    """E0331: it was trained on another model than the service's, as far as both are named."""
    named = adapter.facts.adapter.base_model if adapter.facts.adapter is not None else None
    if named is None or _HUB_NAME.fullmatch(named) is None or candidate.spec.model.startswith("/"):
        return None
    own = {candidate.spec.model, repository_of(candidate.name), adapter.spec.base or ""}
    if repository_of(candidate.name) != candidate.spec.model or candidate.facts.base_relation == "quantized":
        own |= set(candidate.facts.base_models)
    if named.lower() in {each.lower() for each in own}:
        return None
    message = f"the adapter `{adapter.key}` is for `{named}`, and service `{candidate.service}` serves another model"
    notes = (
        f"the service's model is `{candidate.spec.model}`",
        "vLLM does not compare them: it would serve the adapter, and its answers would be nobody's",
    )
    where = ("services", candidate.service)
    remedies = (
        Remedy(f"serve `{named}`", (Edit((*where, "model"), named),), kind="base model"),
        Remedy(
            f"`base: {named}`, where that is the same model under another name",
            (Edit((*where, "adapters", index, "base"), named),),
            kind="base",
        ),
    )
    return Problem("E0331", candidate.service, ("adapters", index, "model"), message, notes=notes, remedies=remedies)


def why_not_fitting(facts: ModelFacts, architecture: Architecture, found: AdapterClass) -> str | None:
    """What of an adapter's tensors a model has no place for; None where it has one for each."""
    if facts.tensors is None:
        return "no header of its weights could be read: `stackc lock` reads it again"
    places = _places(architecture, found)
    try:
        matrices = _matrices(facts.tensors_of(), architecture)
    except _UnknownTensorError as error:
        return f"`{str(error)[:_SHOWN]}` is no matrix of a LoRA"
    if not matrices:
        return "it changes nothing"
    if HEAD in {name.rpartition(".")[2] for name in matrices} and architecture.vocab_size > MOST_WORDS:
        more = architecture.vocab_size - MOST_WORDS
        return (
            f"it changes the output head, for which vLLM takes {MOST_WORDS} words at most: "
            f"{architecture.vocab_size} − {MOST_WORDS} = {more} more"
        )
    experts = {name for name, place in places.items() if place.target == EXPERTS}
    if (changed := experts & matrices.keys()) and changed != experts:
        return f"it changes {', '.join(sorted(changed))} of the experts, and vLLM takes all of {len(experts)} or none"
    assert facts.adapter is not None  # noqa: S101  the lock has adapters only of that kind
    most = facts.adapter.largest_rank or 1
    reasons = (_why_not_there(name, each, places, most) for name, each in sorted(matrices.items()))
    return next((reason for reason in reasons if reason is not None), None)


def _why_not_there(name: str, found: _Found, places: Mapping[str, _Place], most: int) -> str | None:
    place = places.get(name)
    if place is None:
        return f"it changes `{name[:_SHOWN]}`, and no layer of that name takes adapters"
    if sum(found.first.values()) != sum(found.second.values()):
        return f"of `{name}` it has one of two matrices only"
    if (count := sum(found.first.values())) > place.count:
        return f"it changes {count} × `{name}`, and the model has {place.count}"
    if place.target == EXPERTS and (count < place.count or len(found.first) > 1):
        return f"it changes {count} × `{name}` of {place.count}, and vLLM takes all experts, of one rank, or none"
    if not all(len(shape) == _MATRIX_DIMENSIONS for shape in (*found.first, *found.second)):
        return f"what it holds for `{name}` are no two matrices"
    ranks, others = {shape[0] for shape in found.first}, {shape[1] for shape in found.second}
    if ranks != others or max(ranks) > most or 0 in ranks:
        return f"`{name}` has rank {_shown(ranks | others)} by its tensors, its adapter_config.json says {most} at most"
    inputs, outputs = {shape[1] for shape in found.first}, {shape[0] for shape in found.second}
    if not inputs <= {size[0] for size in place.sizes} or not outputs <= {size[1] for size in place.sizes}:
        theirs, ours = (
            f"{_shown(outputs)} × {_shown(inputs)}",
            " or ".join(f"{o} × {i}" for i, o in sorted(place.sizes)),
        )
        return f"`{name}` is {ours} in the model, and {theirs} in the adapter"
    return None


def _shown(sizes: set[int]) -> str:
    return "/".join(map(str, sorted(sizes)))


class _UnknownTensorError(ValueError):
    """A tensor that is no matrix of a LoRA, by its name."""


def _matrices(tensors: tuple[TensorKind, ...], architecture: Architecture) -> dict[str, _Found]:
    """What an adapter holds, by the engine's names of what it changes (vllm/lora/utils.py:parse_fine_tuned_lora_name).

    Raises:
        _UnknownTensorError: some of it is no matrix of a LoRA.
    """
    found: dict[str, _Found] = {}
    for kind in tensors:
        name = kind.name.removeprefix(_PREFIX)
        parts = name.split(".")
        if name.endswith((".embed_tokens.base_layer.weight", "lm_head.base_layer.weight")):
            continue  # a copy of the model's own
        if parts[-1] == "weight" and parts[-2:-1] in (["lora_A"], ["lora_B"]):
            module, is_first, shape = parts[:-2], parts[-2] == "lora_A", kind.shape
        elif parts[-1] in ("lora_embedding_A", "lora_embedding_B"):
            module, is_first, shape = parts[:-1], parts[-1] == "lora_embedding_A", kind.shape
        else:
            raise _UnknownTensorError(kind.name)
        each = found.setdefault(_renamed(".".join(module), architecture), _Found())
        counts = each.first if is_first else each.second
        counts[shape] = counts.get(shape, 0) + kind.count
    return found


def _renamed(name: str, architecture: Architecture) -> str:
    for old, new in architecture.renames:
        if name.startswith(old):
            name = new + name.removeprefix(old)
    return name


@lru_cache(maxsize=64)
def _places(architecture: Architecture, found: AdapterClass) -> Mapping[str, _Place]:
    """Everything in a model that takes adapters, by the names that checkpoints have for it."""
    places: dict[str, _Place] = {}
    for layer in architecture.layers:
        for fused in fused_modules(layer.modules):
            for name, sizes, target, count in _inside(fused, found):
                _add(places, f"{architecture.layer_prefix}.*.{name}", sizes, target, count)
    for table in (*architecture.first, *architecture.last, *architecture.everywhere):
        name = table.name.rpartition(".")[2]
        if isinstance(table, Table) and name in found.tables:
            sizes = (table.columns, table.rows) if name == HEAD else (table.rows, table.columns)
            _add(places, table.name, sizes, name, 1)
    if HEAD in found.tables and HEAD not in places and architecture.tie_word_embeddings:
        _add(places, HEAD, (architecture.hidden_size, architecture.vocab_size), HEAD, 1)
    return places


def _add(places: dict[str, _Place], name: str, sizes: tuple[int, int], target: str, count: int) -> None:
    known = places.get(name)
    before, already = (known.sizes, known.count) if known is not None else (frozenset[tuple[int, int]](), 0)
    places[name] = _Place(before | {sizes}, target, already + count)


def _inside(fused: Fused, found: AdapterClass) -> Iterator[tuple[str, tuple[int, int], str, int]]:
    """Name, inputs and outputs, target and number of what one module of a layer holds."""
    first = fused.modules[0]
    if isinstance(first, Experts) and not found.joined and not found.ungated:
        sizes = (first.inputs, first.intermediate)
        for index, projection in enumerate(first.projections):
            own = sizes if index < len(first.projections) - 1 else sizes[::-1]
            yield f"{first.name}.*.{projection}", own, EXPERTS, first.count
    if not isinstance(first, Linear) or not takes_adapters(fused, found):
        return
    parts = found.packed.get(fused.name.rpartition(".")[2])
    linears = tuple(module for module in fused.modules if isinstance(module, Linear))
    for name in dict.fromkeys(linear.name for linear in linears):
        own_name = name.rpartition(".")[2]
        outputs = sum(linear.outputs for linear in linears if linear.name == name)
        if parts is None or own_name in parts:
            yield name, (first.inputs, outputs), own_name, 1
