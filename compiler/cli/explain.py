"""`stackc explain SPEC`: the reasons behind a plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from compiler.cli.loudness import SpecLevels
from compiler.cli.report import finish, unreadable
from compiler.diagnostics.render import visible
from compiler.pipeline import Explained, explain_stack
from compiler.plan.ir import DeviceLedger, Plan, Service
from compiler.solve.judgements import Judgement
from compiler.solve.parsers import KnownParsers
from compiler.targets.plan_json import plan_object
from compiler.units import format_gib, format_tokens


def explain_spec(path: str, service: str, form: str, levels: SpecLevels, *, looks_for_helps: bool) -> NoReturn:
    """Tell the reasons behind a spec's plan, of one service or of all, and end the run."""
    try:
        explained, diagnostics = explain_stack(Path(path), path, looks_for_helps=looks_for_helps)
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
    finish(form, diagnostics, result=result, lines=list(_stack_lines(explained, shown)))


def plans_object(plans: tuple[Plan, ...]) -> dict[str, Any]:
    """For machines: `plan` of a stack with one node, `plans` by the node's name where the spec has several."""
    if not plans:
        return {}
    if plans[0].folder:
        return {"plans": {plan.node.name: plan_object(plan) for plan in plans}}
    return {"plan": plan_object(plans[0])}


def _stack_lines(explained: Explained, shown: Mapping[str, tuple[Judgement, ...]]) -> Iterator[str]:
    """Services of each node in start order; only their candidates where there is no plan."""
    if not explained.plans:
        for name, rows in shown.items():
            yield f"{name}: does not compile"
            yield from candidate_lines(rows)
        return
    for plan in explained.plans:
        for service in (service for service in plan.services if service.name in shown):
            yield from service_lines(plan, service)
            yield from parser_lines(explained.parsers[service.name])
            yield from candidate_lines(shown[service.name])


def parser_lines(parsers: Iterable[KnownParsers]) -> Iterator[str]:
    """Parsers of vLLM that are known for a service's model."""
    for known in parsers:
        options = ", ".join(f"{role} {' or '.join(names)}" for role, names in known.names.items() if names)
        if options:
            yield f"  parsers for {known.family.described}: {options}"


def parsers_object(known: KnownParsers) -> dict[str, Any]:
    """The same for machines."""
    names = {role.value: list(names) for role, names in known.names.items() if names}
    return {"family": known.family.title, "shared": known.family.shared, "parsers": names}


def candidate_lines(rows: Iterable[Judgement]) -> Iterator[str]:
    """The table of candidates for people. Names are the Hub's, so control characters are escaped."""
    yield "  candidates:"
    for row in rows:
        method = f" ({row.method})" if row.method is not None else ""
        code = f" [{row.code}]" if row.code is not None else ""
        yield visible(f"    {row.standing.value:<10}  {row.candidate}{method}: {row.reason}{code}")


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


def service_lines(plan: Plan, service: Service) -> Iterator[str]:
    """A service of a plan for people: what it serves and why that fits."""
    model, cache = service.model, service.kv_cache
    where = ", ".join(f"{plan.node.name}:{index}" for index in service.devices)
    yield f"{service.name}: {plan.verdict.value} on {where}"
    known = f", which must be {model.commit}…" if model.commit else ", of which no commit is known"
    pinned = f"at {model.commit}" if model.is_pinned else f"at main{known}"
    pinned = "" if model.folder else pinned
    yield f"  serves {model.repository or model.folder} ({model.quantization}) {pinned}, asked for {model.requested}"
    yield f"  starts after {', '.join(service.start_after)}" if service.start_after else "  starts first on its devices"
    yield (
        f"  KV cache: {cache.num_blocks} blocks of {cache.block_size} tokens, {format_gib(cache.bytes)} GiB: "
        f"{cache.max_concurrency} requests of {format_tokens(service.max_model_len)}"
    )
    if service.solved:
        found = {"context": format_tokens(service.max_model_len), "concurrency": str(service.concurrency)}
        yield f"  solved for: {', '.join(f'{key} {found[key]}' for key in service.solved)}, the most that fit"
    for device in plan.devices:
        if device.index in service.devices:
            yield from _ledger_lines(device, service)
    for argument in service.arguments:
        yield f"  {' '.join((argument.flag, *argument.words))}  ({argument.reason})"


def _ledger_lines(device: DeviceLedger, service: Service) -> Iterator[str]:
    server = next(server for server in device.servers if server.service == service.name)
    yield f"  device {device.index}, {format_gib(device.total)} GiB ({device.total_source}): GiB expected, at most"
    for row in server.rows:
        size = row.bytes
        figures = f"{format_gib(size.expected):>7} {format_gib(size.high):>7}"
        yield f"    {figures}  {row.title}: {row.basis.value}, {row.source}"
    yield f"    {format_gib(server.bytes.expected):>7} {format_gib(server.bytes.high):>7}  in all"
