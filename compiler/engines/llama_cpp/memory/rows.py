"""What one server takes of each device and of the host, row by row, in the order of a start-up.

llama-server b10435: the CUDA context, weights (src/llama-model.cpp, load_tensors), a projector (tools/mtmd), then the
context's output buffer, caches, states and compute buffers (src/llama-context.cpp); kernels take their temporaries with
the first request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from compiler.engines.llama_cpp.memory.compute import Computing, card_compute, host_compute
from compiler.engines.llama_cpp.memory.host import (
    PROCESS,
    HostSettings,
    checkpoint_bytes,
    repacked_bytes,
)
from compiler.engines.llama_cpp.memory.output import grown_output_bytes, output_bytes
from compiler.engines.llama_cpp.memory.outside import pool_bytes
from compiler.engines.llama_cpp.memory.placement import HOST
from compiler.engines.llama_cpp.memory.projector import Sight, compute, inputs, pictures, temporaries
from compiler.engines.llama_cpp.memory.recurrent import state_bytes
from compiler.ledger import Basis, LedgerRow, RowKind
from compiler.units import ByteRange


@dataclass(frozen=True, slots=True)
class Server:
    """What rows are made of.

    Attributes:
        sight: the projector with which it reads images; None of one that reads text alone.
    """

    computing: Computing
    host: HostSettings = field(default_factory=HostSettings)
    sight: Sight | None = None

    def sight_on(self, device: int) -> Sight | None:
        """The same, on the device on which it lies: the first card, or the HOST of a server that has none."""
        return self.sight if device == (0 if self.computing.settings.devices else HOST) else None


Row = Callable[[Server, int], LedgerRow | None]


def device_rows(server: Server, device: int) -> tuple[LedgerRow, ...]:
    """Rows of one card."""
    return tuple(row for make in _DEVICE_ROWS if (row := make(server, device)) is not None)


def host_rows(server: Server) -> tuple[LedgerRow, ...]:
    """Rows of the host."""
    return tuple(row for make in _HOST_ROWS if (row := make(server, HOST)) is not None)


def _context(server: Server, _device: int) -> LedgerRow:
    context = server.computing.context
    return LedgerRow(RowKind.OUTSIDE, "CUDA context", context.bytes, Basis.ESTIMATE, context.source)


def _weights(server: Server, device: int) -> LedgerRow | None:
    size = weight_bytes(server.computing, device)
    title = "weights, pages of the file" if device == HOST and server.host.mapped else "weights"
    source = "the tensor table, laid out as src/llama-model.cpp load_tensors does"
    return _exact(RowKind.WEIGHTS, title, size, source)


def _repacked(server: Server, _device: int) -> LedgerRow | None:
    size = repacked_bytes(weight_bytes(server.computing, HOST), server.computing.settings.devices, server.host)
    source = "at most all weights of the host: ggml/src/ggml-cpu/repack.cpp"
    return _estimate(RowKind.WEIGHTS, "weights repacked for the processor", size, source)


def _projector(server: Server, device: int) -> LedgerRow | None:
    sight = server.sight_on(device)
    if sight is None:
        return None
    size = sight.projector.host if device == HOST else sight.projector.card
    return _exact(RowKind.WEIGHTS, "projector", size, "the projector's tensor table: tools/mtmd/clip.cpp, load_tensors")


def _projector_compute(server: Server, device: int) -> LedgerRow | None:
    sight = server.sight_on(device)
    source = "the graph of an image, as it starts and of the largest: tools/mtmd/clip.cpp"
    if sight is None:
        return None
    size = compute(sight, on_card=device != HOST)
    return _estimate(RowKind.ACTIVATION, "projector's compute buffer", size, source)


def _projector_pool(server: Server, device: int) -> LedgerRow | None:
    sight = server.sight_on(device)
    if sight is None:
        return None
    on_card = device != HOST
    source = (
        "factors in 16 bits: ggml/src/ggml-cuda/ggml-cuda.cu" if on_card else "factors in 16 bits: ggml/src/ggml-cpu"
    )
    size = temporaries(sight, on_card=on_card)
    return _estimate(RowKind.ACTIVATION, "projector's temporaries", size, source)


def _projector_inputs(server: Server, _device: int) -> LedgerRow | None:
    sight = server.sight_on(0)
    source = "pixels, positions and masks before they are copied to the card: tools/mtmd/clip.cpp"
    return _estimate(RowKind.ACTIVATION, "projector's inputs", inputs(sight), source) if sight else None


def _pictures(server: Server, _device: int) -> LedgerRow | None:
    sight = server.sight
    source = "pixels of an image for each slot: tools/mtmd/mtmd-image.cpp; that of photographs is an estimate"
    return _estimate(RowKind.PROCESS, "images of requests", pictures(sight), source) if sight else None


def _output(server: Server, _device: int) -> LedgerRow | None:
    each = server.computing
    size = output_bytes(each.shape, each.sizes.slots, pools=each.settings.pooling is not None)
    return _exact(RowKind.BUFFERS, "output buffer", size, "vocabulary × slots in f32: output_reserve")


def _grown_output(server: Server, _device: int) -> LedgerRow | None:
    each = server.computing
    if each.settings.pooling is None:
        return None
    most = grown_output_bytes(each.shape, each.sizes.slots, each.sizes.outputs)
    source = "vocabulary × tokens of a batch in f32, as texts come: output_reserve"
    return _estimate(RowKind.BUFFERS, "output buffer of a whole batch", ByteRange(0, most, most), source)


def _cache(server: Server, device: int) -> LedgerRow | None:
    size = server.computing.caches.on(device, server.computing.places)
    return _exact(RowKind.KV_CACHE, "KV cache", size, "cells × layers × widths: src/llama-kv-cache.cpp")


def _states(server: Server, device: int) -> LedgerRow | None:
    each = server.computing
    size = state_bytes(each.shape, each.sizes.slots, each.places, device)
    return _exact(RowKind.KV_CACHE, "recurrent states", size, "slots × layers: src/llama-memory-recurrent.cpp")


def _compute(server: Server, device: int) -> LedgerRow | None:
    size = host_compute(server.computing) if device == HOST else card_compute(server.computing, device)
    source = "the largest set of a ubatch's tensors: src/llama-graph.cpp"
    basis = Basis.DERIVED if server.computing.is_exact else Basis.ESTIMATE
    return LedgerRow(RowKind.BUFFERS, "compute buffer", size, basis, source) if size.high else None


def _pool(server: Server, _device: int) -> LedgerRow | None:
    size = pool_bytes(server.computing.graph)
    return _estimate(RowKind.ACTIVATION, "kernels' temporaries", size, "ggml/src/ggml-cuda/mmq.cu")


def _checkpoints(server: Server, _device: int) -> LedgerRow | None:
    each = server.computing
    size = checkpoint_bytes(each.shape, each.caches, each.sizes, server.host)
    return _estimate(RowKind.PROCESS, "checkpoints of contexts", size, "--ctx-checkpoints × slots, as prompts grow")


def _prompt_cache(server: Server, _device: int) -> LedgerRow | None:
    most = server.host.prompt_cache
    size = ByteRange(0, most // 2, most)
    return _estimate(RowKind.PROCESS, "cache of past prompts", size, "--cache-ram, as prompts come")


def _process(_server: Server, _device: int) -> LedgerRow:
    return LedgerRow(RowKind.PROCESS, "process", PROCESS, Basis.ESTIMATE, "code, threads, vocabulary, driver")


_DEVICE_ROWS: tuple[Row, ...] = (
    _context, _weights, _projector, _cache, _states, _compute, _projector_compute, _pool, _projector_pool,
)  # fmt: skip
_HOST_ROWS: tuple[Row, ...] = (
    _process, _weights, _repacked, _projector, _output, _grown_output, _cache, _states, _compute, _projector_compute,
    _projector_inputs, _projector_pool, _pictures, _checkpoints, _prompt_cache,
)  # fmt: skip


def weight_bytes(computing: Computing, device: int) -> int:
    """Weights on a device, or on the HOST."""
    return computing.weights.on(device, computing.places)


def _exact(kind: RowKind, title: str, size: int, source: str) -> LedgerRow | None:
    return LedgerRow(kind, title, ByteRange.exact(size), Basis.EXACT, source) if size else None


def _estimate(kind: RowKind, title: str, size: ByteRange, source: str) -> LedgerRow | None:
    return LedgerRow(kind, title, size, Basis.ESTIMATE, source) if size.high else None
