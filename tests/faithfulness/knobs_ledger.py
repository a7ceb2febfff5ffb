"""Fields of the memory ledger: figures that no artifact but the plan and its table for people shows."""

from __future__ import annotations

from compiler.plan.ir import Basis, RowKind
from tests.faithfulness.table import FIGURE, PEOPLE, in_plan_only

DEVICE, SERVER = ("devices", 0), ("devices", 0, "servers", 0)
ROW = (*SERVER, "rows", 0)

OF_LEDGER = (
    in_plan_only("DeviceLedger.index", (*DEVICE, "index"), 3, "devices.0.index", FIGURE),
    in_plan_only("DeviceLedger.total", (*DEVICE, "total"), 9, "devices.0.total_bytes", FIGURE),
    in_plan_only("DeviceLedger.total_source", (*DEVICE, "total_source"), "x", "devices.0.total_source", PEOPLE),
    in_plan_only("DeviceLedger.reserve", (*DEVICE, "reserve"), 9, "devices.0.reserve_bytes", FIGURE),
    in_plan_only("ServerLedger.service", (*SERVER, "service"), "x", "devices.0.servers.0.service", FIGURE),
    in_plan_only("LedgerRow.kind", (*ROW, "kind"), RowKind.PROCESS, "devices.0.servers.0.rows.0.kind", FIGURE),
    in_plan_only("LedgerRow.title", (*ROW, "title"), "x", "devices.0.servers.0.rows.0.title", PEOPLE),
    in_plan_only("LedgerRow.basis", (*ROW, "basis"), Basis.DERIVED, "devices.0.servers.0.rows.0.basis", PEOPLE),
    in_plan_only("LedgerRow.source", (*ROW, "source"), "x", "devices.0.servers.0.rows.0.source", PEOPLE),
    in_plan_only("ByteRange.low", (*ROW, "bytes", "low"), 9, "devices.0.servers.0.rows.0.bytes.low", FIGURE),
    in_plan_only(
        "ByteRange.expected", (*ROW, "bytes", "expected"), 9, "devices.0.servers.0.rows.0.bytes.expected", FIGURE
    ),
    in_plan_only("ByteRange.high", (*ROW, "bytes", "high"), 2**40, "devices.0.servers.0.rows.0.bytes.high", FIGURE),
)
