"""What a server takes of a memory that CPU and GPU share, beside what it takes of any GPU.

On such a machine vLLM calls free what the operating system calls available (vllm/utils/mem_utils.py), so what lives in
main memory elsewhere counts here: the processes of the server, and the page cache of its weights, which are read by
mapping their files. The kernel gives that cache up only under pressure, and then hosts were seen to hang.
"""

from __future__ import annotations

from compiler.catalog.hardware.gpus import shares_memory
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.units import GIB, ByteRange

_PROCESSES = ByteRange(int(1.2 * GIB), 4 * GIB, int(6.7 * GIB))
_PROCESSES_SOURCE = (
    "1.2 to 2.0 GiB with the CPU build of vLLM 0.32.0; on GB10 2.2 GiB (0.6B) and 4.6 GiB (27B) beyond the weights by "
    "start-up logs of 0.27.1, and 5.4 to 6.7 GiB with context and graphs by a report of 0.28.0"
)
# With it, and what the system holds, a proof gives one server at most 0.60 of a GB10: every start of the logs with
# that much or less served, and at 0.70 two hosts hung or collapsed.
_LEAST_GROWTH = 20 * GIB
_GROWTH_SOURCE = (
    "nothing where the kernel gives the mapped files up in time, else all of them, and 20 GiB at least; on a GB10 that "
    "hung at a utilization of 0.70, 55 GiB beside the system and weights of 48 GiB were in use while profiling"
)


def shared_memory_rows(shape: ServerShape, weights: LedgerRow) -> tuple[LedgerRow, ...]:
    """Of one rank: its host memory and its page cache; nothing on a GPU with memory of its own."""
    if not shares_memory(shape.compute_capability):
        return ()
    growth = ByteRange(0, 0, max(weights.bytes.high, _LEAST_GROWTH))
    return (
        LedgerRow(RowKind.OUTSIDE, "processes of the server", _PROCESSES, Basis.ESTIMATE, _PROCESSES_SOURCE),
        LedgerRow(RowKind.OUTSIDE, "page cache of the weights", growth, Basis.ESTIMATE, _GROWTH_SOURCE),
    )
