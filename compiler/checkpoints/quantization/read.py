"""How a checkpoint's quantization block says that weights are stored, and which modules it leaves alone.

vllm/model_executor/layers/quantization/ of 0.33.0: auto_awq.py, auto_gptq.py, fp8.py, mxfp4.py, and
vllm/models/deepseek_v4/quant_config.py; AutoRound, compressed-tensors and ModelOpt have files of their own here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.quantization.autoround import auto_round
from compiler.checkpoints.quantization.compressed_tensors import compressed_tensors
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
from compiler.checkpoints.quantization.modelopt import modelopt, mxfp8

__all__ = ["Packing", "Quantization", "UnknownLayoutError", "read_quantization"]

_LARGEST_GROUP = 65536
_BYTE, _NIBBLE = 8, 4
_MX_GROUP = 32

# Scalars that BaseKVCacheMethod registers: q, k, v and prob (quantization/kv_cache.py).
_FOUR_SCALES = Scales(served=4)


def read_quantization(
    method: str | None, block: Mapping[str, Any] | None, config: Mapping[str, Any] | None = None
) -> Quantization | None:
    """What the checkpoint's quantization block says; None if it is unquantized.

    Args:
        method: as the engine spells it (compiler/lock/quantization.py:checkpoint_format).
        block: the block itself.
        config: the whole config.json, where the model decides too: DeepSeek V4's `expert_dtype`, gpt-oss's kernels.

    Raises:
        UnknownLayoutError: a method without a layout here.
        ConfigError: a block that is malformed.
    """
    if block is None or method is None:
        return None
    kind = config.get("model_type") if config is not None else None
    if kind in _UNFOLLOWED:
        raise UnknownLayoutError(
            f"how {kind} is stored by `{method[:40]}` is not known, its n-gram tables least of all"
        )
    if config is not None and (method, kind) == ("fp8", "deepseek_v4"):
        return _deepseek_v4(block, config)
    # KimiK3ForConditionalGenerationConfig takes such a checkpoint for one of mxfp4 (models/config.py).
    kimi_k3 = (method, kind, block.get("format")) == ("compressed-tensors", "kimi_k3", "mxfp4-pack-quantized")
    if kimi_k3 or (method == "mxfp4" and kind not in (None, "gpt_oss")):
        return _mxfp4_experts("mxfp4")
    reader = _READERS.get("modelopt" if method.startswith("modelopt") else method)
    if reader is None:
        raise UnknownLayoutError(f"quantization method `{method[:40]}` has no layout that stackc knows")
    return reader(block)


# vllm/models/qwen4_exp/common/ngram_embedding.py:from_quant_config picks by a quantizer's class and lists.
_UNFOLLOWED = ("qwen4_exp", "qwen4_exp_text")
_NO_NAMES = Names()


@dataclass(frozen=True, slots=True)
class Uniform:
    """One packing for every module of a kind that is not listed.

    Attributes:
        skips: unquantized linear modules and heads.
        expert_names: whether an entry that goes on after a module's name skips it, as single experts' names do.
        only: pieces of the names of all that is quantized; empty for no such list.
    """

    linear: Packing | None
    experts: Packing | None
    head: Packing | None = None
    skips: Names = _NO_NAMES
    expert_names: bool = False
    only: tuple[str, ...] = ()

    def pick(self, unit: Unit) -> Packing | None:
        """None where the module stays unquantized."""
        if self._skips(unit):
            return None
        match unit.kind:
            case Kind.LINEAR:
                return self.linear
            case Kind.EXPERTS:
                return self.experts
            case Kind.HEAD:
                return self.head

    def _skips(self, unit: Unit) -> bool:
        if unit.kind is Kind.LINEAR and self.only and not Names(parts=self.only).covers_unit(unit):
            return True
        if self.expert_names and "experts" in unit.name and (unit.kind is Kind.EXPERTS or not unit.shards):
            return any(unit.name in listed for listed in self.skips.exact)
        whole = replace(unit, shards=()) if unit.kind is Kind.EXPERTS else unit
        return self.skips.covers_unit(whole)

    @property
    def listed(self) -> Listed:
        """What is skipped, and what alone is not."""
        return self.skips.listed.beside(Names(parts=self.only).listed.meaning("only"))

    def renamed(self, rename: Rename) -> Uniform:
        """The same with the engine's names."""
        return replace(self, skips=self.skips.renamed(rename), only=tuple(map(rename, self.only)))


@dataclass(frozen=True, slots=True)
class Overrides:
    """GPTQModel's `dynamic` rules before a default: the first expression that matches an engine's name decides.

    Attributes:
        rules: expression, and the packing of what it matches; None for unquantized.
    """

    rules: tuple[tuple[str, Packing | None], ...]
    default: Uniform

    def pick(self, unit: Unit) -> Packing | None:
        """None where the module stays unquantized."""
        usual = self.default.pick(unit)
        if usual is None:
            return None
        return next((packing for rule, packing in self.rules if re.match(rule, unit.name)), usual)

    @property
    def listed(self) -> Listed:
        """The rules, and what the default lists."""
        return Listed(expressions=tuple(rule for rule, _ in self.rules)).beside(self.default.listed)

    def renamed(self, rename: Rename) -> Overrides:
        """The same with the engine's names."""
        return replace(self, default=self.default.renamed(rename))


def _awq(block: Mapping[str, Any]) -> Quantization:
    packing = _integers(block, "awq", bits=("w_bit", "bits"), group=("q_group_size", "group_size"))
    if packing.bits != _NIBBLE:
        raise ConfigError(f"quantization `bits` must be 4 for AWQ, not {packing.bits}")
    packing = replace(packing, symmetric=block.get("zero_point") is False)
    skips = Names(parts=names_in(block, "modules_to_not_convert"))
    head = packing if block.get("lm_head") is True else None
    return Quantization("awq", packing, packing, Uniform(packing, packing, head, skips))


def _gptq(block: Mapping[str, Any]) -> Quantization:
    packing = _gptq_packing(block)
    head = packing if block.get("lm_head") is True else None
    default = Uniform(packing, packing, head, only=_flat(block.get("modules_in_block_to_quantize")))
    rules = block.get("dynamic") or {}
    if not isinstance(rules, Mapping):
        raise ConfigError(f"quantization `dynamic` must be a map, not {str(rules)[:40]}")
    chooser = Overrides(tuple(_gptq_rule(rule, fields, block) for rule, fields in rules.items()), default)
    return Quantization("gptq", packing, packing, chooser if rules else default)


def _gptq_rule(rule: str, fields: Any, block: Mapping[str, Any]) -> tuple[str, Packing | None]:
    expression = rule.removeprefix("-:").removeprefix("+:")
    Names(patterns=(expression,))
    if rule.startswith("-:"):
        return expression, None
    if not isinstance(fields, Mapping):
        raise ConfigError(f"quantization `dynamic` rule {rule[:40]} must be a map, not {str(fields)[:40]}")
    return expression, _gptq_packing({**block, **fields})


def _gptq_packing(block: Mapping[str, Any]) -> Packing:
    packing = _integers(block, "gptq", bits=("bits",), group=("group_size",))
    if packing.bits not in (_NIBBLE, _BYTE) or block.get("sym") is False:
        raise ConfigError(
            f"quantization `bits` {packing.bits} with `sym` {str(block.get('sym'))[:10]}: vLLM runs symmetric GPTQ of "
            "4 or 8 bits only"
        )
    if block.get("desc_act") is True and packing.group_size is not None:
        raise ConfigError("quantization `desc_act` orders activations over groups, which vLLM no longer runs")
    return packing


def _flat(value: Any) -> tuple[str, ...]:
    """`modules_in_block_to_quantize`: names, or lists of names."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ConfigError(f"quantization `modules_in_block_to_quantize` must be a list, not {str(value)[:40]}")
    return tuple(name for entry in value for name in (_flat(entry) if isinstance(entry, list) else (str(entry),)))


def _integers(block: Mapping[str, Any], style: str, *, bits: tuple[str, ...], group: tuple[str, ...]) -> Packing:
    width = next((block[key] for key in bits if key in block), None)
    size = next((block[key] for key in group if key in block), None)
    if not isinstance(width, int) or isinstance(width, bool) or width not in (2, 3, 4, 8):
        raise ConfigError(f"quantization `bits` must be 2, 3, 4 or 8, not {str(width)[:40]}")
    if not isinstance(size, int) or isinstance(size, bool) or not (size == -1 or 0 < size <= _LARGEST_GROUP):
        raise ConfigError(f"quantization `group_size` must be -1 or a positive number, not {str(size)[:40]}")
    return Packing(style, width, None if size == -1 else size)


def _fp8(block: Mapping[str, Any]) -> Quantization:
    if block.get("store_dtype") is not None:
        raise UnknownLayoutError("FP8 with `store_dtype` has no layout that stackc knows")
    if block.get("moe_quant_algo"):
        raise UnknownLayoutError("an FP8 checkpoint with `moe_quant_algo` has no layout that stackc knows")
    packing = _fp8_packing(block)
    chooser = Uniform(packing, packing, skips=_ignored_layers(block), expert_names=True)
    return Quantization("fp8", packing, packing, chooser, _FOUR_SCALES)


def _ignored_layers(block: Mapping[str, Any]) -> Names:
    return Names(exact=frozenset(names_in(block, "ignored_layers", "modules_to_not_convert")))


def _fp8_packing(block: Mapping[str, Any]) -> Packing:
    size, scheme = block.get("weight_block_size"), block.get("activation_scheme")
    if scheme not in ("static", "dynamic"):
        raise ConfigError(f"quantization `activation_scheme` must be static or dynamic, not {str(scheme)[:40]}")
    if size is not None and not (isinstance(size, list) and len(size) == 2 and all(map(is_positive, size))):  # noqa: PLR2004
        raise ConfigError("quantization `weight_block_size` must be two positive numbers")
    if size and scheme == "static":
        raise ConfigError("quantization `activation_scheme` must be dynamic with `weight_block_size`")
    return Packing("fp8", _BYTE, block=(size[0], size[1]) if size else None, static_activations=scheme == "static")


def _mxfp4(block: Mapping[str, Any]) -> Quantization:
    del block
    return _mxfp4_experts("gpt-oss-mxfp4")


def _mxfp4_experts(style: str) -> Quantization:
    """Only experts are stored so; `modules_to_not_convert` is not read."""
    packing = Packing(style, _NIBBLE, _MX_GROUP)
    return Quantization("mxfp4", None, packing, Uniform(None, packing))


def _deepseek_v4(block: Mapping[str, Any], config: Mapping[str, Any]) -> Quantization:
    """FP8 blocks, and experts of the dtype that the model's own config names."""
    experts_in = config.get("expert_dtype", "fp4")
    if experts_in not in ("fp4", "fp8"):
        raise ConfigError(f"`expert_dtype` must be fp4 or fp8, not {str(experts_in)[:40]}")
    linear = experts = _fp8_packing(block)
    if experts_in == "fp4":
        linear = replace(linear, scale_dtype="F8_E8M0")
        nvfp4 = str(block.get("moe_quant_algo") or "").upper() == "NVFP4"
        experts = (
            Packing("nvfp4", _NIBBLE, 16, static_activations=True) if nvfp4 else Packing("mxfp4", _NIBBLE, _MX_GROUP)
        )
    chooser = Uniform(linear, experts, skips=_ignored_layers(block), expert_names=True)
    return Quantization("deepseek_v4_fp8", linear, experts, chooser, _FOUR_SCALES)


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Quantization]] = {
    "awq": _awq,
    "gptq": _gptq,
    "auto-round": auto_round,
    "fp8": _fp8,
    "mxfp4": _mxfp4,
    "gpt_oss_mxfp4": _mxfp4,
    "compressed-tensors": compressed_tensors,
    "modelopt": modelopt,
    "mxfp8": mxfp8,
}
