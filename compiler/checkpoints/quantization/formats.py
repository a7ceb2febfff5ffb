"""What a quantization means for a module: how it is packed, and how the names that a checkpoint lists find it."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Protocol

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.quantization.likeness import Listed, Lists


class UnknownLayoutError(ConfigError):
    """A quantization whose tensors stackc cannot lay out, although an engine may run it."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How a quantizer stores a module.

    Attributes:
        style: which layout of compiler/checkpoints/parameters/linear.py and expert_layouts.py.
        bits: per weight.
        group_size: inputs that share a scale; None for one scale per output channel or tensor.
        block: rows and columns that share a scale (FP8 block checkpoints); None otherwise.
        per_channel: FP8 and INT8: a scale for each output, not one for the tensor.
        symmetric: whether there are no zero points.
        static_activations: whether the checkpoint holds scales of activations.
        scale_dtype: safetensors dtype of block scales.
    """

    style: str
    bits: int
    group_size: int | None = None
    block: tuple[int, int] | None = None
    per_channel: bool = False
    symmetric: bool = True
    static_activations: bool = False
    scale_dtype: str = "F32"


class Kind(Enum):
    """Modules that quantizers tell apart."""

    LINEAR = auto()
    EXPERTS = auto()
    HEAD = auto()


@dataclass(frozen=True, slots=True)
class Unit:
    """A module as the engine builds it.

    Attributes:
        name: full, as the engine calls it (`model.layers.0.self_attn.qkv_proj`).
        shards: full names of the projections that it fuses; of experts, those of the first one. Empty for any other.
    """

    kind: Kind
    name: str
    shards: tuple[str, ...] = ()


Rename = Callable[[str], str]


@lru_cache(maxsize=4096)
def _expression(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"quantization lists an expression that cannot be read: {error}") from error


_WILD = re.compile(r"[*?\[]")


@lru_cache(maxsize=256)
def _starts_and_pattern(globs: tuple[str, ...]) -> tuple[tuple[str, ...], re.Pattern[str]]:
    """Starts of names, which `path*` asks for by the hundred, and what all other patterns ask for."""
    starts = tuple(glob[:-1] for glob in globs if glob.endswith("*") and not _WILD.search(glob[:-1]))
    others = (fnmatch.translate(glob) for glob in globs if not glob.endswith("*") or _WILD.search(glob[:-1]))
    return starts, re.compile("|".join(others) or r"(?!)")


@dataclass(frozen=True, slots=True)
class Names:
    """Names of modules as a checkpoint lists them.

    Attributes:
        exact: of whole modules.
        parts: pieces that a name contains.
        patterns: regular expressions that match a name from its start.
        globs: shell patterns.
    """

    exact: frozenset[str] = frozenset()
    parts: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    globs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse expressions that cannot be read."""
        for pattern in self.patterns:
            _expression(pattern)

    def covers(self, name: str) -> bool:
        """Whether a full name is listed."""
        return (
            name in self.exact
            or any(part in name for part in self.parts)
            or any(_expression(pattern).match(name) for pattern in self.patterns)
            or (bool(self.globs) and self._has_glob(name))
        )

    def _has_glob(self, name: str) -> bool:
        starts, pattern = _starts_and_pattern(self.globs)
        return name.startswith(starts) or pattern.match(name) is not None

    def covers_unit(self, unit: Unit) -> bool:
        """Whether a module is listed by its own name or by those of all it fuses.

        vllm/model_executor/layers/quantization/utils: quant_utils.py:is_layer_skipped and
        config_utils.py:find_matching_patterns. A whole name of one shard stands for all, because the models' weight
        mappers turn it into that of the fused module.

        Raises:
            ConfigError: patterns that list some shards and leave others.
        """
        if self.covers(unit.name):
            return True
        listed = [self.covers(shard) for shard in unit.shards]
        if any(listed) and not all(listed) and not any(shard in self.exact for shard in unit.shards):
            raise ConfigError(f"quantization lists some, not all of the projections of `{unit.name[:80]}`")
        return any(listed)

    @property
    def listed(self) -> Listed:
        """All of them; a whole name may also be a part of what is listed."""
        names = tuple((name, None) for name in sorted(self.exact))
        return Listed(names, tuple((piece, None) for piece in (*self.parts, *self.globs)), self.patterns)

    def renamed(self, rename: Rename) -> Names:
        """The same with the engine's names; expressions stay as they are."""
        return replace(
            self,
            exact=frozenset(map(rename, self.exact)),
            parts=tuple(map(rename, self.parts)),
            globs=tuple(map(rename, self.globs)),
        )


class Chooser(Lists, Protocol):
    """Picks a module's packing."""

    def pick(self, unit: Unit) -> Packing | None:
        """None where the module stays unquantized."""

    def renamed(self, rename: Rename) -> Chooser:
        """The same with the engine's names."""


@dataclass(frozen=True, slots=True)
class Scales:
    """Scalars that the engine adds to each attention layer to scale queries, keys, values and probabilities.

    Attributes:
        served: in the served dtype.
        floats: of 4 bytes.
        latent: whether latent attention (MLA) has them too.
        per_head: whether there is one of each for every KV head of the rank.
    """

    served: int = 0
    floats: int = 0
    latent: bool = False
    per_head: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Quantization:
    """The whole block: how modules are packed, and which are not.

    Attributes:
        linear, experts: packing of most modules of the two kinds; None where that kind stays unquantized.
        chooser: packing of a single module.
        scales: of attention layers.
        kv_cache_dtype: of the cache, where the checkpoint chooses one for `auto`.
    """

    method: str
    linear: Packing | None
    experts: Packing | None
    chooser: Chooser
    scales: Scales = Scales()
    kv_cache_dtype: str | None = None

    @property
    def bits(self) -> int:
        """Bits of most weights."""
        packing = self.experts or self.linear
        return packing.bits if packing is not None else 16


def names_in(block: Mapping[str, Any], *keys: str) -> tuple[str, ...]:
    """The list under the first of these keys that is not empty."""
    found = next(((key, block[key]) for key in keys if block.get(key)), None)
    if found is None:
        return ()
    key, value = found
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"quantization `{key}` must be a list of names, not {str(value)[:40]}")
    return tuple(value)


def is_positive(value: Any) -> bool:
    """Whether a value is a whole number above zero."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def first_packing(packings: Iterable[Packing | None]) -> Packing | None:
    """The first that is one."""
    return next((packing for packing in packings if packing is not None), None)
