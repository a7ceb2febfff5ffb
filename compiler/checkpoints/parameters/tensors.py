"""The tensors that a checkpoint holds by its config.json, and whether its safetensors headers say the same.

Names and shapes are those of transformers and of the quantizers' files: AutoAWQ, AutoGPTQ, compressed-tensors, FP8.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain

from compiler.checkpoints.architecture import Architecture, Experts, Linear, Module, Split, Table
from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.linear import Parameter, Projections, dtype_bytes, linear_parameters
from compiler.checkpoints.parameters.modules import (
    Fused,
    Packed,
    fused_modules,
    packed_layers,
    packed_modules,
    rank_layers,
    stored_outside,
)
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import module_parameters
from compiler.checkpoints.quantization.formats import Packing, Quantization
from compiler.lock.models import TensorKind

_SAFETENSORS = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_FLOATS = {"F64", "F32", "F16", "BF16"}

# Read while loading and not kept, or not read: older tools stored the rotary tables, and layers that predict several
# tokens at once (`mtp`) are left out unless speculative decoding asks for them.
NOT_KEPT = re.compile(r"(^|\.)(g_idx|weight_shape|inv_freq|rotary_emb)(\.|$)|^mtp\.")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)|(?<=\.)\d+$")
_TABLE = 2
_WHOLE = Parallelism()


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a checkpoint. `dtype` is a safetensors dtype."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@lru_cache(maxsize=128)
def expected_tensors(architecture: Architecture, quantization: Quantization | None) -> tuple[TensorKind, ...]:
    """Every kind of tensor that the checkpoint should hold for what is served."""
    outside = stored_outside(architecture, quantization)
    inside = (
        (f"{architecture.layer_prefix}.*.", packed, count)
        for layer, count in rank_layers(architecture, quantization, _WHOLE)
        for packed in layer.modules
    )
    return _kinds(chain((("", packed, 1) for packed in outside), inside), architecture)


def stored_tensors(architecture: Architecture, quantization: Quantization | None) -> Iterator[StoredTensor]:
    """Every single tensor that the checkpoint should hold for what is served."""
    default = _SAFETENSORS[architecture.checkpoint_dtype]
    outside = (("", packed) for packed in stored_outside(architecture, quantization))
    inside = (
        (f"{architecture.layer_prefix}.{index}.", packed)
        for index, layer in enumerate(packed_layers(architecture, quantization))
        for packed in layer.modules
    )
    for path, packed in chain(outside, inside):
        for one in stored_below(packed):
            dtype = one.parameter.stored_dtype or one.parameter.dtype or default
            for index in range(one.count):
                yield StoredTensor(path + one.name.replace("*", str(index)), dtype, one.parameter.shape)


@lru_cache(maxsize=128)
def drafting_tensors(architecture: Architecture, quantization: Quantization | None) -> tuple[TensorKind, ...]:
    """Those of layers that the checkpoint may hold and the engine does not load."""
    modules = (
        (path, packed, 1)
        for index, layer in enumerate(architecture.drafting, architecture.num_layers)
        for path in (f"{architecture.layer_prefix}.{index}.",)
        for packed in packed_modules(architecture, quantization, path, fused_modules(layer.modules))
    )
    return _kinds(modules, architecture)


def _kinds(modules: Iterable[tuple[str, Packed, int]], architecture: Architecture) -> tuple[TensorKind, ...]:
    """Of modules, each with its path in checkpoints and how many there are of it."""
    counts: Counter[tuple[str, str, tuple[int, ...]]] = Counter()
    default = _SAFETENSORS[architecture.checkpoint_dtype]
    for path, packed, modules_alike in modules:
        for one in stored_below(packed):
            dtype = one.parameter.stored_dtype or one.parameter.dtype or default
            counts[numberless(path + one.name), dtype, one.parameter.shape] += one.count * modules_alike
    return tuple(
        TensorKind(name=name, dtype=dtype, shape=shape, count=count) for (name, dtype, shape), count in counts.items()
    )


def numberless(name: str) -> str:
    """A tensor's name with every all-digits component replaced, as the lock has it."""
    return _NUMBER.sub("*", name)


@dataclass(frozen=True, slots=True)
class Stored:
    """Tensors of a checkpoint that are alike.

    Attributes:
        module: that they belong to, below its layer.
        count: of them in one layer.
    """

    module: str
    parameter: Parameter
    count: int

    @property
    def name(self) -> str:
        """Below the layer."""
        return f"{self.module}.{self.parameter.suffix}" if self.parameter.suffix else self.module


@lru_cache(maxsize=4096)
def stored_below(packed: Packed) -> tuple[Stored, ...]:
    """What a checkpoint holds of a module, without what the engine makes itself."""
    return tuple(
        Stored(name, parameter, count)
        for name, module, count in _singles(packed.fused)
        for parameter in _parameters(module, packed.packing)
        if parameter.stored
    )


def _singles(fused: Fused) -> Iterator[tuple[str, Module, int]]:
    """Modules as checkpoints hold them: each projection by itself, and those of each expert."""
    for module in _as_files_hold(fused.modules):
        if not isinstance(module, Experts):
            yield module.name, module, 1
            continue
        *ups, last = module.projections if module.gated else module.projections[1:]
        for name in ups:
            linear = Linear(name, module.intermediate, module.inputs, Split.REPLICATED, module.bias)
            yield f"{module.name}.*.{name}", linear, module.count
        down = Linear(last, module.inputs, module.intermediate, Split.REPLICATED, module.bias)
        yield f"{module.name}.*.{last}", down, module.count


def _as_files_hold(modules: tuple[Module, ...]) -> Iterator[Module]:
    """Projections of one name are parts of one tensor, such as queries, keys and values in `query_key_value`."""
    parts: dict[str, list[Linear]] = {}
    for module in modules:
        if isinstance(module, Linear):
            parts.setdefault(module.name, []).append(module)
        else:
            yield module
    for first, *others in parts.values():
        outputs = first.outputs + sum(part.outputs for part in others)
        yield replace(first, outputs=outputs, parts=first.parts + sum(part.parts for part in others))


def _parameters(module: Module, packing: Packing | None) -> tuple[Parameter, ...]:
    if isinstance(module, Table):
        return linear_parameters(Projections(module.name, (module.rows,), module.columns), packing)
    return module_parameters(Fused(module.name, (module,)), packing, _WHOLE)


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


def as_loaded(found: Iterable[TensorKind], expected: Iterable[TensorKind]) -> Iterator[TensorKind]:
    """What a checkpoint stores, as the engine keeps it.

    A tensor that is narrower than its parameter is cast while it is loaded, as DeepSeek V3.2's FP8 `indexer.wk` is. A
    bias that GPTQ's tools wrote beside a projection without one is left out (load_weights of vLLM's models).
    """
    stored = tuple(found)
    wanted = {(kind.name, kind.shape, kind.count): kind.dtype for kind in expected}
    # Below the layer's number: files may call what stands before it otherwise.
    biases = {name.rpartition("*.")[2] for name, _, _ in wanted if name.endswith(".bias")}
    packed = {kind.name.removesuffix("qweight") for kind in stored if kind.name.endswith(".qweight")}
    for kind in stored:
        empty = kind.name.endswith(".bias") and kind.name.rpartition("*.")[2] not in biases
        if empty and kind.name.removesuffix("bias") in packed:
            continue
        dtype = wanted.get((kind.name, kind.shape, kind.count), kind.dtype)
        cast = dtype in _FLOATS and dtype_bytes(kind.dtype) < dtype_bytes(dtype)
        yield kind.model_copy(update={"dtype": dtype}) if cast else kind


@dataclass(frozen=True, slots=True)
class Content:
    """What tensors hold, whatever their names: floating-point elements, and bytes of packed and integer tensors."""

    float_elements: int
    packed_bytes: int

    def __add__(self, other: Content) -> Content:
        """Both together."""
        return Content(self.float_elements + other.float_elements, self.packed_bytes + other.packed_bytes)


def content(kinds: Iterable[TensorKind], *, tied: bool, skipped: tuple[str, ...] = ()) -> Content:
    """Of the tensors that the engine keeps.

    A second output head of a tied model is not one of them, nor is what has a name that starts with one of `skipped`.
    """
    floats = packed = 0
    for kind in kinds:
        if kind.name.startswith(skipped):
            continue
        if NOT_KEPT.search(kind.name) or (tied and kind.name.endswith("lm_head.weight")):
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
