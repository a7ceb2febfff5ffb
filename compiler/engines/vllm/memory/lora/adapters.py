"""What LoRA adapters take on one rank: a slot for each that may run at once, in every layer that takes adapters.

vLLM fills the slots with zeros after the weights are loaded, and each is as large as the largest rank asks, whatever
the adapters hold (vllm/lora/layers of 0.33.0: `create_lora_weights`). Which layers have slots:
vllm/lora/model_manager.py:_create_lora_modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from compiler.checkpoints.architecture import Architecture, Experts, Linear, Split, Table
from compiler.checkpoints.parameters.experts import padded_for_marlin
from compiler.checkpoints.parameters.linear import SERVED_BYTES, Projections
from compiler.checkpoints.parameters.modules import Fused, rank_modules
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError, padded_rows
from compiler.checkpoints.parameters.weights import expert_shape, projections_of
from compiler.checkpoints.quantization.formats import Packing, Quantization
from compiler.engines.vllm.releases.adapters import AdapterClass

MOST_WORDS = 258_048
"""Rows of an output head that takes adapters (vllm/lora/layers/logits_processor.py:create_lora_weights)."""

EXPERTS, HEAD = "experts", "lm_head"
_CLASSIFIERS = ("score", "classifier")  # model_manager.py:supported_modules_to_save
# Beside adapters such experts are multiplied by Marlin (fused_moe/oracle/mxfp4.py).
_ON_MARLIN = ("mxfp4", "gpt-oss-mxfp4")
_INT, _LONG = 4, 8
_THREE, _PAIR = 3, 2


@dataclass(frozen=True, slots=True)
class AdapterSlots:
    """Room for adapters in a server.

    Attributes:
        rank: of every slot (`--max-lora-rank`).
        at_once: slots, one for each adapter that may run in one batch (`--max-loras`).
        held: adapters that stay in main memory (`--max-cpu-loras`).
        modules: the only ones that have slots, by the names of checkpoints or the engine; None: all that may.
        held_bytes: of all of these, and of the largest once more while one is read.
        sharded: each rank has a part of every matrix (`--fully-sharded-loras`).
    """

    rank: int
    at_once: int
    held: int = 1
    modules: tuple[str, ...] | None = None
    held_bytes: int = 0
    sharded: bool = False

    def matches(self, module: str, packed: AdapterClass) -> bool:
        """Whether a module has slots (vllm/lora/utils.py:is_in_target_modules)."""
        if self.modules is None:
            return True
        inside = packed.packed.get(module, ())
        outside = (parent for parent, parts in packed.packed.items() if module in parts)
        return any(name in self.modules for name in (module, *inside, *outside))


def slot_bytes(
    architecture: Architecture,
    parallelism: Parallelism,
    slots: AdapterSlots,
    found: AdapterClass,
    served_dtype: str,
    *,
    quantization: Quantization | None = None,
) -> int:
    """Bytes of all slots on one rank.

    Args:
        found: what the architecture's class says of adapters.
        served_dtype: of the model, which is that of its adapters too.
        quantization: of the weights, whose kernels may widen experts.

    Raises:
        SplitError: a dimension does not divide.
    """
    sizes = slots_by_module(architecture, parallelism, slots, found, served_dtype, quantization=quantization)
    return sum(size for _, size in sizes)


def slots_by_module(
    architecture: Architecture,
    parallelism: Parallelism,
    slots: AdapterSlots,
    found: AdapterClass,
    served_dtype: str,
    *,
    quantization: Quantization | None = None,
) -> Iterator[tuple[str, int]]:
    """Every kind of module that has slots, by the last part of its name, and the bytes of all of that kind."""
    rank = _Rank(parallelism, slots, found, SERVED_BYTES[served_dtype])
    if found.wraps:  # towers have no slots (model_manager.py:_get_punica_wrapper)
        architecture = replace(architecture, encoders=())
    for packed, count in rank_modules(architecture, quantization, parallelism):
        name = packed.fused.name.rpartition(".")[2]
        if (size := rank.module(name, packed.fused, packed.packing)) is not None:
            yield name, size * count
    if parallelism.is_last and not architecture.pooling and rank.has(HEAD) and HEAD in found.tables:
        yield HEAD, rank.head(architecture)


@dataclass(frozen=True, slots=True)
class _Rank:
    """Sizes on one rank; `width` is the bytes of one number."""

    parallelism: Parallelism
    slots: AdapterSlots
    found: AdapterClass
    width: int

    def has(self, module: str) -> bool:
        return self.slots.matches(module, self.found)

    def module(self, name: str, fused: Fused, packing: Packing | None) -> int | None:
        """Bytes of one module's slots; None where it has none."""
        first = fused.modules[0]
        if isinstance(first, Linear) and name in _CLASSIFIERS and fused.name == name:
            return self._classifier(first)
        if not self.has(name):
            return None
        if isinstance(first, Experts):
            return self._experts(first, packing)
        if isinstance(first, Table):
            return self._table(first) if name in self.found.tables and name != HEAD else None
        if not isinstance(first, Linear):
            return None
        return self._linear(name, tuple(module for module in fused.modules if isinstance(module, Linear)))

    def _linear(self, name: str, linears: tuple[Linear, ...]) -> int | None:
        of = projections_of(name, linears, self.parallelism)
        pieces = _pieces(of, linears, self.found.packed.get(name, ()))
        if pieces is None:
            return None
        is_row = of.input_ranks > 1
        is_column = not is_row and linears[0].split is not Split.REPLICATED
        rank = self._part(self.slots.rank) if is_column else self.slots.rank
        outputs = self._part(sum(of.outputs)) if is_row else sum(of.outputs)
        return self._bytes(pieces * rank * of.inputs + outputs * self.slots.rank)

    def _part(self, size: int) -> int:
        ranks = self.parallelism.tensor_parallel_size if self.slots.sharded else 1
        if size % ranks:
            raise SplitError(f"adapters of rank {self.slots.rank} are no multiple of {ranks} ranks")
        return size // ranks

    def _bytes(self, elements: int) -> int:
        return self.slots.at_once * elements * self.width

    def _experts(self, module: Experts, packing: Packing | None) -> int:
        """vllm/lora/layers/fused_moe.py; a flag for each slot, and for none, says whether experts are adapted."""
        of, rank = expert_shape(module, self.parallelism), self.slots.rank
        if packing is not None and packing.style in _ON_MARLIN:
            of = padded_for_marlin(of)
        inputs = 1 if self.found.joined else of.ups
        first = self._part(rank) if not self.parallelism.expert_parallel else rank
        last = self._part(of.inputs) if not self.parallelism.expert_parallel else of.inputs
        each = inputs * first * of.inputs + rank * (of.up + of.intermediate + last)
        return self._bytes(of.count * each) + _INT * (self.slots.at_once + 1)

    def _table(self, module: Table) -> int:
        """vllm/lora/layers/vocab_parallel_embedding.py: every rank has the whole vocabulary."""
        return self._bytes(self.slots.rank * (module.rows + module.columns))

    def head(self, architecture: Architecture) -> int:
        """vllm/lora/layers/logits_processor.py: whole on every rank, and where ranks share it a map of its rows."""
        rows = architecture.vocab_size
        moved = _LONG * padded_rows(rows) if self.parallelism.tensor_parallel_size > 1 else 0
        return self._bytes(self.slots.rank * (architecture.hidden_size + rows)) + moved

    def _classifier(self, module: Linear) -> int:
        """vllm/lora/layers/classifier.py: beside its slots, a whole head for each adapter, and whether it is used."""
        own = SERVED_BYTES["float32"] if module.dtype == "F32" else self.width
        slots = self._bytes(self.slots.rank * (module.inputs + module.outputs) + module.outputs * module.inputs)
        return slots + self.slots.at_once * (module.outputs * own + 1)


def _pieces(of: Projections, linears: tuple[Linear, ...], packed: tuple[str, ...]) -> int | None:
    """Matrices A of a module, by the wrapper that vLLM takes for it; None where it takes none (`can_replace_layer`)."""
    count = len(of.outputs)
    if count == 1 or of.input_ranks > 1 or linears[0].split is Split.INPUTS:
        return 1
    if any(linear.split is Split.KV_HEADS for linear in linears):
        return len(packed) if len(packed) in (1, _THREE) else None
    if len(packed) >= _PAIR or count >= _THREE:
        return count
    return 1 if len(packed) == 1 else None


def takes_adapters(fused: Fused, found: AdapterClass) -> bool:
    """Whether projections that the engine holds as one have a wrapper for adapters."""
    linears = tuple(module for module in fused.modules if isinstance(module, Linear))
    of = projections_of(fused.name, linears, Parallelism())
    return _pieces(of, linears, found.packed.get(fused.name.rpartition(".")[2], ())) is not None


def index_bytes(slots: AdapterSlots, max_num_batched_tokens: int, max_num_seqs: int, *, on_gpu: bool) -> int:
    """Indices of which token is whose (vllm/lora/punica_wrapper/punica_{base,gpu}.py, LoRAKernelMeta)."""
    tokens, at_once = max_num_batched_tokens, slots.at_once
    maps = 2 * _INT * (2 * tokens + 2 * (at_once + 1) + at_once + 2)
    return _LONG * (4 * tokens + 3 * max_num_seqs) + (maps if on_gpu else 0)
