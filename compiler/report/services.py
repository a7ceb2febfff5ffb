"""Services for a page: a line of the table, and everything about one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.pipeline import Explained
from compiler.plan.ir import CpuNode, Plan, Service
from compiler.report.capacity import Curve, capacity_curve
from compiler.report.ledgers import LedgerView, ledger_view
from compiler.report.lines import indices_text
from compiler.report.notes import Figure, Notes
from compiler.report.usage import device_uses
from compiler.solve.judgements import Judgement
from compiler.targets.readme.tables import http_address
from compiler.units import format_gib, format_tokens


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A line of the table of services; `link` is empty where the page does not describe the service in full."""

    name: str
    color: int
    link: str
    model: str
    quantization: str
    devices: str
    context: Figure
    concurrency: Figure
    kv_cache: Figure
    requests: Figure
    port: Figure


@dataclass(frozen=True, slots=True)
class Flag:
    """An option of `vllm serve`, and who decided it."""

    words: str
    reason: str


@dataclass(frozen=True, slots=True)
class ServiceView:
    """Everything about one service."""

    id: str
    name: str
    color: int
    facts: tuple[tuple[str, str], ...]
    ledgers: tuple[LedgerView, ...]
    curve: Curve | None
    candidates: tuple[Judgement, ...]
    flags: tuple[Flag, ...]


def service_row(plan: Plan, service: Service, color: int, link: str, notes: Notes) -> ServiceRow:
    """A line of the table."""
    cache = service.kv_cache
    blocks = f"{cache.num_blocks} blocks of {cache.block_size} tokens × {cache.bytes_per_block} bytes on each device"
    return ServiceRow(
        name=service.name,
        color=color,
        link=link,
        model=_model(service),
        quantization=service.model.quantization,
        devices="CPU" if isinstance(plan.node, CpuNode) else f"GPU {indices_text(service.devices)}",
        context=notes.figure(format_tokens(service.max_model_len), _asked(service, "context")),
        concurrency=notes.figure(str(service.concurrency), _asked(service, "concurrency")),
        kv_cache=notes.figure(format_gib(cache.bytes), blocks),
        requests=notes.figure(
            f"{cache.max_concurrency:.2f}",
            f"{cache.num_blocks} blocks of the KV cache, divided by those that a request of full context holds",
        ),
        port=notes.figure(str(service.port), "the spec's `port`"),
    )


def _asked(service: Service, key: str) -> str:
    return f"the most that fits: the spec's `{key}` leaves it open" if key in service.solved else f"the spec's `{key}`"


def _model(service: Service) -> str:
    model = service.model
    return model.repository or model.folder or model.requested


def service_view(id_: str, plan: Plan, service: Service, explained: Explained, color: int) -> ServiceView:
    """Everything about one."""
    uses = (use for use in device_uses(plan) if set(use.indices) & set(service.devices))
    layout = explained.layouts.get(service.name)
    return ServiceView(
        id=id_,
        name=service.name,
        color=color,
        facts=tuple(_facts(service)),
        ledgers=tuple(ledger_view(use, service.name) for use in uses),
        curve=None if layout is None else capacity_curve(layout, service),
        candidates=explained.candidates.get(service.name, ()),
        flags=tuple(Flag(" ".join((each.flag, *each.words)), each.reason) for each in service.arguments),
    )


def _facts(service: Service) -> Iterator[tuple[str, str]]:
    model = service.model
    yield "model", _model(service)
    yield "asked for", model.requested
    if model.repository:
        pinned = model.commit if model.is_pinned else f"main, {model.commit}…" if model.commit else "main"
        yield "commit", pinned or "main"
    yield "quantization", model.quantization
    yield "licence", model.license or "not stated"
    yield "task", ", ".join((service.task, *service.features))
    yield "address", http_address(service.host, service.port)
    yield "name in requests", service.served_name
    yield "KV cache type", service.kv_cache.dtype
    if model.unconfirmed:
        yield "not confirmed", ", ".join(model.unconfirmed)
