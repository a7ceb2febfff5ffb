"""`stackc explain SPEC`: the reasons behind a plan."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from compiler.cli.loudness import Loudness, SpecLevels, loudness
from compiler.cli.report import finish, unreadable
from compiler.cli.terminal import glyphs_of, terminal_width, wrapped
from compiler.diagnostics.looking import Looking
from compiler.engines.vllm.answers.parsers import KnownParsers
from compiler.pipeline import Explained, explain_stack
from compiler.plan.ir import CpuNode, DeviceLedger, LedgerRow, Plan, ServedModel, Service
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
    """Parsers of vLLM that are known for a service's model."""
    for known in parsers:
        options = ", ".join(f"{role} {' or '.join(names)}" for role, names in known.names.items() if names)
        if options:
            yield from wrapped(f"parsers for {known.family.described}: {options}")


def parsers_object(known: KnownParsers) -> dict[str, Any]:
    """The same for machines."""
    names = {role.value: list(names) for role, names in known.names.items() if names}
    return {"family": known.family.title, "shared": known.family.shared, "parsers": names}


def candidate_lines(rows: Iterable[Judgement]) -> Iterator[str]:
    """The table of candidates for people."""
    yield "  candidates:"
    for row in rows:
        method = f" ({row.method})" if row.method is not None else ""
        code = f" [{row.code}]" if row.code is not None else ""
        text = f"{row.standing.value:<{_STANDING}}  {row.candidate}{method}: {row.reason}{code}"
        yield from wrapped(text, 4, _STANDING + 2)


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
    where = ", ".join(f"{plan.node.name}:{index}" for index in service.devices)
    yield from wrapped(f"{service.name}: {plan.verdict.value} on {where}", 0)
    for fact in _facts(plan, service):
        yield from wrapped(fact)
    yield from ledger_lines(plan, service, sources=sources)
    for argument in service.arguments:
        yield from wrapped(f"{' '.join((argument.flag, *argument.words))}  ({argument.reason})")


def _facts(plan: Plan, service: Service) -> Iterator[str]:
    model, cache = service.model, service.kv_cache
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
    if service.solved:
        found = {"context": format_tokens(service.max_model_len), "concurrency": str(service.concurrency)}
        yield f"solved for: {', '.join(f'{key} {found[key]}' for key in service.solved)}, the most that fit"


def ledger_lines(plan: Plan, service: Service, *, sources: bool) -> Iterator[str]:
    """What a service takes of each of its devices, row by row."""
    for device in plan.devices:
        if device.index in service.devices:
            yield from _device_lines(device, service, sources=sources)


def _asked(model: ServedModel) -> str:
    """What the spec names, where that is another than what is served."""
    is_same = model.requested == (model.repository or model.folder)
    return "" if is_same else f", asked for {model.requested}"


def _where(plan: Plan, service: Service) -> str:
    if isinstance(plan.node, CpuNode):
        return "on the CPU"
    return "on its GPU" if len(service.devices) == 1 else "on its GPUs"


def _device_lines(device: DeviceLedger, service: Service, *, sources: bool) -> Iterator[str]:
    server = next(server for server in device.servers if server.service == service.name)
    of_total = f" ({device.total_source})" if sources else ""
    yield from wrapped(f"device {device.index}, {format_gib(device.total)} GiB{of_total}: GiB expected, at most")
    for row in server.rows:
        yield from wrapped(_row_text(row, sources=sources), 4, _FIGURES)
    yield f"    {format_gib(server.bytes.expected):>7} {format_gib(server.bytes.high):>7}  in all"


_FIGURES = len("1234.56 1234.56  ")


def _row_text(row: LedgerRow, *, sources: bool) -> str:
    figures = f"{format_gib(row.bytes.expected):>7} {format_gib(row.bytes.high):>7}"
    source = f", {row.source}" if sources else ""
    return f"{figures}  {row.title}: {row.basis.value}{source}"
