"""Which quantization a checkpoint has, by what it says of itself and never by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compiler.gguf.file_types import method_name
from compiler.lock.models import ModelFacts

AWQ_FILE = "quant_config.json"
GPTQ_FILE = "quantize_config.json"
MODELOPT_FILE = "hf_quant_config.json"

_BYTE = 8
_LONGEST_METHOD = 64


def checkpoint_format(facts: ModelFacts) -> str | None:
    """The method as the engine spells it (`awq`, `gptq`, `compressed-tensors`, `modelopt`, …); None if unquantized.

    Sidecar files of older tools have no `quant_method`; there the file's name stands for it.
    """
    if facts.quantization is None:
        return None
    method = facts.quantization.get("quant_method")
    if isinstance(method, str) and method:
        return method.lower() if len(method) <= _LONGEST_METHOD else "unknown"
    return _FORMAT_OF_FILE.get(facts.quantization_file or "", "unknown")


_FORMAT_OF_FILE = {AWQ_FILE: "awq", GPTQ_FILE: "gptq", MODELOPT_FILE: "modelopt"}


def whole_config(facts: ModelFacts) -> Mapping[str, Any]:
    """The configuration as an engine has it: with the quantization block, wherever that stood, and its method.

    How some parts of a model are built, such as towers and narrow projections, follows from what quantized the rest.
    """
    form = checkpoint_format(facts)
    if form is None or facts.quantization is None:
        return facts.config
    return {**facts.config, "quantization_config": {**facts.quantization, "quant_method": form}}


def quantization_method(facts: ModelFacts) -> str:
    """The narrowest name a spec would use: `none`, `awq`, `gptq`, `int8`, `fp8`, `Q4_K_M`, or another."""
    if facts.gguf is not None:
        return facts.gguf.method
    form = checkpoint_format(facts)
    if form is None or facts.quantization is None:
        return "none"
    if form == "gptq":
        return "int8" if facts.quantization.get("bits") == _BYTE else "gptq"
    if form == "compressed-tensors":
        return _compressed_tensors_method(facts.quantization)
    if form == "modelopt":
        return "fp8" if _modelopt_algorithm(facts.quantization) == "FP8" else "modelopt"
    return form


def quantization_names(facts: ModelFacts) -> frozenset[str]:
    """Every name under which a spec may ask for this checkpoint: an int8 GPTQ answers to `int8` and to `gptq`."""
    if facts.gguf is not None:
        return facts.gguf.methods
    return frozenset(name for name in (quantization_method(facts), checkpoint_format(facts)) if name is not None)


def answers_quantization(facts: ModelFacts, asked: tuple[str, ...]) -> bool:
    """Whether this checkpoint has one of the methods that a service asks for; those of GGUF in any spelling."""
    if facts.gguf is not None:
        asked = tuple(method if method in ("auto", "none") else method_name(method) for method in asked)
    return "auto" in asked or not quantization_names(facts).isdisjoint(asked)


def orders_over_groups(facts: ModelFacts) -> bool:
    """GPTQ with activation ordering over groups, which the engine refuses; other branches often do without."""
    block = facts.quantization or {}
    return checkpoint_format(facts) == "gptq" and block.get("desc_act") is True and block.get("group_size") != -1


def _compressed_tensors_method(block: Mapping[str, Any]) -> str:
    weights = list(_group_weights(block))
    if weights and all(group.get("num_bits") == _BYTE for group in weights):
        # A list and no set: a stranger's value may be of any type.
        kinds = [group.get("type") for group in weights]
        if all(kind == "float" for kind in kinds):
            return "fp8"
        if all(kind == "int" for kind in kinds):
            return "int8"
    return "compressed-tensors"


def _group_weights(block: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    groups = block.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            yield weights


def _modelopt_algorithm(block: Mapping[str, Any]) -> object:
    # config.json holds the fields directly, the sidecar below `quantization`.
    inner = block.get("quantization")
    return (inner if isinstance(inner, Mapping) else block).get("quant_algo")
