"""A device's ledger for a page: bars whose parts are links to their rows, and every figure with its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from compiler.ledger import LedgerRow, RowKind, ServerLedger
from compiler.report.notes import Figure, Notes
from compiler.report.usage import DeviceUse, Part, PartKind, Share
from compiler.targets.readme.tables import format_signed_gib
from compiler.units import format_gib

COLORS = 8
"""Hues of a page; servers beyond them begin again."""

_SUM = "the sum of the rows of its ledger, as expected"
_HIGH_SUM = "the sum of the rows of its ledger, each at the high end of its interval"
_LEFT = "the device's total less everything as expected"
_LEFT_AT_MOST = "the device's total less everything at the high end of its interval: what the proof leaves"
_RESERVE = "the spec's `reserve`, and what the system holds of a memory that CPU and GPU share"


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar: `x` and `width` in percent, `look` one of PartKind in lower case, `color` a hue or None."""

    x: str
    width: str
    look: str
    color: int | None
    title: str


@dataclass(frozen=True, slots=True)
class ShareRow:
    """What a server takes of the device."""

    service: str
    color: int
    weights: Figure
    kv_cache: Figure
    other: Figure
    expected: Figure
    high: Figure


@dataclass(frozen=True, slots=True)
class DeviceView:
    """One device, or several that are used alike."""

    label: str
    count: int
    total: Figure
    reserve: Figure
    left_expected: Figure
    left: Figure
    segments: tuple[Segment, ...]
    shares: tuple[ShareRow, ...]


@dataclass(frozen=True, slots=True)
class LedgerRowView:
    """A row of a server's ledger, in full."""

    title: str
    expected: str
    high: str
    interval: str
    basis: str
    source: str


@dataclass(frozen=True, slots=True)
class LedgerView:
    """A server's ledger on devices that are used alike."""

    label: str
    rows: tuple[LedgerRowView, ...]
    expected: str
    high: str


def device_view(use: DeviceUse, colors: Mapping[str, int], notes: Notes) -> DeviceView:
    """Of a page."""
    servers = {server.service: server for server in use.ledger.servers}
    return DeviceView(
        label=use.label,
        count=len(use.indices),
        total=notes.figure(format_gib(use.total), f"the device: {use.ledger.total_source}"),
        reserve=notes.figure(format_gib(use.reserve), _RESERVE),
        left_expected=notes.figure(format_signed_gib(use.left_expected), _LEFT),
        left=notes.figure(format_signed_gib(use.left), _LEFT_AT_MOST),
        segments=tuple(segments(use, colors)),
        shares=tuple(_share_row(share, servers[share.service], colors, notes) for share in use.shares),
    )


def segments(use: DeviceUse, colors: Mapping[str, int]) -> Iterator[Segment]:
    """The parts of a bar, of which those without bytes are left out."""
    taken = 0
    for part in use.parts:
        if part.bytes:
            color = colors[part.service] if part.service is not None else None
            x, width = _percent(taken, use.total), _percent(part.bytes, use.total)
            yield Segment(x, width, look_of(part.kind), color, part_title(part))
        taken += part.bytes


def look_of(kind: PartKind) -> str:
    """Its class in style sheets."""
    return kind.name.lower().replace("_", "-")


def part_title(part: Part) -> str:
    """A part in words."""
    names = {PartKind.MARGIN: "margin of the estimates", PartKind.FREE: "free, even at most use"}
    whose = f"{part.service}: " if part.service is not None else ""
    return f"{whose}{names.get(part.kind, part.kind.value)} {format_gib(part.bytes)} GiB ({part.bytes} bytes)"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3f}" if whole else "0"


def _share_row(share: Share, server: ServerLedger, colors: Mapping[str, int], notes: Notes) -> ShareRow:
    rows = {row.kind: row for row in server.rows}
    others = [row for row in server.rows if row.kind not in (RowKind.WEIGHTS, RowKind.KV_CACHE)]
    other = ", ".join(f"{row.title} {format_gib(row.bytes.expected)}" for row in others)
    return ShareRow(
        service=share.service,
        color=colors[share.service],
        weights=notes.figure(format_gib(share.weights), _source(rows.get(RowKind.WEIGHTS))),
        kv_cache=notes.figure(format_gib(share.kv_cache), _source(rows.get(RowKind.KV_CACHE))),
        other=notes.figure(format_gib(share.other), f"{other} GiB" if other else "nothing else"),
        expected=notes.figure(format_gib(share.expected), _SUM),
        high=notes.figure(format_gib(share.high), _HIGH_SUM),
    )


def _source(row: LedgerRow | None) -> str:
    return f"{row.title}: {row.basis.value}, {row.source}" if row is not None else "no such row in its ledger"


def ledger_view(use: DeviceUse, service: str) -> LedgerView:
    """A server's rows on a device."""
    server = next(server for server in use.ledger.servers if server.service == service)
    return LedgerView(
        label=use.label,
        rows=tuple(map(_row_view, server.rows)),
        expected=format_gib(server.bytes.expected),
        high=format_gib(server.bytes.high),
    )


def _row_view(row: LedgerRow) -> LedgerRowView:
    size = row.bytes
    interval = f"{size.low} bytes" if size.is_exact else f"{size.low} to {size.high} bytes, {size.expected} expected"
    return LedgerRowView(
        row.title, format_gib(size.expected), format_gib(size.high), interval, row.basis.value, row.source
    )
