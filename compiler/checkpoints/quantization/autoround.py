"""AutoRound: AWQ's or GPTQ's layouts, with settings of their own for the layers that `extra_config` names.

vllm/model_executor/layers/quantization/inc/{inc,config_parser}.py of 0.33.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.quantization.formats import (
    Kind,
    Names,
    Packing,
    Quantization,
    Rename,
    Unit,
    UnknownLayoutError,
    is_positive,
)
from compiler.checkpoints.quantization.likeness import Listed

_STYLES = {"auto_round:auto_awq": "awq", "auto_round:auto_gptq": "gptq"}
_UNQUANTIZED_BITS = 16
_BITS = {"awq": (4,), "gptq": (4, 8)}
_SPECIAL = frozenset(r"*+?^$()[]{}|\\")


@dataclass(frozen=True, slots=True)
class Named:
    """An entry of `extra_config`: a name, the end of one, or an expression."""

    key: str
    packing: Packing | None

    def is_in(self, name: str) -> bool:
        """Whether the entry is this name's, or its expression finds something in it."""
        return self.key == name or (not _SPECIAL.isdisjoint(self.key) and re.search(self.key, name) is not None)


@dataclass(frozen=True, slots=True)
class Rounded:
    """One packing, and exceptions.

    Attributes:
        blocks: starts of the names of all that is quantized; empty for everything but output heads.
    """

    usual: Packing
    entries: tuple[Named, ...]
    blocks: tuple[str, ...]

    def pick(self, unit: Unit) -> Packing | None:
        """INCConfigParser._resolve_raw."""
        for entry in self.entries:
            if unit.name == entry.key or unit.name.endswith(f".{entry.key}"):
                return entry.packing
        shards = () if unit.kind is Kind.EXPERTS else unit.shards
        if any(self._entry(shard) for shard in shards):
            chosen = {self._of(shard, unit) for shard in shards}
            if len(chosen) > 1:
                raise ConfigError(f"quantization gives the projections of `{unit.name[:80]}` different settings")
            return chosen.pop()
        return self._of(unit.name, unit)

    def _entry(self, name: str) -> Named | None:
        exact = next((entry for entry in self.entries if entry.key == name), None)
        return exact or next((entry for entry in self.entries if entry.is_in(name)), None)

    def _of(self, name: str, unit: Unit) -> Packing | None:
        entry = self._entry(name)
        if entry is not None:
            return entry.packing
        inside = unit.name.startswith(self.blocks) if self.blocks else unit.kind is not Kind.HEAD
        return self.usual if inside else None

    @property
    def listed(self) -> Listed:
        """Its entries and blocks: a piece that is an expression is both."""
        expressions = tuple(entry.key for entry in self.entries if not _SPECIAL.isdisjoint(entry.key))
        pieces = tuple((entry.key, entry.packing) for entry in self.entries)
        return Listed(pieces=(*pieces, *((block, "block") for block in self.blocks)), expressions=expressions)

    def renamed(self, rename: Rename) -> Rounded:
        """The same with the engine's names."""
        entries = tuple(Named(rename(entry.key), entry.packing) for entry in self.entries)
        return Rounded(self.usual, entries, tuple(map(rename, self.blocks)))


def auto_round(block: Mapping[str, Any]) -> Quantization:
    """The block of an AutoRound checkpoint."""
    form, kind = str(block.get("packing_format", "auto_round:auto_gptq")), str(block.get("data_type", "int"))
    if form not in _STYLES or kind != "int":
        raise UnknownLayoutError(f"AutoRound's `{form[:30]}` of `{kind[:20]}` has no layout that stackc knows")
    usual = _packing(_STYLES[form], block)
    if usual is None:
        raise ConfigError("quantization `bits` of AutoRound must be below 16")
    extra = block.get("extra_config") or {}
    if not isinstance(extra, Mapping) or not all(isinstance(fields, Mapping) for fields in extra.values()):
        raise ConfigError(f"quantization `extra_config` must hold a map for each layer, not {str(extra)[:40]}")
    entries = tuple(_named(str(name), fields, _STYLES[form], block) for name, fields in extra.items())
    return Quantization("auto-round", usual, usual, Rounded(usual, entries, _blocks(block)))


def _named(name: str, fields: Mapping[str, Any], style: str, block: Mapping[str, Any]) -> Named:
    if not _SPECIAL.isdisjoint(name):
        Names(patterns=(name,))
    shared = {key: block[key] for key in ("bits", "group_size", "sym") if key in block}
    return Named(name, _packing(style, {**shared, **fields}))


def _blocks(block: Mapping[str, Any]) -> tuple[str, ...]:
    named = block.get("block_name_to_quantize") or block.get("to_quant_block_names") or ()
    if isinstance(named, str):
        return tuple(named.split(","))
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        raise ConfigError(f"quantization `block_name_to_quantize` must be names, not {str(named)[:40]}")
    return tuple(named)


def _packing(style: str, fields: Mapping[str, Any]) -> Packing | None:
    bits, size, symmetric = fields.get("bits"), fields.get("group_size", -1), fields.get("sym", True)
    if bits is None or not is_positive(bits):
        raise ConfigError(f"quantization `bits` must be a positive number, not {str(bits)[:40]}")
    if bits >= _UNQUANTIZED_BITS:
        return None
    if size != -1 and not is_positive(size):
        raise ConfigError(f"quantization `group_size` must be -1 or a positive number, not {str(size)[:40]}")
    if bits not in _BITS[style] or (style == "gptq" and symmetric is not True):
        raise UnknownLayoutError(f"AutoRound's {str(bits)[:8]} bits, symmetric {str(symmetric)[:5]}, have no layout")
    return Packing(style, bits, None if size == -1 else size, symmetric=symmetric is True)
