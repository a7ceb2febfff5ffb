"""LoRA adapters as rows of the ledger: slots, what they take of the profile run, and what waits in main memory."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.checkpoints.parameters.ranks import padded_rows
from compiler.engines.vllm.kernels.expert_backends import experts_of
from compiler.engines.vllm.memory.lora.adapters import (
    EXPERTS,
    HEAD,
    AdapterSlots,
    index_bytes,
    slot_bytes,
    slots_by_module,
)
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases.adapters import AdapterClass, adapter_class
from compiler.engines.vllm.releases.release import Release
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.units import ByteRange

_FLOAT = 4
# Matrices A of one layer that are multiplied at once: query, key and value; gate and up of experts.
_PIECES = 3


def adapter_rows(release: Release, architecture: Architecture, shape: ServerShape) -> Iterator[LedgerRow]:
    """Of one rank; none where it has no adapters."""
    slots = shape.adapters
    found = None if slots is None else adapter_class(release.version, architecture.name)
    if slots is None or found is None:
        return
    yield _slots_row(architecture, shape, slots, found)
    yield _activation_row(architecture, shape, slots, found)
    if shape.compute_capability is None:
        source = "files of all adapters, and of the largest once more while it is read: vllm/lora/lora_model.py"
        held = ByteRange(0, slots.held_bytes, slots.held_bytes)
        yield LedgerRow(RowKind.BUFFERS, "adapters in main memory", held, Basis.ESTIMATE, source)


def _slots_row(architecture: Architecture, shape: ServerShape, slots: AdapterSlots, found: AdapterClass) -> LedgerRow:
    size = slot_bytes(architecture, shape.parallelism, slots, found, shape.served_dtype)
    on_gpu = shape.compute_capability is not None
    size += index_bytes(slots, shape.max_num_batched_tokens, shape.max_num_seqs, on_gpu=on_gpu)
    source = f"{slots.at_once} × rank {slots.rank} in {', '.join(slots.modules or ('all layers',))}: vllm/lora/layers"
    return LedgerRow(RowKind.BUFFERS, "slots of adapters", ByteRange.exact(size), Basis.EXACT, source)


def _activation_row(
    architecture: Architecture, shape: ServerShape, slots: AdapterSlots, found: AdapterClass
) -> LedgerRow:
    """As many adapters are active in the profile run as there are slots (v1/worker/gpu/model_runner.py:_dummy_run)."""
    tokens, width = shape.max_num_batched_tokens, SERVED_BYTES[shape.served_dtype]
    # vllm/lora/punica_wrapper/punica_gpu.py: products with A are float32, those of one layer at a time.
    size = _PIECES * tokens * slots.rank * _FLOAT
    names = {name for name, _ in slots_by_module(architecture, shape.parallelism, slots, found, shape.served_dtype)}
    for module in experts_of(architecture) if EXPERTS in names else ():
        rows = tokens * module.top_k
        size = max(size, rows * (_PIECES * slots.rank * _FLOAT + (3 * module.intermediate + module.inputs) * width))
    if HEAD in names:
        # The head's logits are gathered whole, and once more with the adapters' own.
        size += 2 * shape.max_num_seqs * padded_rows(architecture.vocab_size) * width
    source = "products with adapters, in float32: vllm/lora/punica_wrapper/punica_gpu.py; no start was measured"
    return LedgerRow(RowKind.ACTIVATION, "activation of adapters", ByteRange(0, size, 2 * size), Basis.ESTIMATE, source)
