"""Compressed-tensors: groups of schemes, each with the modules it is for.

vllm/model_executor/layers/quantization/compressed_tensors/compressed_tensors.py of 0.33.0, _get_scheme_from_parts and
get_scheme_dict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.quantization.formats import (
    Kind,
    Names,
    Packing,
    Quantization,
    Rename,
    Scales,
    Unit,
    UnknownLayoutError,
    is_positive,
    names_in,
)
from compiler.checkpoints.quantization.likeness import Listed

_LARGEST_GROUP = 65536
_BYTE, _NIBBLE = 8, 4
_NVFP4_GROUP, _MX_GROUP = 16, 32
_INTEGER_BITS = (2, 3, 4, 5, 6, 7, 8)
_EXPRESSION = "re:"


@dataclass(frozen=True, slots=True)
class Group:
    """One of `config_groups`.

    Attributes:
        names: of modules that it is for; expressions hold the engine's names.
        linears: whether it is for all that nothing else names.
    """

    names: Names
    linears: bool
    packing: Packing


@dataclass(frozen=True, slots=True)
class Groups:
    """All of them: the first group that names a module decides, then the one for all linear modules."""

    groups: tuple[Group, ...]
    ignore: Names

    def pick(self, unit: Unit) -> Packing | None:
        """None where the module stays unquantized."""
        if unit.kind is Kind.EXPERTS:
            return self._of_experts(unit)
        if self.ignore.covers_unit(unit):
            return None
        return self._named(unit) or (self._default() if unit.kind is Kind.LINEAR else None)

    def _of_experts(self, unit: Unit) -> Packing | None:
        """All projections of the first expert must have one scheme (compressed_tensors_moe.py:get_moe_method)."""
        singles = tuple(Unit(Kind.LINEAR, shard) for shard in unit.shards)
        chosen = {self.pick(single) for single in singles}
        if len(chosen) > 1:
            raise ConfigError(f"quantization gives the projections of `{unit.name[:80]}` different schemes")
        return chosen.pop() if chosen else None

    def _named(self, unit: Unit) -> Packing | None:
        for group in self.groups:
            if group.names.covers(unit.name):
                return group.packing
        for shard in unit.shards[:1]:
            for group in self.groups:
                if group.names.covers(shard) and all(self._any_names(other) for other in unit.shards):
                    return group.packing
        return None

    def _any_names(self, name: str) -> bool:
        return any(group.names.covers(name) for group in self.groups)

    def _default(self) -> Packing | None:
        return next((group.packing for group in self.groups if group.linears), None)

    @property
    def listed(self) -> Listed:
        """Of every group, with what it stands for."""
        found = self.ignore.listed
        for group in self.groups:
            found = found.beside(group.names.listed.meaning(group.packing))
        return found

    def renamed(self, rename: Rename) -> Groups:
        """The same with the engine's names."""
        groups = tuple(replace(group, names=_renamed(group.names, rename)) for group in self.groups)
        return Groups(groups, _renamed(self.ignore, rename))


def _renamed(names: Names, rename: Rename) -> Names:
    """Only what has a dot is a path (CompressedTensorsConfig.apply_vllm_mapper)."""
    return names.renamed(lambda name: rename(name) if "." in name else name)


def compressed_tensors(block: Mapping[str, Any]) -> Quantization:
    """The block of a compressed-tensors checkpoint."""
    sparsity = block.get("sparsity_config")
    if isinstance(sparsity, Mapping) and sparsity.get("targets"):
        raise ConfigError("quantization `sparsity_config` has targets; vLLM no longer runs sparse checkpoints")
    groups = tuple(_groups(block))
    if not groups:
        raise ConfigError("quantization `config_groups` must hold a group")
    usual = next((group.packing for group in groups if group.linears), groups[0].packing)
    chooser = Groups(groups, _names(names_in(block, "ignore")))
    scales, cache = _cache_scheme(block.get("kv_cache_scheme"))
    return Quantization("compressed-tensors", usual, usual, chooser, scales, cache)


def _groups(block: Mapping[str, Any]) -> Iterator[Group]:
    maps = block.get("config_groups")
    if not isinstance(maps, Mapping):
        raise ConfigError("quantization `config_groups` must hold a group")
    for group in maps.values():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if not isinstance(weights, Mapping):
            raise ConfigError("quantization `config_groups.*.weights` is missing")
        targets = names_in(group, "targets")
        if len(targets) == 1 and targets[0].endswith("Attention"):
            continue
        packing = _packing(weights, group.get("input_activations"), group.get("format") or block.get("format"))
        # A class's name stands for every module whose class contains it, and all of vLLM's end in `Linear`.
        linears = any(target.lower() == "linear" for target in targets)
        yield Group(_names(targets), linears, packing)


def _names(listed: tuple[str, ...]) -> Names:
    return Names(
        exact=frozenset(name for name in listed if not name.startswith(_EXPRESSION)),
        patterns=tuple(name.removeprefix(_EXPRESSION) for name in listed if name.startswith(_EXPRESSION)),
    )


def _cache_scheme(scheme: Any) -> tuple[Scales, str | None]:
    """Scales and zero points of q, k and v (CompressedTensorsKVCacheMethod.create_weights)."""
    if scheme is None:
        return Scales(served=3, floats=3), None
    if not isinstance(scheme, Mapping) or scheme.get("type") != "float" or scheme.get("num_bits") != _BYTE:
        raise ConfigError("quantization `kv_cache_scheme` must be 8-bit float, which is all that vLLM runs")
    if scheme.get("strategy") not in ("tensor", "attn_head") or not scheme.get("symmetric", True):
        raise ConfigError("quantization `kv_cache_scheme` must be symmetric, by tensor or by attn_head")
    return Scales(served=3, floats=3, per_head=scheme.get("strategy") == "attn_head"), "fp8"


def _packing(weights: Mapping[str, Any], activations: Any, form: Any) -> Packing:
    inputs = activations if isinstance(activations, Mapping) else None
    kind, bits, size = weights.get("type", "int"), weights.get("num_bits", _BYTE), _group_size(weights)
    if weights.get("actorder") in ("group", "dynamic"):
        raise ConfigError("quantization `actorder` orders activations over groups, which vLLM no longer runs")
    if kind == "float" and bits == _NIBBLE:
        return _float4(size, inputs)
    if kind == "float" and bits == _BYTE:
        return _float8(weights, size, inputs)
    if kind == "int" and bits in _INTEGER_BITS:
        return _integer(weights, int(bits), size, inputs, form)
    raise _unknown(kind, bits, size)


def _unknown(kind: Any, bits: Any, size: Any, more: str = "") -> UnknownLayoutError:
    grouped = f" in groups of {str(size)[:20]}" if size else ""
    scheme = f"{str(kind)[:20]} {str(bits)[:20]} bit{grouped}{more}"
    return UnknownLayoutError(f"quantization scheme {scheme} has no layout that stackc knows")


def _float4(size: int | None, inputs: Mapping[str, Any] | None) -> Packing:
    if size == _NVFP4_GROUP:
        if inputs is not None and (inputs.get("num_bits"), inputs.get("group_size")) != (_NIBBLE, _NVFP4_GROUP):
            raise ConfigError("quantization `input_activations` of NVFP4 weights must be NVFP4 too")
        return Packing("ct-nvfp4", _NIBBLE, size, static_activations=inputs is not None)
    if size == _MX_GROUP:
        return Packing("ct-mxfp4", _NIBBLE, size)
    raise _unknown("float", _NIBBLE, size)


def _float8(weights: Mapping[str, Any], size: int | None, inputs: Mapping[str, Any] | None) -> Packing:
    if size == _MX_GROUP and "uint8" in str(weights.get("scale_dtype")):
        return Packing("mxfp8", _BYTE, size)
    strategy = weights.get("strategy") or ("block" if weights.get("block_structure") else "tensor")
    if size or strategy not in ("tensor", "channel", "block") or not weights.get("symmetric", True):
        raise _unknown("float", _BYTE, size, f" by {str(strategy)[:20]}")
    static = inputs is not None and not inputs.get("dynamic")
    block = _block(weights.get("block_structure")) if strategy == "block" else None
    style = "ct-fp8" if inputs is not None else "ct-fp8-weights"
    return Packing(style, _BYTE, block=block, per_channel=strategy == "channel", static_activations=static)


def _block(value: Any) -> tuple[int, int]:
    if not (isinstance(value, list) and len(value) == 2 and all(map(is_positive, value))):  # noqa: PLR2004
        raise ConfigError(f"quantization `block_structure` must be two positive numbers, not {str(value)[:40]}")
    return value[0], value[1]


def _integer(
    weights: Mapping[str, Any], bits: int, size: int | None, inputs: Mapping[str, Any] | None, form: Any
) -> Packing:
    symmetric = weights.get("symmetric", True) is not False
    if inputs is None:
        if form not in (None, "pack-quantized"):
            raise _unknown("int", bits, size, f" as {str(form)[:30]}")
        return Packing("wna16", bits, size, symmetric=symmetric)
    if bits == _NIBBLE and inputs.get("type") == "float" and size and symmetric:
        return Packing("w4a8-fp8", bits, size)
    if inputs.get("type", "int") != "int":
        raise _unknown("int", bits, size, " with float activations")
    if form == "pack-quantized" and inputs.get("dynamic") and inputs.get("num_bits") in (_NIBBLE, _BYTE):
        return Packing("wna16", bits, size, symmetric=symmetric)
    if bits == _BYTE and not size and inputs.get("num_bits") == _BYTE and symmetric:
        per_channel = weights.get("strategy", "channel") == "channel"
        static = not inputs.get("dynamic")
        balanced = inputs.get("symmetric", True) is not False
        return Packing("int8", bits, per_channel=per_channel, symmetric=balanced, static_activations=static)
    raise _unknown("int", bits, size, f" with {str(inputs.get('num_bits'))[:8]}-bit activations")


def _group_size(weights: Mapping[str, Any]) -> int | None:
    size = weights.get("group_size")
    if size in (None, 0, -1):
        return None
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= _LARGEST_GROUP:
        raise ConfigError(f"quantization `group_size` must be a positive number, not {str(size)[:40]}")
    return size
