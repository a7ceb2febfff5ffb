"""`stackc explain SPEC`: the reasons behind a plan."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from compiler.cli.loudness import Loudness, SpecLevels, loudness
from compiler.cli.report import finish, unreadable
from compiler.cli.terminal import glyphs_of, terminal_width, wrapped
from compiler.diagnostics.looking import Looking
from compiler.engines.interface.parsers import KnownParsers
from compiler.ledger import HOST
from compiler.pipeline import Explained, explain_stack
from compiler.plan.ir import DeviceLedger, Draft, LedgerRow, Plan, ServedModel, Service
from compiler.plan.where import is_on_cpu
from compiler.report.lines import stack_lines
from compiler.report.paint import Line
from compiler.solve.judgements import Judgement, Standing
from compiler.targets.plan_json import plan_object
from compiler.units import format_gib, format_tokens


def explain_spec(path: str, service: str, form: str, levels: SpecLevels, *, looking: Looking) -> NoReturn:
    """Tell the reasons behind a spec's plan, of one service or of all, and end the run."""
    try:
        explained, diagnostics = explain_stack(Path(path), path, looking=looking)
    except OSError as error:
        finish(form, (unreadable(path, error),), result={}, lines=())
    diagnostics = levels.for_spec(Path(path)).applied(diagnostics)
    if explained is None:
        finish(form, diagnostics, result={}, lines=())
    names = list(explained.candidates)
    if service and service not in names:
        raise click.UsageError(f"{path} has no service {service}; it has {', '.join(names)}")
    shown = {name: rows for name, rows in explained.candidates.items() if service in ("", name)}
    result: dict[str, Any] = {"candidates": {name: list(map(judgement_object, rows)) for name, rows in shown.items()}}
    result["parsers"] = {name: list(map(parsers_object, explained.parsers[name])) for name in shown}
    result |= plans_object(explained.plans)
    lines: list[str | Line] = [] if service else list(picture(explained.plans))
    lines += _stack_lines(explained, shown, sources=loudness() is Loudness.VERBOSE)
    finish(form, diagnostics, result=result, lines=lines)


def picture(plans: tuple[Plan, ...]) -> Iterator[Line]:
    """The whole stack at a glance, as wide as the terminal; nothing where there is no plan."""
    if plans:
        yield from stack_lines(plans, terminal_width(), glyphs_of(sys.stdout))
        yield ()


def plans_object(plans: tuple[Plan, ...]) -> dict[str, Any]:
    """For machines: `plan` of a stack with one node, `plans` by the node's name where the spec has several."""
    if not plans:
        return {}
    if plans[0].folder:
        return {"plans": {plan.node.name: plan_object(plan) for plan in plans}}
    return {"plan": plan_object(plans[0])}


def _stack_lines(explained: Explained, shown: Mapping[str, tuple[Judgement, ...]], *, sources: bool) -> Iterator[str]:
    """Services of each node in start order; only their candidates where there is no plan."""
    if not explained.plans:
        for name, rows in shown.items():
            yield f"{name}: does not compile"
            yield from candidate_lines(rows)
        return
    for plan in explained.plans:
        for service in (service for service in plan.services if service.name in shown):
            yield from service_lines(plan, service, sources=sources)
            yield from parser_lines(explained.parsers[service.name])
            yield from candidate_lines(shown[service.name])


def parser_lines(parsers: Iterable[KnownParsers]) -> Iterator[str]:
    """Parsers that are known for a service's model."""
    for known in parsers:
        options = ", ".join(f"{role} {' or '.join(names)}" for role, names in known.options.items() if names)
        if options:
            yield from wrapped(f"parsers for {known.described}: {options}")


def parsers_object(known: KnownParsers) -> dict[str, Any]:
    """The same for machines."""
    names = {option: list(names) for option, names in known.options.items() if names}
    return {"family": known.title, "shared": known.shared, "parsers": names}


def candidate_lines(rows: Iterable[Judgement]) -> Iterator[str]:
    """The table of candidates for people; of a long one what matters, unless all that is known was asked for."""
    yield "  candidates:"
    rows = tuple(rows)
    shown = rows if loudness() is Loudness.VERBOSE else _that_matter(rows)
    for row in shown:
        method = f" ({row.method})" if row.method is not None else ""
        code = f" [{row.code}]" if row.code is not None else ""
        text = f"{row.standing.value:<{_STANDING}}  {row.candidate}{method}: {row.reason}{code}"
        yield from wrapped(text, 4, _STANDING + 2)
    left = [row for row in rows if row not in shown]
    if left:
        counts = Counter("do not fit" if row.short_bytes else row.standing.value for row in left)
        said = ", ".join(f"{count} {what}" for what, count in counts.items())
        yield from wrapped(f"and {len(left)} more, which --verbose lists: {said}", 4)


_MOST_ROWS = 12
_OF_A_KIND = 3


def _that_matter(rows: tuple[Judgement, ...]) -> tuple[Judgement, ...]:
    """Of many: the chosen one, what misses its place by least, and the first ones of each other standing."""
    if len(rows) <= _MOST_ROWS:
        return rows
    chosen = [row for row in rows if row.standing is Standing.CHOSEN]
    short = sorted((row for row in rows if row.short_bytes), key=lambda row: row.short_bytes or 0)
    others = {kind: [row for row in rows if row.standing is kind and not row.short_bytes] for kind in Standing}
    kept = [*chosen, *short[: 1 if chosen else _OF_A_KIND]]
    kept += [row for kind in Standing if kind is not Standing.CHOSEN for row in others[kind][:_OF_A_KIND]]
    return tuple(row for row in rows if row in kept)


_STANDING = max(len(standing.value) for standing in Standing)


def judgement_object(row: Judgement) -> dict[str, Any]:
    """A row of the table for machines."""
    return {
        "candidate": row.candidate,
        "method": row.method,
        "standing": row.standing.value,
        "reason": row.reason,
        "code": row.code,
        "short_bytes": row.short_bytes,
    }


def service_lines(plan: Plan, service: Service, *, sources: bool) -> Iterator[str]:
    """A service of a plan for people: what it serves and why that fits."""
    where = ", ".join(f"{plan.node.name}:{index}" for index in service.devices) or f"the CPU of {plan.node.name}"
    yield from wrapped(f"{service.name}: {plan.verdict.value} on {where}", 0)
    for fact in _facts(plan, service):
        yield from wrapped(fact)
    yield from ledger_lines(plan, service, sources=sources)
    for argument in service.arguments:
        yield from wrapped(f"{' '.join((argument.flag, *argument.words))}  ({argument.reason})")


def _facts(plan: Plan, service: Service) -> Iterator[str]:
    model, cache = service.model, service.kv_cache
    if service.replicas > 1:
        yield f"one of {service.replicas} replicas, which have the same model and context"
    known = f", which must be {model.commit}…" if model.commit else ", of which no commit is known"
    pinned = f" at {model.commit}" if model.is_pinned else f" at main{known}"
    pinned = "" if model.folder else pinned
    yield f"serves {model.repository or model.folder} ({model.quantization}){pinned}{_asked(model)}"
    yield (
        f"starts after {', '.join(service.start_after)}"
        if service.start_after
        else f"starts first {_where(plan, service)}"
    )
    yield (
        f"KV cache: {cache.num_blocks} blocks of {cache.block_size} tokens, {format_gib(cache.bytes)} GiB: "
        f"{cache.max_concurrency} requests of {format_tokens(service.max_model_len)}"
    )
    yield from () if service.draft is None else (_draft(service.draft),)
    yield from service.notes
    if service.solved:
        found = {
            "context": format_tokens(service.max_model_len),
            "concurrency": str(service.concurrency),
            "replicas": str(service.replicas),
        }
        yield f"solved for: {', '.join(f'{key} {found[key]}' for key in service.solved)}, the most that fit"


def _draft(draft: Draft) -> str:
    model = draft.model
    if model is None:
        who = "a lookup in the text itself"
    else:
        at = "" if model.folder else f" at {model.commit or 'main'}"
        who = f"{model.repository or model.folder} ({model.quantization}){at}"
    return f"drafts {draft.tokens} tokens a step by {draft.method}: {who}"


def ledger_lines(plan: Plan, service: Service, *, sources: bool) -> Iterator[str]:
    """What a service takes of each of its devices, row by row."""
    for device in plan.ledgers:
        if any(server.service == service.name for server in device.servers):
            yield from _device_lines(device, service, sources=sources)


def _asked(model: ServedModel) -> str:
    """What the spec names, where that is another than what is served."""
    is_same = model.requested == (model.repository or model.folder)
    return "" if is_same else f", asked for {model.requested}"


def _where(plan: Plan, service: Service) -> str:
    if is_on_cpu(plan, service):
        return "on the CPU"
    return "on its GPU" if len(service.devices) == 1 else "on its GPUs"


def _device_lines(device: DeviceLedger, service: Service, *, sources: bool) -> Iterator[str]:
    server = next(server for server in device.servers if server.service == service.name)
    of_total = f" ({device.total_source})" if sources else ""
    name = "main memory" if device.index == HOST else f"device {device.index}"
    yield from wrapped(f"{name}, {format_gib(device.total)} GiB{of_total}: GiB expected, at most")
    for row in server.rows:
        yield from wrapped(_row_text(row, sources=sources), 4, _FIGURES)
    yield f"    {format_gib(server.bytes.expected):>7} {format_gib(server.bytes.high):>7}  in all"


_FIGURES = len("1234.56 1234.56  ")


def _row_text(row: LedgerRow, *, sources: bool) -> str:
    figures = f"{format_gib(row.bytes.expected):>7} {format_gib(row.bytes.high):>7}"
    source = f", {row.source}" if sources else ""
    return f"{figures}  {row.title}: {row.basis.value}{source}"
