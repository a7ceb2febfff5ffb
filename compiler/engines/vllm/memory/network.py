"""What NCCL holds of a rank's GPU for messages to ranks on other machines."""

from __future__ import annotations

from compiler.engines.vllm.memory.shape import ServerShape
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.units import MIB, ByteRange

# Of one direction of one channel: NCCL_BUFFSIZE (4 MiB by default), and those of its two protocols for short messages
# (NCCL 2.27, src/init.cc:computeBuffSizes: 8 steps of 512 threads, about 2.2 MiB together).
_BUFFERS = 4 * MIB + 9 * MIB // 4
# Channels of a communicator: 32 at most where nobody says more (NCCL_MAX_NCHANNELS); few serve one network card.
_MOST_CHANNELS, _EXPECTED_CHANNELS = 32, 4
_DIRECTIONS = 2


def network_rows(shape: ServerShape) -> tuple[LedgerRow, ...]:
    """The row of a server that spans machines; none of another.

    Buffers lie on the GPU where the network card reads it itself (GPUDirect RDMA), else in main memory. Stages hand
    over hidden states by one communicator; where parts of a layer are on several machines, theirs is another.
    """
    if shape.machines == 1:
        return ()
    communicators = 2 if shape.splits_over_network else 1
    each = communicators * _DIRECTIONS * _BUFFERS
    source = (
        f"not measured: {communicators} × up to {_MOST_CHANNELS} channels × {_DIRECTIONS} directions × {_BUFFERS} "
        "bytes (NCCL_BUFFSIZE and the short protocols); none where the network card does not read the GPU"
    )
    size = ByteRange(0, _EXPECTED_CHANNELS * each, _MOST_CHANNELS * each)
    return (LedgerRow(RowKind.NON_TORCH, "network buffers", size, Basis.ESTIMATE, source),)
