"""Services for a page: a line of the table, and everything about one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.engines.interface.launch import Placeholder
from compiler.pipeline import Explained
from compiler.plan.ir import Plan, Service
from compiler.plan.speed import Measure
from compiler.plan.where import is_on_cpu
from compiler.report.capacity import Curve, capacity_curve
from compiler.report.ledgers import LedgerView, ledger_view
from compiler.report.lines import indices_text
from compiler.report.notes import Figure, Notes
from compiler.report.usage import device_uses
from compiler.solve.judgements import Judgement
from compiler.targets.readme.tables import http_address
from compiler.units import counted, format_gib, format_rate, format_seconds, format_tokens


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
    speed: Figure
    tokens: Figure
    port: Figure


@dataclass(frozen=True, slots=True)
class Flag:
    """An option of the server, and who decided it."""

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
    command: str
    flags: tuple[Flag, ...]


def service_row(plan: Plan, service: Service, look: tuple[int, str], tokens: Figure, notes: Notes) -> ServiceRow:
    """A line of the table.

    Args:
        look: its colour, and the link to its description.
        tokens: what a million of them costs.
    """
    color, link = look
    cache = service.kv_cache
    blocks = f"{cache.num_blocks} blocks of {cache.block_size} tokens × {cache.bytes_per_block} bytes on each device"
    return ServiceRow(
        name=service.name,
        color=color,
        link=link,
        model=_model(service),
        quantization=service.model.quantization,
        devices="CPU" if is_on_cpu(plan, service) else f"GPU {indices_text(service.devices)}",
        context=notes.figure(format_tokens(service.max_model_len), _asked(service, "context")),
        concurrency=notes.figure(str(service.concurrency), _asked(service, "concurrency")),
        kv_cache=notes.figure(format_gib(cache.bytes), blocks),
        requests=notes.figure(
            f"{cache.max_concurrency:.2f}",
            f"{cache.num_blocks} blocks of the KV cache, divided by those that a request of full context holds",
        ),
        speed=_speed(service, notes),
        tokens=tokens,
        port=notes.figure(str(service.port), "the spec's `port`"),
    )


def _speed(service: Service, notes: Notes) -> Figure:
    if service.speed is None:
        return notes.figure("–", "nothing is known of the speed of this server here")
    measure, speed = service.speed.at_promise, service.speed
    rate = measure.speed.request_rate
    ground = measure.speed.ground.mark.value
    source = (
        f"an estimate, tokens/s of each of {counted(measure.concurrency, 'request')} at once, of {speed.prompt} tokens "
        f"that are answered with {speed.answer}, while other servers of the GPU are idle: {ground}"
    )
    return notes.figure(f"{format_rate(rate.low)} to {format_rate(rate.high)}", source)


def _asked(service: Service, key: str) -> str:
    return f"the most that fits: the spec's `{key}` leaves it open" if key in service.solved else f"the spec's `{key}`"


def _model(service: Service) -> str:
    model = service.model
    return model.repository or model.folder or model.requested


def service_view(id_: str, plan: Plan, service: Service, explained: Explained, color: int) -> ServiceView:
    """Everything about one."""
    uses = (use for use in device_uses(plan) if use.serves(service.name))
    capacity = explained.capacities.get(service.name)
    return ServiceView(
        id=id_,
        name=service.name,
        color=color,
        facts=tuple(_facts(service)),
        ledgers=tuple(ledger_view(use, service.name) for use in uses),
        curve=None if capacity is None else capacity_curve(capacity, service),
        candidates=explained.candidates.get(service.of, ()),
        command=_command(plan, service),
        flags=tuple(Flag(" ".join((each.flag, *each.words)), each.reason) for each in service.arguments),
    )


def _command(plan: Plan, service: Service) -> str:
    """The program, with the word of what it is to do where it has one."""
    first, *_ = service.words
    is_plain = isinstance(first, str) and not isinstance(first, Placeholder) and not first.startswith("-")
    named = (str(first),) if is_plain else ()
    return " ".join((plan.engine_of(service).host.program.name, *named))


def _speed_text(measure: Measure) -> str:
    speed = measure.speed
    first = f"{format_seconds(speed.ttft.low)} to {format_seconds(speed.ttft.high)}"
    each, together = (
        f"{format_rate(rate.low)} to {format_rate(rate.high)}" for rate in (speed.request_rate, speed.output_rate)
    )
    return f"first token after {first}, then {each} tokens/s; all together {together}"


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
    if service.adapters:
        yield "adapters by name", ", ".join(adapter.name for adapter in service.adapters)
    yield "KV cache type", service.kv_cache.dtype
    for measure in () if service.speed is None else service.speed.measures:
        yield f"estimated, {counted(measure.concurrency, 'request')} at once", _speed_text(measure)
    if model.unconfirmed:
        yield "not confirmed", ", ".join(model.unconfirmed)
