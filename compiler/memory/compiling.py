"""What torch.compile takes on top of a model while it compiles it, before there is a KV cache.

With `benchmark_combo_kernel`, which vLLM switches on (vllm/config/compilation.py of 0.33.0), Inductor times kernels
that it joins on random tensors of the size of every argument (torch/_inductor/codegen/triton_combo_kernel.py:
codegen_kernel_benchmark). The largest argument is the embedding table, where it is part of what is compiled: in models
that read text alone, because others are given embeddings. All ranges are compiled when the model first runs
(vllm/compilation/piecewise_backend.py:compile_all_ranges), in the profile run; with a warm cache none of it happens.
"""

from __future__ import annotations

from compiler.memory.architecture import Architecture, Table
from compiler.memory.layouts import SERVED_BYTES
from compiler.memory.shape import ServerShape
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
