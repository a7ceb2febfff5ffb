"""The modules of a model as the engine holds them, and how a quantizer stores each: decided once for a checkpoint.

A quantizer picks by a module's full name, so that layers that are alike may be stored differently. What is the same in
both respects is one object here: all that is worked out from it is worked out once, however many layers there are.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from compiler.checkpoints.architecture import Architecture, Experts, Layer, Linear, Module, Table, Vector
from compiler.checkpoints.named import nameless
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.quantization.formats import Chooser, Kind, Packing, Quantization, Unit
from compiler.checkpoints.quantization.likeness import Likeness, likeness_of


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """Modules that the engine holds as one: projections that it fuses, or a module by itself.

    Attributes:
        name: of the engine's module, below its layer.
    """

    name: str
    modules: tuple[Module, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """A module, and how it is stored: None if unquantized."""

    fused: Fused
    packing: Packing | None


@dataclass(frozen=True, slots=True, eq=False)
class PackedLayer:
    """Layers that are alike and stored alike."""

    layer: Layer
    modules: tuple[Packed, ...]


@lru_cache(maxsize=1024)
def rank_modules(
    architecture: Architecture, quantization: Quantization | None, parallelism: Parallelism
) -> tuple[tuple[Packed, int], ...]:
    """Every kind of module of a rank, and how many there are of it."""
    layers = rank_layers(architecture, quantization, parallelism)
    inside = ((packed, count) for layer, count in layers for packed in layer.modules)
    return (*_kinds(packed_outside(architecture, quantization, parallelism)), *inside)


@lru_cache(maxsize=1024)
def rank_layers(
    architecture: Architecture, quantization: Quantization | None, parallelism: Parallelism
) -> tuple[tuple[PackedLayer, int], ...]:
    """Every kind of layer of a rank, in the order of the first of each, and how many there are of it."""
    found = packed_layers(architecture, quantization)
    counts: dict[PackedLayer, int] = {}
    for index in parallelism.layers(architecture.num_layers):
        counts[found[index]] = counts.get(found[index], 0) + 1
    return tuple(counts.items())


def packed_outside(
    architecture: Architecture, quantization: Quantization | None, parallelism: Parallelism
) -> tuple[Packed, ...]:
    """The modules of a rank that are in none of its decoder's layers: embeddings, output head, towers."""
    is_first, is_last = parallelism.is_first, parallelism.is_last
    return _outside(architecture, quantization, is_first=is_first, is_last=is_last, is_stored=False)


def stored_outside(architecture: Architecture, quantization: Quantization | None) -> tuple[Packed, ...]:
    """Those of a checkpoint, whose towers are there whether the engine builds them or not."""
    return _outside(architecture, quantization, is_first=True, is_last=True, is_stored=True)


@lru_cache(maxsize=1024)
def _outside(
    architecture: Architecture, quantization: Quantization | None, *, is_first: bool, is_last: bool, is_stored: bool
) -> tuple[Packed, ...]:
    towers = architecture.encoders if is_stored else architecture.towers if is_first else ()
    stage = architecture.last if is_last else ()
    if is_first or (architecture.tie_word_embeddings and is_last):
        stage = (*architecture.first, *stage)
    tower_modules = (module for tower in towers for module in tower.modules)
    fused = fused_modules((*stage, *architecture.everywhere, *tower_modules))
    return packed_modules(architecture, quantization, "", fused)


def _kinds(modules: tuple[Packed, ...]) -> tuple[tuple[Packed, int], ...]:
    """The first of those that differ in their names only, as a tower's do between layers, and how many there are."""
    found: dict[object, tuple[Packed, int]] = {}
    for packed in modules:
        alike = (*((type(module), nameless(module)) for module in packed.fused.modules), packed.packing)
        first, count = found.get(alike, (packed, 0))
        found[alike] = (first, count + 1)
    return tuple(found.values())


@lru_cache(maxsize=1024)
def packed_layers(architecture: Architecture, quantization: Quantization | None) -> tuple[PackedLayer, ...]:
    """Every layer of the decoder, in order; alike ones are one object."""
    alike = {id(layer): layer for layer in architecture.layers}
    fused = {key: fused_modules(layer.modules) for key, layer in alike.items()}
    likeness = _likeness(architecture, quantization)
    kinds: dict[tuple[int, Hashable], PackedLayer] = {}
    known: dict[tuple[int, tuple[Packed, ...]], PackedLayer] = {}
    layers = []
    for index, layer in enumerate(architecture.layers):
        kind = (id(layer), likeness.of(index) if likeness is not None else None)
        if kind not in kinds:
            path = f"{architecture.layer_prefix}.{index}."
            modules = packed_modules(architecture, quantization, path, fused[id(layer)])
            kinds[kind] = known.setdefault((id(layer), modules), PackedLayer(layer, modules))
        layers.append(kinds[kind])
    return tuple(layers)


def _likeness(architecture: Architecture, quantization: Quantization | None) -> Likeness | None:
    """Of layers to a quantizer; None where there is none, and all are alike."""
    if quantization is None:
        return None
    found = likeness_of(_renamed(quantization, architecture.renames).listed)
    # The number has to stand between dots in the engine's names as well.
    is_usual = _engine_name(f"{architecture.layer_prefix}.0.", architecture.renames).endswith(".0.")
    return found if is_usual else replace(found, is_unclear=True)


def packed_modules(
    architecture: Architecture, quantization: Quantization | None, path: str, fused: Iterable[Fused]
) -> tuple[Packed, ...]:
    """Modules below a path of checkpoints, each with its packing."""
    chooser = None if quantization is None else _renamed(quantization, architecture.renames)
    return tuple(Packed(each, _packing_of(path, each, chooser, architecture)) for each in fused)


@lru_cache(maxsize=4096)
def fused_modules(modules: tuple[Module, ...]) -> tuple[Fused, ...]:
    """Modules in the order of the first of each that the engine fuses."""
    groups: dict[str | int, list[Module]] = {}
    for index, module in enumerate(modules):
        # Parts of one parameter that ranks divide in different ways have one name.
        name = index if isinstance(module, Vector) else _engine_s_name(module)
        groups.setdefault(name, []).append(module)
    return tuple(
        Fused(name if isinstance(name, str) else group[0].name, tuple(group)) for name, group in groups.items()
    )


def _engine_s_name(module: Module) -> str:
    if isinstance(module, Linear) and module.fused is not None:
        return module.fused
    return (module.engine_name if isinstance(module, Experts) else None) or module.name


@lru_cache(maxsize=1024)
def _renamed(quantization: Quantization, renames: tuple[tuple[str, str], ...]) -> Chooser:
    return quantization.chooser.renamed(lambda name: _engine_name(name, renames))


def _engine_name(name: str, renames: tuple[tuple[str, str], ...]) -> str:
    """A checkpoint's name as the engine's (vllm/model_executor/models/utils.py:WeightsMapper)."""
    for old, new in renames:
        if name.startswith(old):
            name = new + name.removeprefix(old)
    return name


def _packing_of(path: str, fused: Fused, chooser: Chooser | None, architecture: Architecture) -> Packing | None:
    first = fused.modules[0]
    if chooser is None or isinstance(first, Vector) or not (isinstance(first, Experts) or first.quantized):
        return None
    name = _engine_name(path + fused.name, architecture.renames)
    return chooser.pick(_unit(name, path, fused, architecture))


def _unit(name: str, path: str, fused: Fused, architecture: Architecture) -> Unit:
    first = fused.modules[0]
    if isinstance(first, Experts):
        return Unit(Kind.EXPERTS, name, tuple(f"{name}.0.{projection}" for projection in first.projections))
    if isinstance(first, Table):
        return Unit(Kind.HEAD, name)
    if fused.name == first.name:
        return Unit(Kind.LINEAR, name)
    shards = (_engine_name(path + module.name, architecture.renames) for module in fused.modules)
    return Unit(Kind.LINEAR, name, tuple(shards))
