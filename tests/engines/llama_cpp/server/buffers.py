"""The buffers that a real server's log names, against the ledger of the plan by which it was started."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.engines.llama_cpp.calibrate.startup_log import hundredths_of
from compiler.engines.llama_cpp.calibrate.startup_record import BufferKind, StartupLog
from compiler.ledger import Basis, LedgerRow
from compiler.plan.ir import Plan

_KINDS = {
    "weights": BufferKind.MODEL,
    "KV cache": BufferKind.KV,
    "recurrent states": BufferKind.RECURRENT,
    "output buffer": BufferKind.OUTPUT,
    "compute buffer": BufferKind.COMPUTE,
}
_HOST = "CPU"
_ROUNDING = 2
"""Hundredths of a MiB: the log rounds each buffer, and weights of the host may lie in two."""


def _rows_of(plan: Plan, service: str) -> Iterator[tuple[str, LedgerRow]]:
    """Rows that are buffers, with the device that the log names them by."""
    on_cards = any(each.flag == "--split-mode" for each in plan.service(service).arguments)
    places = [(f"CUDA{index}" if on_cards else _HOST, device.servers) for index, device in enumerate(plan.devices)]
    if plan.host is not None:
        places.append((_HOST, plan.host.servers))
    for place, servers in places:
        rows = (row for server in servers if server.service == service for row in server.rows)
        yield from ((place, row) for row in rows if row.title in _KINDS)


def _taken(log: StartupLog, device: str, title: str) -> int:
    """Hundredths of a MiB; the host's are in buffers of several names."""
    sizes = log.hundredths(_KINDS[title])
    if device != _HOST:
        return sizes.get(device, 0)
    return sum(size for name, size in sizes.items() if not name[-1].isdigit())


def check_buffers(plan: Plan, service: str, log: StartupLog) -> None:
    """Each row holds what was taken, and nothing was taken that has no row."""
    said = set()
    for device, row in _rows_of(plan, service):
        said.add((device, row.title))
        size, found = row.bytes, _taken(log, device, row.title)
        message = f"{device} {row.title}: {size} against {found / 100} MiB"
        assert hundredths_of(size.low) - _ROUNDING <= found <= hundredths_of(size.high) + _ROUNDING, message
        if row.basis is not Basis.ESTIMATE and (device != _HOST or row.title != "compute buffer"):
            assert abs(found - hundredths_of(size.low)) <= _ROUNDING, message
    for title, kind in _KINDS.items():
        for device in log.hundredths(kind):
            place = device if device[-1].isdigit() else _HOST
            assert (place, title) in said or not _taken(log, place, title), (place, title)
