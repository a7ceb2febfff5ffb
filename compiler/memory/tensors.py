"""The tensors that a checkpoint holds by its config.json, and whether its safetensors headers say the same.

Names and shapes are those of transformers and of the quantizers' files: AutoAWQ, AutoGPTQ, compressed-tensors, FP8.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from compiler.lock.models import TensorKind
from compiler.memory.architecture import Architecture, Experts, Linear, Module, Split, Table
from compiler.memory.config import ConfigError
from compiler.memory.layouts import Parameter, dtype_bytes, linear_parameters
from compiler.memory.packing import Packing, Quantization
from compiler.memory.parallelism import Parallelism
from compiler.memory.weights import module_parameters, packing_of, rank_modules

_SAFETENSORS = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_FLOATS = {"F64", "F32", "F16", "BF16"}

# Read while loading and not kept, or not read: older tools stored the rotary tables, and layers that predict several
# tokens at once (`mtp`) are left out unless speculative decoding asks for them.
_NOT_KEPT = re.compile(r"(^|\.)(g_idx|weight_shape|inv_freq|rotary_emb)(\.|$)|^mtp\.")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)|(?<=\.)\d+$")
_TABLE = 2


def expected_tensors(architecture: Architecture, quantization: Quantization | None) -> tuple[TensorKind, ...]:
    """Every kind of tensor that the checkpoint should hold."""
    counts: Counter[tuple[str, str, tuple[int, ...]]] = Counter()
    default = _SAFETENSORS[architecture.checkpoint_dtype]
    for path, module in rank_modules(architecture, Parallelism()):
        for name, parameter in _stored(path, module, packing_of(module, path, quantization)):
            dtype = parameter.stored_dtype or parameter.dtype or default
            counts[_NUMBER.sub("*", name), dtype, parameter.shape] += 1
    return tuple(
        TensorKind(name=name, dtype=dtype, shape=shape, count=count) for (name, dtype, shape), count in counts.items()
    )


def _stored(path: str, module: Module, packing: Packing | None) -> Iterator[tuple[str, Parameter]]:
    if isinstance(module, Experts):
        for name, linear in _single_experts(module):
            yield from _stored(f"{path}.{name}", linear, packing)
        return
    if isinstance(module, Table):
        parameters = linear_parameters(module.rows, module.columns, packing)
    else:
        parameters = module_parameters(module, packing, Parallelism())
    for parameter in parameters:
        if parameter.stored:
            yield (f"{path}.{parameter.suffix}" if parameter.suffix else path), parameter


def _single_experts(module: Experts) -> Iterator[tuple[str, Linear]]:
    """Checkpoints hold each expert's projections by themselves, or in shapes of the same size."""
    ups = ("gate_proj", "up_proj") if module.gated else ("up_proj",)
    for index in range(module.count):
        for name in ups:
            linear = Linear(name, module.intermediate, module.inputs, Split.REPLICATED, module.bias)
            yield f"{index}.{name}", linear
        down = Linear("down_proj", module.inputs, module.intermediate, Split.REPLICATED, module.bias)
        yield f"{index}.down_proj", down


def check_tensors(kinds: Iterable[TensorKind]) -> None:
    """Refuse tensors that no arithmetic here can follow.

    Raises:
        ConfigError: a dtype that is not known, or an embedding that is no table.
    """
    for kind in kinds:
        try:
            dtype_bytes(kind.dtype)
        except ConfigError as error:
            raise ConfigError(f"tensor `{kind.name}`: {error}") from error
        is_table = kind.name.endswith(("embed_tokens.weight", "lm_head.weight"))
        if is_table and (len(kind.shape) != _TABLE or not kind.shape[0]):
            raise ConfigError(f"tensor `{kind.name}` should be a table, its shape is {list(kind.shape)}")


@dataclass(frozen=True, slots=True)
class Content:
    """What tensors hold, whatever their names: floating-point elements, and bytes of packed and integer tensors."""

    float_elements: int
    packed_bytes: int


def content(kinds: Iterable[TensorKind], *, tied: bool) -> Content:
    """Of the tensors that the engine keeps; a second output head of a tied model is not one of them."""
    floats = packed = 0
    for kind in kinds:
        if _NOT_KEPT.search(kind.name) or (tied and kind.name.endswith("lm_head.weight")):
            continue
        elements = math.prod(kind.shape) * kind.count
        if kind.dtype in _FLOATS:
            floats += elements
        else:
            packed += elements * dtype_bytes(kind.dtype)
    return Content(floats, packed)


def second_head_elements(kinds: Iterable[TensorKind], architecture: Architecture) -> int:
    """Elements of an lm_head in a checkpoint whose config ties it to the embeddings.

    vLLM loads it and gives it up only if it equals the embeddings (vllm/model_executor/model_loader/weight_tying.py).
    """
    if not architecture.tie_word_embeddings:
        return 0
    return sum(math.prod(kind.shape) * kind.count for kind in kinds if kind.name.endswith("lm_head.weight"))
