"""How a checkpoint's quantization block says that weights are stored, and which modules it leaves alone."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.memory.config import ConfigError


class UnknownLayoutError(ConfigError):
    """A quantization whose tensors stackc cannot lay out, although an engine may run it."""


_LARGEST_GROUP = 65536
_BYTE = 8


@dataclass(frozen=True, slots=True)
class Packing:
    """How a quantizer stores a module.

    Attributes:
        style: which layout of compiler/memory/layouts.py.
        bits: per weight.
        group_size: inputs that share a scale; None for one scale per output channel or tensor.
        block: rows and columns that share a scale (FP8 block checkpoints); None otherwise.
        symmetric: whether there are no zero points.
        static_activations: whether the checkpoint holds scales of activations.
    """

    style: str
    bits: int
    group_size: int | None = None
    block: tuple[int, int] | None = None
    symmetric: bool = True
    static_activations: bool = False


@dataclass(frozen=True, slots=True)
class Skips:
    """Modules that stay unquantized, as each method names them.

    Attributes:
        exact: names of whole modules.
        parts: pieces that a name contains.
        patterns: regular expressions that match a name from its start.
        globs: shell patterns.
    """

    exact: frozenset[str] = frozenset()
    parts: tuple[str, ...] = ()
    patterns: tuple[re.Pattern[str], ...] = ()
    globs: tuple[str, ...] = ()

    def covers(self, name: str) -> bool:
        """Whether a module, by its full name, is skipped."""
        return (
            name in self.exact
            or any(part in name for part in self.parts)
            or any(pattern.match(name) for pattern in self.patterns)
            or any(fnmatch.fnmatchcase(name, glob) for glob in self.globs)
        )


@dataclass(frozen=True, slots=True)
class Quantization:
    """The whole block: how modules are packed, and which are not.

    Attributes:
        linear, experts: packing of the two kinds of modules; None where that kind stays unquantized.
        table: packing of the output head; None where it stays unquantized.
        attention_scales: scalars in the served dtype that the engine adds to each attention layer
            (vllm/model_executor/layers/quantization/kv_cache.py:BaseKVCacheMethod, 0.33.0).
        kv_cache_dtype: of the cache, where the checkpoint chooses one for `auto`.
    """

    method: str
    linear: Packing | None
    experts: Packing | None
    skips: Skips = Skips()
    table: Packing | None = None
    attention_scales: int = 0
    kv_cache_dtype: str | None = None

    @property
    def bits(self) -> int:
        """Bits of most weights."""
        packing = self.linear or self.experts
        return packing.bits if packing is not None else 16


def read_quantization(method: str | None, block: Mapping[str, Any] | None) -> Quantization | None:
    """What the checkpoint's quantization block says; None if it is unquantized.

    Args:
        method: as the engine spells it (compiler/lock/quantization.py:checkpoint_format).
        block: the block itself.

    Raises:
        UnknownLayoutError: a method without a layout here.
        ConfigError: a block that is malformed.
    """
    if block is None or method is None:
        return None
    reader = _READERS.get(method)
    if reader is None:
        raise UnknownLayoutError(f"quantization method `{method[:40]}` has no layout that stackc knows")
    return reader(block)


def _awq(block: Mapping[str, Any]) -> Quantization:
    packing = _integers(block, "awq")
    skips = Skips(parts=_names(block, "modules_to_not_convert"))
    return Quantization("awq", packing, packing, skips)


def _gptq(block: Mapping[str, Any]) -> Quantization:
    packing = _integers(block, "gptq")
    return Quantization("gptq", packing, packing, table=packing if block.get("lm_head") is True else None)


def _integers(block: Mapping[str, Any], style: str) -> Packing:
    bits = block.get("bits", block.get("w_bit"))
    group = block.get("group_size", block.get("q_group_size"))
    if bits not in (2, 3, 4, 8):
        raise ConfigError(f"quantization `bits` must be 2, 3, 4 or 8, not {str(bits)[:40]}")
    if not isinstance(group, int) or isinstance(group, bool) or not (group == -1 or 0 < group <= _LARGEST_GROUP):
        raise ConfigError(f"quantization `group_size` must be -1 or a positive number, not {str(group)[:40]}")
    return Packing(style, int(bits), None if group == -1 else group)


_ATTENTION_SCALES = 4


def _fp8(block: Mapping[str, Any]) -> Quantization:
    if block.get("moe_quant_algo"):
        raise UnknownLayoutError("an FP8 checkpoint with `moe_quant_algo` has no layout that stackc knows")
    size = block.get("weight_block_size")
    static = block.get("activation_scheme") == "static"
    if size is not None and not (isinstance(size, list) and len(size) == 2 and all(_is_positive(n) for n in size)):  # noqa: PLR2004
        raise ConfigError("quantization `weight_block_size` must be two positive numbers")
    packing = Packing("fp8", _BYTE, block=(size[0], size[1]) if size else None, static_activations=static)
    skips = Skips(exact=frozenset(_names(block, "ignored_layers", "modules_to_not_convert")))
    return Quantization("fp8", packing, packing, skips, attention_scales=_ATTENTION_SCALES)


def _names(block: Mapping[str, Any], *keys: str) -> tuple[str, ...]:
    value = next((block[key] for key in keys if block.get(key)), ())
    if not isinstance(value, list | tuple):
        raise ConfigError(f"quantization `{keys[0]}` must be a list, not {str(value)[:40]}")
    return tuple(map(str, value))


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _compressed_tensors(block: Mapping[str, Any]) -> Quantization:
    groups = block.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise ConfigError("quantization `config_groups` must hold a group")
    if len(groups) > 1:
        raise UnknownLayoutError("compressed-tensors with several groups has no layout that stackc knows")
    group = next(iter(groups.values()))
    weights = group.get("weights") if isinstance(group, Mapping) else None
    if not isinstance(weights, Mapping):
        raise ConfigError("quantization `config_groups.*.weights` is missing")
    packing = _compressed_packing(weights, group.get("input_activations"))
    return Quantization(
        "compressed-tensors", packing, packing, ignored(block.get("ignore")), attention_scales=_ATTENTION_SCALES
    )


def ignored(names: Any) -> Skips:
    """Compressed-tensors' list: whole names, or regular expressions behind `re:`."""
    listed = [str(name) for name in names] if isinstance(names, Sequence) and not isinstance(names, str) else []
    try:
        patterns = tuple(re.compile(name.removeprefix("re:")) for name in listed if name.startswith("re:"))
    except re.error as error:
        raise ConfigError(f"quantization `ignore` holds an expression that cannot be read: {error}") from error
    return Skips(exact=frozenset(name for name in listed if not name.startswith("re:")), patterns=patterns)


def _compressed_packing(weights: Mapping[str, Any], activations: Any) -> Packing:
    bits, size = weights.get("num_bits"), _compressed_group_size(weights)
    if weights.get("type") == "float" and bits == _BYTE and not size:
        static = isinstance(activations, Mapping) and activations.get("dynamic") is False
        return Packing("ct-fp8", _BYTE, static_activations=static)
    if weights.get("type") != "int" or bits not in (4, 8):
        grouped = f" in groups of {str(size)[:20]}" if size else ""
        scheme = f"{str(weights.get('type'))[:20]} {str(bits)[:20]} bit{grouped}"
        raise UnknownLayoutError(f"quantization scheme {scheme} has no layout that stackc knows")
    if not weights.get("symmetric", True):
        raise UnknownLayoutError("asymmetric compressed-tensors weights have no layout that stackc knows")
    if bits == 4 and activations:  # noqa: PLR2004
        raise UnknownLayoutError("4-bit weights with quantized activations have no layout that stackc knows")
    if bits == _BYTE and not size and activations:
        return Packing("int8", _BYTE)
    return Packing("pack-quantized", int(bits), size)


def _compressed_group_size(weights: Mapping[str, Any]) -> int | None:
    size = weights.get("group_size")
    if size in (None, 0, -1):
        return None
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= _LARGEST_GROUP:
        raise ConfigError(f"quantization `group_size` must be a positive number, not {str(size)[:40]}")
    return size


_READERS = {"awq": _awq, "gptq": _gptq, "fp8": _fp8, "compressed-tensors": _compressed_tensors}
