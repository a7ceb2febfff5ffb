"""A plan for a terminal: each GPU as a line of blocks with its figures, and the services as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from textwrap import wrap

from compiler.ledger import Basis
from compiler.plan.disk import disk_of
from compiler.plan.ir import CpuNode, Plan, Rollout, Service, Verdict
from compiler.plan.replicas import Replicas, replicas_of
from compiler.plan.speed import Measure
from compiler.plan.where import is_on_cpu
from compiler.report.bars import bar_lines, part_glyph
from compiler.report.paint import Glyphs, Line, Piece, shortened, text_cells
from compiler.report.table import Column, table_lines
from compiler.report.usage import DeviceUse, PartKind, device_uses
from compiler.units import counted, format_gib, format_rate, format_seconds, format_tokens

_COLORS = ("cyan", "green", "magenta", "yellow", "blue")

_SERVICES = (
    Column("service", least=8),
    Column("model", least=12, rank=2),
    Column("on", rank=3),
    Column("context"),
    Column("KV GiB", is_right=True, rank=4),
    Column("port", is_right=True),
)

_FIGURES = (
    Column("GiB", least=6),
    Column("weights", is_right=True, rank=2),
    Column("KV", is_right=True, rank=3),
    Column("other", is_right=True, rank=4),
    Column("expected", is_right=True, rank=1),
    Column("at most", is_right=True),
)


_SPEEDS = (
    Column("estimated speed", least=8),
    Column("at once", is_right=True),
    Column("first token", is_right=True, rank=3),
    Column("tokens/s each", is_right=True, rank=1),
    Column("tokens/s in all", is_right=True, rank=2),
)


def stack_lines(plans: Iterable[Plan], width: int, glyphs: Glyphs) -> Iterator[Line]:
    """The whole picture of a stack, with the meaning of its blocks at the end."""
    for plan in plans:
        yield from plan_lines(plan, width, glyphs)
    yield from legend_lines(width, glyphs)


def plan_lines(plan: Plan, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """One node's plan; every line is at most `width` columns wide, from 40 on."""
    colors = {service.name: _COLORS[index % len(_COLORS)] for index, service in enumerate(plan.services)}
    yield _heading(plan, width, glyphs)
    for text in wrap(_machine(plan, glyphs), width, initial_indent="  ", subsequent_indent="  "):
        yield (Piece(text, is_dim=True),)
    yield ()
    for use in device_uses(plan):
        yield from bar_lines(use, colors, width, glyphs)
        yield from _figures(use, colors, width, glyphs)
        yield ()
    rows = [_row(plan, service, glyphs) for service in plan.services]
    yield from table_lines(_SERVICES, rows, width, glyphs, tuple(colors.values()))
    yield from _speeds(plan, colors, width, glyphs)
    for text in _around(plan):
        yield from ((Piece(part),) for part in wrap(text, width, subsequent_indent="  "))
    yield ()


def legend_lines(width: int, glyphs: Glyphs) -> Iterator[Line]:
    """What the blocks mean."""
    names = {PartKind.MARGIN: "margin of the estimates"}
    kinds = (kind for kind in PartKind if kind is not PartKind.FREE)
    words = [f"{part_glyph(kind, glyphs)} {names.get(kind, kind.value)}" for kind in kinds]
    yield from ((Piece(line, is_dim=True),) for line in _packed(words, width))


def _packed(words: Iterable[str], width: int) -> Iterator[str]:
    line = ""
    for word in words:
        longer = f"{line}  {word}" if line else word
        if text_cells(longer) > width and line:
            yield line
            longer = word
        line = longer
    yield line


def _heading(plan: Plan, width: int, glyphs: Glyphs) -> Line:
    color = "green" if plan.verdict is Verdict.FITS else "yellow"
    room = max(8, width - len(plan.verdict.value) - 2)
    name = shortened(plan.tree, room, glyphs.ellipsis)
    return Piece(f"{name}: ", is_bold=True), Piece(plan.verdict.value, color, is_bold=True)


def _machine(plan: Plan, glyphs: Glyphs) -> str:
    node = plan.node
    what = "CPU" if isinstance(node, CpuNode) else node.described(glyphs.times)
    return f"{' and '.join(plan.releases)} on {node.name}: {what}"


def _figures(use: DeviceUse, colors: Mapping[str, str], width: int, glyphs: Glyphs) -> Iterator[Line]:
    rows = [("reserve", "", "", "", *[format_gib(use.reserve)] * 2)]
    for share in use.shares:
        parts = (share.weights, share.kv_cache, share.other, share.expected, share.high)
        rows.append((share.service, *map(format_gib, parts)))
    rows.append(("left", "", "", "", format_gib(max(0, use.left_expected)), _signed(use.left)))
    yield from table_lines(_FIGURES, rows, width, glyphs, (None, *(colors[share.service] for share in use.shares)))


def _signed(size: int) -> str:
    return ("-" if size < 0 else "") + format_gib(abs(size))


def _row(plan: Plan, service: Service, glyphs: Glyphs) -> tuple[str, ...]:
    model = service.model
    return (
        service.name,
        model.repository or model.folder or model.requested,
        "CPU" if is_on_cpu(plan, service) else indices_text(service.devices),
        f"{format_tokens(service.max_model_len)} {glyphs.times} {service.concurrency}",
        format_gib(service.kv_cache.bytes),
        str(service.port),
    )


def _speeds(plan: Plan, colors: Mapping[str, str], width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Under the load that is promised, of each service of which anything is known."""
    known = [(service.name, service.speed.at_promise) for service in plan.services if service.speed is not None]
    if known:
        yield ()
        rows = [(name, *_speed_cells(measure)) for name, measure in known]
        yield from table_lines(_SPEEDS, rows, width, glyphs, [colors[name] for name, _ in known])


def _speed_cells(measure: Measure) -> tuple[str, ...]:
    speed = measure.speed
    return (
        str(measure.concurrency),
        f"{format_seconds(speed.ttft.low)} to {format_seconds(speed.ttft.high)}",
        f"{format_rate(speed.request_rate.low)} to {format_rate(speed.request_rate.high)}",
        f"{format_rate(speed.output_rate.low)} to {format_rate(speed.output_rate.high)}",
    )


def indices_text(indices: tuple[int, ...]) -> str:
    """Devices of a server: `0`, `0-3` for a run of them, `0,2` else."""
    first, last = indices[0], indices[-1]
    if len(indices) > 1 and indices == tuple(range(first, last + 1)):
        return f"{first}-{last}"
    return ",".join(map(str, indices))


def _around(plan: Plan) -> Iterator[str]:
    disk = disk_of(plan)
    if disk.downloads:
        about = "" if disk.basis is Basis.EXACT else "about "
        yield f"disk: {about}{format_gib(disk.to_download)} GiB to download, {format_gib(disk.total)} GiB in all"
    if len(plan.services) > 1:
        yield f"start order: {', '.join(service.name for service in plan.services)}"
    yield from (f"replicas of {each.service}: {replicas_text(each)}" for each in replicas_of(plan))
    gateway = plan.gateway
    if gateway is not None:
        yield f"gateway: {gateway.kind} on {gateway.host}:{gateway.port}"
        yield from (f"rollout: {rollout_text(rollout)}" for rollout in gateway.rollouts)


def replicas_text(replicas: Replicas) -> str:
    """How many there are, and what those on a node take together."""
    count = f"{replicas.count}, the most that fit" if replicas.is_solved else str(replicas.count)
    names = f", here {', '.join(replicas.names)}" if len(replicas.names) < replicas.count else ""
    together = " together" if len(replicas.names) > 1 else ""
    requests = counted(replicas.concurrency, "request")
    return f"{count}{names}; {requests} of full context at once{together}"


def rollout_text(rollout: Rollout) -> str:
    """Which part of the requests goes where."""
    stays = {"header": f"by {rollout.header}", "client": "by key", "none": "each request anew"}
    return (
        f"{rollout.strategy}, {rollout.weight} % of the requests for {rollout.stable} go to {rollout.candidate}, "
        f"{stays[rollout.sticky]}"
    )
