"""Whether a checkpoint's safetensors headers hold what its config.json implies, tensor by tensor.

A half-merged lock, an upload that broke off or a config.json of another model would otherwise pass for a model that
fits. Real checkpoints differ from what config.json implies in ways that vLLM's loaders accept, and those are no
contradiction: other wrappers before a name, projections in one tensor or in several, experts stacked, modules that a
quantizer left alone or packed although a list says otherwise, layers for drafting, tensors that the engine can do
without. A name is only asked for where its neighbours have the names that are expected too; a part of the model that
is spelled otherwise altogether has to hold as much as config.json implies.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from compiler.checkpoints.architecture import Architecture, Experts
from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.header_rules import (
    as_stored,
    canonical,
    is_scale,
    may_lack,
    may_repeat,
    plain_shape,
    scope_of,
    tail_of,
    transposes,
)
from compiler.checkpoints.parameters.header_totals import ContradictionError
from compiler.checkpoints.parameters.linear import dtype_bytes
from compiler.checkpoints.parameters.modules import Packed, fused_modules, packed_modules, rank_layers, stored_outside
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.tensors import NOT_KEPT, numberless, stored_below
from compiler.checkpoints.quantization.formats import Quantization
from compiler.lock.models import TensorKind

_WHOLE = Parallelism()
# Of what config.json implies, that a part with names of its own has to hold: padding and rounding differ.
_LEAST, _MOST = 0.98, 1.25
_FLOAT_BYTES = 2
_FLOATS = {"F64", "F32", "F16", "BF16"}

# Ends of the names of what holds a module's weights, packed or not.
_PRIMARY = (".weight", ".qweight", ".weight_packed")

_PARAMETERS = {"weight", "bias"}

Shape = tuple[int, ...]


@dataclass(slots=True)
class _Need:
    """Tensors of one name that config.json implies.

    Attributes:
        name: as an error calls it.
        key: the same without wrappers.
        module: that it belongs to, without wrappers.
        fused: the engine's module that holds it with others, where that is another.
        experts: the experts it belongs to.
        primary: whether it holds the weights themselves, and not scales or biases of them.
        shapes: and how many of each are still looked for.
        more: how many more there may be, for drafting.
    """

    name: str
    key: str
    module: str
    fused: str | None
    experts: str | None
    primary: bool
    dtype: str
    shapes: Counter[Shape] = field(default_factory=Counter)
    more: Counter[Shape] = field(default_factory=Counter)

    @property
    def suffix(self) -> str:
        """Of its name, after the module's."""
        return self.key.removeprefix(self.module).removeprefix(".")

    @property
    def weight(self) -> int:
        """What all of them hold, for comparing with tensors of other names."""
        return sum(_weight(self.dtype, shape) * count for shape, count in self.shapes.items())


Found = dict[str, Counter[tuple[str, Shape]]]


def check_headers(architecture: Architecture, quantization: Quantization | None, kinds: Iterable[TensorKind]) -> None:
    """Refuse headers that do not hold the tensors which config.json implies.

    Raises:
        ContradictionError: with the names of tensors that are absent, or are of another shape or number.
        SplitError: the quantizer cannot have stored such a module.
    """
    if architecture.assumed:
        return
    found = _found(kinds, architecture)
    needs = [need for need in _needs(architecture, quantization).values() if not may_lack(architecture, need.key)]
    check = _Check(architecture, found, needs)
    if lines := tuple(check.run()):
        raise ContradictionError(lines)


def _found(kinds: Iterable[TensorKind], architecture: Architecture) -> Found:
    found: Found = {}
    for kind in kinds:
        if NOT_KEPT.search(kind.name) or kind.name.startswith(architecture.drafting_prefixes):
            continue
        name = canonical(as_stored(kind.name), architecture.renames)
        found.setdefault(name, Counter())[kind.dtype, plain_shape(kind.shape)] += kind.count
    return found


def _needs(architecture: Architecture, quantization: Quantization | None) -> dict[str, _Need]:
    needs: dict[str, _Need] = {}
    for path, packed, count in _implied(architecture, quantization):
        for need, shape, times in _of_module(path, packed):
            needs.setdefault(need.key, need).shapes[shape] += times * count
    for path, packed in _drafting(architecture, quantization):
        for need, shape, times in _of_module(path, packed):
            if need.key in needs:
                needs[need.key].more[shape] += times
    return needs


def _implied(architecture: Architecture, quantization: Quantization | None) -> Iterator[tuple[str, Packed, int]]:
    outside = stored_outside(architecture, quantization)
    inside = (
        (f"{architecture.layer_prefix}.*.", packed, count)
        for layer, count in rank_layers(architecture, quantization, _WHOLE)
        for packed in layer.modules
    )
    return chain((("", packed, 1) for packed in outside), inside)


def _drafting(architecture: Architecture, quantization: Quantization | None) -> Iterator[tuple[str, Packed]]:
    for index, layer in enumerate(architecture.drafting, architecture.num_layers):
        path = f"{architecture.layer_prefix}.{index}."
        for packed in packed_modules(architecture, quantization, path, fused_modules(layer.modules)):
            yield path, packed


def _of_module(path: str, packed: Packed) -> Iterator[tuple[_Need, Shape, int]]:
    first = packed.fused.modules[0]
    engine_s = canonical(numberless(path + packed.fused.name), ())
    for one in stored_below(packed):
        if NOT_KEPT.search(one.name):
            continue
        name = as_stored(numberless(path + one.name))
        key = canonical(name, ())
        # A norm's parameter is called by its whole name.
        suffix = one.parameter.suffix or key.rpartition(".")[2]
        module = key.removesuffix(f".{suffix}") if suffix in _PARAMETERS or one.parameter.suffix else key
        need = _Need(
            name=name,
            key=key,
            module=module,
            fused=engine_s if engine_s != module and not isinstance(first, Experts) else None,
            experts=canonical(numberless(path + first.name), ()) if isinstance(first, Experts) else None,
            primary=one.parameter.suffix in {"weight", "qweight", "weight_packed"},
            dtype=one.parameter.dtype or "BF16",
        )
        yield need, plain_shape(one.parameter.shape), one.count


class _Check:
    """One comparison. What is found is taken off both sides until only contradictions are left."""

    def __init__(self, architecture: Architecture, found: Found, needs: list[_Need]) -> None:
        self.architecture = architecture
        self.implied = {need.key: Counter(need.shapes) for need in needs}
        self.found = found
        self.left: Found = {key: Counter(held) for key, held in found.items()}
        self.needs = needs

    def run(self) -> Iterator[str]:
        """A line for each contradiction."""
        named = [need for need in self.needs if need.key in self.found]
        shaped = {need.key for need in named if not self._take_named(need)}
        lacking = [need for need in self.needs if need.shapes and need.key not in shaped]
        by_scope = {scope_of(need.module) for need in named}
        for accept in (self._prefixed, self._fused, self._stacked, self._split):
            lacking = accept(lacking)
        lacking = self._packed_otherwise(lacking)
        lacking = self._spelled_otherwise(lacking, by_scope)
        for need in self.needs:
            if need.key in shaped or any(need is one for one in lacking):
                yield self._told(need)
        yield from self._too_many(shaped)

    def _take_named(self, need: _Need) -> bool:
        """Take tensors of the same name; False where their shapes are others."""
        held = self._shapes(need.key)
        if is_scale(need.suffix) or held == need.shapes or self._alike(need, held):
            self.left.pop(need.key)
            need.shapes = Counter()
            return True
        common = held & need.shapes
        others = held - need.shapes
        lacks = need.shapes - held
        beyond = others - need.more
        if set(beyond) - set(need.shapes):
            return False
        need.shapes = lacks
        self._set(need.key, others - need.more if not lacks else Counter())
        return bool(common) or not lacks

    def _suffices(self, need: _Need, held: Counter[Shape]) -> bool:
        more = may_repeat(self.architecture, need.key) and set(held) == set(need.shapes) and not need.shapes - held
        return held == need.shapes or more or self._alike(need, held)

    def _alike(self, need: _Need, held: Counter[Shape]) -> bool:
        """Whether dimensions are only written otherwise: one-dimensional parameters of any shape, turned tables."""
        if all(len(shape) == 1 for shape in need.shapes):
            return _elements(held) == _elements(need.shapes)
        turned = Counter({shape[::-1]: count for shape, count in held.items()})
        return transposes(self.architecture) and turned == need.shapes

    def _shapes(self, key: str) -> Counter[Shape]:
        shapes: Counter[Shape] = Counter()
        for (_, shape), count in self.left.get(key, Counter()).items():
            shapes[shape] += count
        return shapes

    def _set(self, key: str, shapes: Counter[Shape]) -> None:
        """Keep of a name what is left of it."""
        dtype = next(iter(self.left[key]))[0]
        self.left[key] = Counter({(dtype, shape): count for shape, count in shapes.items() if count > 0})
        if not self.left[key]:
            del self.left[key]

    def _prefixed(self, lacking: list[_Need]) -> list[_Need]:
        """The same tensors below other wrappers."""
        tails: dict[str, list[str]] = {}
        for key in self.left:
            tails.setdefault(tail_of(key), []).append(key)
        return [need for need in lacking if not self._take_tail(need, tails.get(tail_of(need.key), ()))]

    def _take_tail(self, need: _Need, keys: Iterable[str]) -> bool:
        for key in keys:
            held = self._shapes(key)
            if held and need.key not in self.found and self._suffices(need, held):
                del self.left[key]
                return True
        return False

    def _fused(self, lacking: list[_Need]) -> list[_Need]:
        """Projections in the one tensor in which the engine holds them."""
        groups: dict[str, list[_Need]] = {}
        for need in lacking:
            if need.fused is not None:
                groups.setdefault(f"{need.fused}.{need.suffix}", []).append(need)
        taken: list[_Need] = []
        for key, group in groups.items():
            together = sum(_elements(need.shapes) for need in group)
            if key in self.left and (is_scale(group[0].suffix) or _elements(self._shapes(key)) == together):
                del self.left[key]
                taken += group
        return _without(lacking, taken)

    def _stacked(self, lacking: list[_Need]) -> list[_Need]:
        """Experts of a layer in a few tensors, under names of their own."""
        groups: dict[str, list[_Need]] = {}
        for need in lacking:
            if need.experts is not None:
                groups.setdefault(need.experts, []).append(need)
        taken: list[_Need] = []
        for experts, group in groups.items():
            whole = [need for need in self.needs if need.experts == experts and need.primary]
            if all(any(need is one for one in group) for need in whole):
                place = experts.rpartition(".")[0] + "."
                pool = [key for key in self.left if key.startswith(place) and f"{experts}.*." not in key]
                taken += self._take_pool(group, pool, most=math.inf)
        return _without(lacking, taken)

    def _split(self, lacking: list[_Need]) -> list[_Need]:
        """Several tensors for what is one in most checkpoints, such as queries, keys and values."""
        taken: list[_Need] = []
        for need in lacking:
            beside = need.module.rpartition(".")[0] + "."
            pool = [key for key in self.left if key.startswith(beside) and key.endswith(f".{need.suffix}")]
            whole = sum(_elements(self._shapes(key)) for key in pool)
            if len(pool) > 1 and whole == _elements(need.shapes):
                for key in pool:
                    del self.left[key]
                taken.append(need)
        return _without(lacking, taken)

    def _take_pool(self, group: list[_Need], pool: list[str], most: float = _MOST) -> list[_Need]:
        """All of a group if tensors of other names hold as much."""
        wanted = sum(need.weight for need in group)
        held = sum(_weight(dtype, shape) * count for key in pool for (dtype, shape), count in self.left[key].items())
        if not pool or not _LEAST * wanted <= held <= most * wanted:
            return []
        for key in pool:
            del self.left[key]
        return group

    def _packed_otherwise(self, lacking: list[_Need]) -> list[_Need]:
        """Modules that are there, packed where config.json says that they are not, or the other way round.

        A few are what lists of a quantizer leave open; where most are, the checkpoint is not the one described.
        """
        kinds: dict[str, list[str]] = {}
        for key in self.left:
            kinds.setdefault(key.rpartition(".")[0], []).append(key)
        stored = {module for module, keys in kinds.items() if any(key.endswith(_PRIMARY) for key in keys)}
        other = [need for need in lacking if need.module in stored]
        for need in other:
            for key in kinds[need.module]:
                self.left.pop(key, None)
        modules = {need.module for need in self.needs if need.primary}
        return lacking if 2 * len({need.module for need in other}) > len(modules) else _without(lacking, other)

    def _spelled_otherwise(self, lacking: list[_Need], known: set[str]) -> list[_Need]:
        """Parts of the model of which no name is as expected, but which are as large."""
        strange = [need for need in lacking if scope_of(need.module) not in known]
        return _without(lacking, self._take_pool(strange, list(self.left)) if strange else [])

    def _told(self, need: _Need) -> str:
        held = self._original(need.key)
        return f"`{need.name}`: config.json implies {_count(self.implied[need.key])}, the headers hold {_count(held)}"

    def _original(self, key: str) -> Counter[Shape]:
        shapes: Counter[Shape] = Counter()
        for (_, shape), count in self.found.get(key, Counter()).items():
            shapes[shape] += count
        return shapes

    def _too_many(self, told: set[str]) -> Iterator[str]:
        """More of a name than there are layers: the engine has no place for them."""
        for need in self.needs:
            extra = need.key in self.left and need.key not in told and not need.shapes
            if extra and not is_scale(need.suffix) and not may_repeat(self.architecture, need.key):
                yield self._told(need)


def _weight(dtype: str, shape: Shape) -> int:
    """Bytes of packed tensors; floats are cast while they are loaded, and count alike."""
    try:
        width = _FLOAT_BYTES if dtype in _FLOATS else dtype_bytes(dtype)
    except ConfigError:
        width = 1
    return math.prod(shape) * width


def _elements(shapes: Mapping[Shape, int]) -> int:
    return sum(math.prod(shape) * count for shape, count in shapes.items())


def _count(shapes: Mapping[Shape, int]) -> str:
    """In words, such as `16 × [2816, 1024]`."""
    parts = [f"{count} × {list(shape)}" for shape, count in sorted(shapes.items())[:3]]
    return " and ".join(parts) or "none"


def _without(needs: list[_Need], taken: Iterable[_Need]) -> list[_Need]:
    gone = {id(need) for need in taken}
    return [need for need in needs if id(need) not in gone]
