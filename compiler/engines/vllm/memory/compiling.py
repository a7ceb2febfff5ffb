"""What torch.compile takes on top of a model while it compiles it, before there is a KV cache.

With `benchmark_combo_kernel`, which vLLM switches on (vllm/config/compilation.py of 0.33.0), Inductor times kernels
that it joins on random tensors of the size of every argument (torch/_inductor/codegen/triton_combo_kernel.py:
codegen_kernel_benchmark). The largest argument is the embedding table, where it is part of what is compiled: in models
that read text alone, because others are given embeddings. All ranges are compiled when the model first runs
(vllm/compilation/piecewise_backend.py:compile_all_ranges), in the profile run; with a warm cache none of it happens.
"""

from __future__ import annotations

from collections.abc import Iterable

from compiler.checkpoints.architecture import Architecture, Table
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.units import MIB, ByteRange

# Cold less warm starts of vLLM 0.27.1 to 0.31.0 were 0.35 to 1.13 GiB, and the peak itself 1.18 for a table of 1.16.
_BESIDE = ByteRange(0, 20 * MIB, 64 * MIB)
_MOST_PERMILLE = 1050


def compile_peak(architecture: Architecture, shape: ServerShape) -> ByteRange:
    """Bytes alive on one rank while its first graph is compiled; none with a warm cache, and so at the low end."""
    tables = [module.rows * module.columns for module in architecture.first if isinstance(module, Table)]
    if shape.enforce_eager or architecture.encoders or not shape.parallelism.is_first:
        return ByteRange.exact(0)
    table = max(tables, default=0) * SERVED_BYTES[shape.served_dtype] // shape.tensor_parallel_size
    most = table * _MOST_PERMILLE // 1000
    return ByteRange(0, table, most) + _BESIDE if table else ByteRange.exact(0)


def beyond_activation(peak: ByteRange, rows: Iterable[LedgerRow], loaded: int = 0) -> ByteRange:
    """How much of it is more than a server's activation peak, which comes later and never at the same time.

    Args:
        loaded: bytes of a draft that are dropped again before anything is compiled.
    """
    activation = next(row.bytes for row in rows if row.kind is RowKind.ACTIVATION)
    passing = ByteRange(max(peak.low, loaded), max(peak.expected, loaded), max(peak.high, loaded))
    return _less(passing, activation)


def compile_row(compiling: ByteRange, cache: int) -> LedgerRow | None:
    """What compiling takes beyond a KV cache of so many bytes, which lies in the same memory afterwards.

    None where the cache is larger, as nearly everywhere.
    """
    more = _less(compiling, ByteRange.exact(cache))
    if not more.high:
        return None
    source = "vllm/config/compilation.py: benchmark_combo_kernel; 6 pairs of cold and warm starts of vLLM 0.27 to 0.31"
    title = "compiling, beyond the KV cache"
    return LedgerRow(RowKind.OUTSIDE, title, more, Basis.ESTIMATE, f"a table of embeddings while compiling: {source}")


def _less(size: ByteRange, taken: ByteRange) -> ByteRange:
    low, expected = max(0, size.low - taken.low), max(0, size.expected - taken.expected)
    return ByteRange(min(low, expected), expected, max(expected, size.high - taken.high))
