"""ModelOpt: one algorithm for all modules, or one for each.

vllm/model_executor/layers/quantization/modelopt.py of 0.33.0.

config.json holds the settings directly, the older hf_quant_config.json below `quantization`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
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
    first_packing,
    is_positive,
    names_in,
)
from compiler.checkpoints.quantization.likeness import Listed

_BYTE, _NIBBLE = 8, 4
_NVFP4_GROUP, _MX_GROUP, _BLOCK = 16, 32, 128
_MIXED = "MIXED_PRECISION"
_WILD = frozenset("*?[")

# Towers that checkpoints of older exporters leave out without listing them.
_TOWERS = ("vision_tower", "vision_model", "vit_large_projector")


@lru_cache(maxsize=64)
def _exact(listed: tuple[str, ...]) -> Names:
    return Names(exact=frozenset(listed))


@lru_cache(maxsize=64)
def _pieces_and_globs(listed: tuple[str, ...]) -> Names:
    """A pattern is no piece of any name, and what is none matches only as a piece."""
    globs = tuple(name for name in listed if not _WILD.isdisjoint(name))
    return Names(parts=tuple(name for name in listed if _WILD.isdisjoint(name)), globs=globs)


@dataclass(frozen=True, slots=True)
class Excluded:
    """`exclude_modules` or `ignore`: names, pieces of names and shell patterns, all in one list."""

    listed: tuple[str, ...] = ()

    def covers(self, unit: Unit) -> bool:
        """ModelOptQuantConfigBase.is_layer_excluded."""
        if self._exactly(unit):
            return True
        # A piece of the name behind `language_model.` is a piece of the whole name as well.
        return _pieces_and_globs(self.listed).covers(unit.name)

    def _exactly(self, unit: Unit) -> bool:
        fuses = unit.kind is not Kind.EXPERTS and bool(unit.shards)
        if not fuses and "experts" in unit.name:
            return any(unit.name in name for name in self.listed if "experts" in name)
        whole = unit if fuses else replace(unit, shards=())
        return _exact(self.listed).covers_unit(whole)

    def all_listed(self) -> Listed:
        """As names and as pieces of them."""
        return _exact(self.listed).listed.beside(_pieces_and_globs(self.listed).listed)

    def renamed(self, rename: Rename) -> Excluded:
        """With the engine's names; `path*` becomes the path and all below it, as apply_vllm_mapper splits it."""
        split: list[str] = []
        for name in self.listed:
            whole_tree = len(name) > 1 and name.endswith("*") and not name.endswith(".*")
            split += [name[:-1], f"{name[:-1]}.*"] if whole_tree else [name]
        return Excluded(tuple(map(rename, split)))


@dataclass(frozen=True, slots=True)
class OneAlgorithm:
    """One packing for all that is not excluded, output heads included."""

    packing: Packing
    experts: Packing
    excluded: Excluded

    def pick(self, unit: Unit) -> Packing | None:
        """None where the module stays unquantized."""
        if self.excluded.covers(unit) or any(tower in unit.name for tower in _TOWERS):
            return None
        return self.experts if unit.kind is Kind.EXPERTS else self.packing

    @property
    def listed(self) -> Listed:
        """What is excluded."""
        return self.excluded.all_listed()

    def renamed(self, rename: Rename) -> OneAlgorithm:
        """The same with the engine's names."""
        return replace(self, excluded=self.excluded.renamed(rename))


@dataclass(frozen=True, slots=True)
class ByLayer:
    """MIXED_PRECISION: an algorithm for each module that `quantized_layers` names.

    Attributes:
        layers: name and packing.
        below: packing of the first of them under a path.
    """

    layers: Mapping[str, Packing]
    below: Mapping[str, Packing]
    excluded: Excluded

    @classmethod
    def of(cls, layers: Mapping[str, Packing], excluded: Excluded) -> ByLayer:
        """With every path above a module."""
        below: dict[str, Packing] = {}
        for name, packing in layers.items():
            path = name.rpartition(".")[0]
            while path and path not in below:
                below[path] = packing
                path = path.rpartition(".")[0]
        return cls(layers, below, excluded)

    def pick(self, unit: Unit) -> Packing | None:
        """ModelOptMixedPrecisionConfig._resolve_quant_algo."""
        if self.excluded.covers(unit):
            return None
        found = self._of(unit)
        return _of_experts(found) if found is not None and unit.kind is Kind.EXPERTS else found

    def _of(self, unit: Unit) -> Packing | None:
        names = _spellings(unit.name)
        direct = first_packing(self.layers.get(name) for name in names)
        if direct is not None:
            return direct
        if unit.kind is not Kind.EXPERTS and unit.shards:
            return self._of_shards(unit)
        under = first_packing(self.below.get(name) for name in names)
        if under is None and unit.name.endswith(".experts"):
            return self.below.get(unit.name.removesuffix(".experts"))
        return under

    def _of_shards(self, unit: Unit) -> Packing | None:
        found = {self.layers.get(name) for shard in unit.shards for name in _spellings(shard)} - {None}
        if len(found) > 1:
            raise ConfigError(f"quantization gives the projections of `{unit.name[:80]}` different algorithms")
        return found.pop() if found else None

    @property
    def listed(self) -> Listed:
        """Each layer with its packing, and what is excluded."""
        return Listed(tuple(self.layers.items())).beside(self.excluded.all_listed())

    def renamed(self, rename: Rename) -> ByLayer:
        """The same with the engine's names."""
        layers = {rename(name): packing for name, packing in self.layers.items()}
        return ByLayer.of(layers, self.excluded.renamed(rename))


def _spellings(name: str) -> tuple[str, ...]:
    """Names under which `quantized_layers` may hold a module of the engine."""
    names = [name]
    if name.endswith(".lm_head"):
        names.append("lm_head")
    if name.startswith("language_model.model."):
        names.append("model.language_model." + name.removeprefix("language_model.model."))
    elif name.startswith("model.language_model."):
        names.append("language_model.model." + name.removeprefix("model.language_model."))
    return tuple(names)


def modelopt(block: Mapping[str, Any]) -> Quantization:
    """The block of a ModelOpt checkpoint, from either file."""
    inner = block.get("quantization")
    sidecar = isinstance(inner, Mapping)
    settings = inner if isinstance(inner, Mapping) else block
    algorithm = str(settings.get("quant_algo") or "").upper()
    if not algorithm:
        raise ConfigError("quantization `quant_algo` is missing")
    listed = names_in(settings, "exclude_modules") if sidecar else names_in(settings, *_first_key(settings))
    cache = _cache_dtype(block, settings)
    if algorithm == _MIXED:
        return _mixed(settings, Excluded(listed), _scales_of_mixed(settings, sidecar=sidecar), cache)
    if algorithm == "NVFP4" and _weights_only(block.get("config_groups")):
        algorithm = "W4A16_NVFP4"
    packing = _algorithm(algorithm, settings)
    experts = _of_experts(packing)
    chooser = OneAlgorithm(packing, experts, Excluded(listed))
    return Quantization("modelopt", packing, experts, chooser, Scales(served=4, latent=True), cache)


def mxfp8(block: Mapping[str, Any]) -> Quantization:
    """`quant_method: mxfp8`, which ModelOptMxFp8Config reads as its own with `ignored_layers`."""
    ignored = list(names_in(block, "ignored_layers"))
    named = {"quant_algo": "MXFP8", "exclude_modules": ignored, "kv_cache_quant_algo": block.get("kv_cache_quant_algo")}
    return modelopt({"quantization": named})


def _first_key(settings: Mapping[str, Any]) -> tuple[str, ...]:
    return ("ignore",) if "ignore" in settings else ("exclude_modules",)


def _cache_dtype(block: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    """What `auto` becomes; None where nothing known is named (utils/torch_utils.py:get_kv_cache_quant_algo_string)."""
    places = ((settings, "kv_cache_scheme"), (block, "kv_cache_scheme"), (settings, "kv_cache_quant_algo"),
              (block, "kv_cache_quant_algo"))  # fmt: skip
    named = next((place[key] for place, key in places if place.get(key)), None)
    if isinstance(named, Mapping):
        bits = named.get("num_bits") if named.get("type") == "float" else None
        named = "fp8" if bits == _BYTE and named.get("dynamic") is False else "nvfp4" if bits == _NIBBLE else None
    algorithm = named.lower() if isinstance(named, str) else ""
    if algorithm == "nvfp4":
        raise UnknownLayoutError("a KV cache in nvfp4 has no layout that stackc knows")
    # By this name, which not every backend takes that takes `fp8` (MODELOPT_TO_VLLM_KV_CACHE_DTYPE_MAP).
    return "fp8_e4m3" if algorithm == "fp8" else None


def _scales_of_mixed(settings: Mapping[str, Any], *, sidecar: bool) -> Scales:
    """Only where the checkpoint names a format of the cache (ModelOptQuantConfigBase.from_config)."""
    if sidecar:
        return Scales(served=4) if settings.get("kv_cache_quant_algo") else Scales()
    scheme = settings.get("kv_cache_scheme")
    is_float8 = isinstance(scheme, Mapping) and (scheme.get("type"), scheme.get("num_bits")) == ("float", _BYTE)
    return Scales(served=4) if is_float8 else Scales()


def _mixed(settings: Mapping[str, Any], excluded: Excluded, scales: Scales, cache: str | None) -> Quantization:
    layers = settings.get("quantized_layers")
    if not isinstance(layers, Mapping) or not layers:
        raise ConfigError("quantization `quantized_layers` must name a layer")
    fields = [layer for layer in layers.values() if isinstance(layer, Mapping)]
    if len(fields) != len(layers):
        raise ConfigError("quantization `quantized_layers` must hold a map for each layer")
    shared = {**settings, "group_size": settings.get("group_size") or _group_of(fields)}
    algorithms = {str(name): str(layer.get("quant_algo")).upper() for name, layer in layers.items()}
    known = {algorithm: _algorithm(algorithm, shared) for algorithm in set(algorithms.values())}
    packings = {name: known[algorithm] for name, algorithm in algorithms.items()}
    usual = Counter(packings.values()).most_common(1)[0][0]
    chooser = ByLayer.of(packings, excluded)
    return Quantization("modelopt", usual, _of_experts(usual), chooser, scales, cache)


def _group_of(layers: Iterable[Mapping[str, Any]]) -> int:
    """`group_size` of the first NVFP4 layer."""
    sizes = (layer.get("group_size") for layer in layers if "NVFP4" in str(layer.get("quant_algo")).upper())
    return next((int(size) for size in sizes if size is not None and is_positive(size)), _NVFP4_GROUP)


def _algorithm(algorithm: str, settings: Mapping[str, Any]) -> Packing:
    if algorithm in ("NVFP4", "W4A16_NVFP4"):
        size = settings.get("group_size") or _NVFP4_GROUP
        if not is_positive(size):
            raise ConfigError(f"quantization `group_size` must be a positive number, not {str(size)[:40]}")
        return Packing("nvfp4", _NIBBLE, size, static_activations=algorithm == "NVFP4")
    plain = {
        "FP8": Packing("fp8", _BYTE, static_activations=True),
        "FP8_PER_CHANNEL_PER_TOKEN": Packing("fp8", _BYTE, per_channel=True),
        "FP8_PB_WO": Packing("modelopt-fp8-block", _BYTE, block=(_BLOCK, _BLOCK)),
        "FP8_BLOCK_SCALES": Packing("modelopt-fp8-block", _BYTE, block=(_BLOCK, _BLOCK)),
        "MXFP8": Packing("mxfp8", _BYTE, _MX_GROUP),
    }
    if algorithm not in plain:
        raise UnknownLayoutError(f"ModelOpt's `quant_algo` {algorithm[:40]} has no layout that stackc knows")
    return plain[algorithm]


def _of_experts(packing: Packing) -> Packing:
    """Experts of block checkpoints are those of FP8; of all other FP8 algorithms, they have static scales."""
    if packing.style == "modelopt-fp8-block":
        return replace(packing, style="fp8")
    return Packing("fp8", _BYTE, static_activations=True) if packing.style == "fp8" else packing


def _weights_only(groups: Any) -> bool:
    if not isinstance(groups, Mapping) or not groups:
        return False
    return all(isinstance(group, Mapping) and group.get("input_activations") is None for group in groups.values())
