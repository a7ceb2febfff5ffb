"""The tables of a stack's README: what runs, and every figure and flag with its reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.catalog.hardware.gpus import shares_memory
from compiler.ledger import HOST, RowKind
from compiler.plan.ir import CpuNode, DeviceLedger, Draft, Gateway, GpuNode, Plan, ServedAdapter, ServerLedger, Service
from compiler.plan.where import is_on_cpu
from compiler.render.quoting import MarkdownCode
from compiler.targets.deployment import start_seconds
from compiler.targets.systemd_network import gateway_network, prefetch_network, server_network
from compiler.units import ByteRange, format_gib

Cell = str | MarkdownCode

_SECONDS_PER_MINUTE = 60
_HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class Table:
    """A table; a heading of its own where one document holds several of a kind.

    Attributes:
        notes: what is too long for a cell, which holds its number from 1 on.
    """

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


def http_address(host: str, port: int) -> str:
    """The URL of a server."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def entrance_address(gateway: Gateway, host: str) -> str:
    """The URL at which clients ask a gateway that listens at `host`: with TLS, by a name that its certificate has."""
    if gateway.tls is None:
        return http_address(host, gateway.port)
    name = gateway.tls.domains[0] if gateway.tls.domains else host
    address = http_address(name, gateway.port).replace("http:", "https:", 1)
    return address.removesuffix(f":{_HTTPS_PORT}") if gateway.port == _HTTPS_PORT else address


def services_table(plan: Plan) -> Table:
    """What runs where."""
    is_timed = any(plan.engine_of(service).host.start is not None for service in plan.services)
    columns = (
        "Server",
        "Address",
        "Model",
        "Commit",
        "Quantization",
        "Name in requests",
        "Context",
        "On",
        "Starts after",
        *(("A start usually takes",) if is_timed else ()),
        "It is given up after" if is_timed else "A start is given up after",
    )
    return Table("Servers", columns, tuple(_service_row(plan, service, is_timed) for service in plan.services))


def _service_row(plan: Plan, service: Service, is_timed: bool) -> tuple[Cell, ...]:  # noqa: FBT001
    model = service.model
    is_cpu = is_on_cpu(plan, service)
    return (
        MarkdownCode(service.name),
        MarkdownCode(http_address(service.host, service.port)),
        MarkdownCode(model.repository or model.folder or model.requested),
        MarkdownCode(model.commit) if model.commit else ("main" if model.repository else "folder"),
        model.quantization,
        MarkdownCode(service.served_name),
        f"{service.max_model_len} tokens" + (", the most that fit" if "context" in service.solved else ""),
        "CPU" if is_cpu else "GPU " + ", ".join(map(str, service.devices)),
        ", ".join(service.start_after) or "–",
        *((_usual_start(plan, service),) if is_timed else ()),
        f"{-(-start_seconds(plan, service) // _SECONDS_PER_MINUTE)} min",
    )


def adapters_table(plan: Plan) -> Table:
    """What else clients may ask for beside the models."""
    columns = ("Server", "Name in requests", "Adapter", "Commit", "Rank", "Trained on")
    rows = tuple(_adapter_row(service, adapter) for service in plan.services for adapter in service.adapters)
    return Table("Adapters", columns, rows)


def _adapter_row(service: Service, adapter: ServedAdapter) -> tuple[Cell, ...]:
    model = adapter.model
    return (
        MarkdownCode(service.name),
        MarkdownCode(adapter.name),
        MarkdownCode(model.repository or model.folder or model.requested),
        MarkdownCode(model.commit) if model.commit else ("main" if model.repository else "folder"),
        str(adapter.rank),
        MarkdownCode(adapter.base) if adapter.base else "not stated",
    )


def drafts_table(plan: Plan) -> Table | None:
    """Who guesses tokens for which server; None where nobody does."""
    rows = tuple(_draft_row(service.name, service.draft) for service in plan.services if service.draft is not None)
    return Table("Drafts", ("Server", "Method", "Tokens a step", "Model", "Commit"), rows) if rows else None


def _draft_row(name: str, draft: Draft) -> tuple[Cell, ...]:
    model = draft.model
    if model is None:
        return MarkdownCode(name), draft.method, str(draft.tokens), "none: a lookup in the text itself", "–"
    commit = MarkdownCode(model.commit) if model.commit else ("main" if model.repository else "folder")
    return (
        MarkdownCode(name),
        draft.method,
        str(draft.tokens),
        MarkdownCode(str(model.repository or model.folder)),
        commit,
    )


def _usual_start(plan: Plan, service: Service) -> str:
    """In whole minutes: an estimate, and no forecast of this machine."""
    servers = (each for device in plan.devices for each in device.servers if each.service == service.name)
    weights = sum(row.bytes.expected for each in servers for row in each.rows if row.kind is RowKind.WEIGHTS)
    speed = plan.engine_of(service).host.start
    if speed is None:
        return "–"
    least, most = speed.usual_start(weights)
    return f"{max(1, least // _SECONDS_PER_MINUTE)} to {-(-most // _SECONDS_PER_MINUTE)} min"


def device_table(plan: Plan, device: DeviceLedger) -> Table:
    """The ledger of one device, in GiB."""
    is_memory = isinstance(plan.node, CpuNode) or device.index == HOST
    kind = "Main memory" if is_memory else _gpu(plan, device.index)
    used = device.used
    shared = isinstance(plan.node, GpuNode) and shares_memory(plan.node.card(max(0, device.index)).compute_capability)
    source = "the spec, and what the system holds of a memory that it shares" if shared else "the spec"
    rows: list[tuple[Cell, ...]] = [("–", "reserve", *_sizes(ByteRange.exact(device.reserve)), "declared", source)]
    for server in device.servers:
        rows += _server_rows(server)
    rows.append(("–", "in use", *_sizes(used), "", "sum of the rows above"))
    rows.append(("–", "of", format_gib(device.total), format_gib(device.total), "", device.total_source))
    rows.append(("–", "left", format_signed_gib(device.total - used.expected), format_signed_gib(device.slack), "", ""))
    columns = ("Server", "Use", "Expected", "At most", "Basis", "Source")
    return _with_notes(Table(f"{kind} of {plan.node.name}", columns, tuple(rows)))


def _gpu(plan: Plan, index: int) -> str:
    """A GPU by its number, and by its name where the node has others."""
    several = isinstance(plan.node, GpuNode) and plan.node.cards
    return f"GPU {index}, {several[index].title}," if several else f"GPU {index}"


def _with_notes(table: Table) -> Table:
    """The sources, which are sentences, as notes in the order of the rows, each once."""
    notes = tuple(dict.fromkeys(str(row[-1]) for row in table.rows if row[-1]))
    numbers = {note: str(number) for number, note in enumerate(notes, start=1)}
    rows = tuple((*row[:-1], numbers.get(str(row[-1]), "")) for row in table.rows)
    return replace(table, rows=rows, notes=notes)


def _server_rows(server: ServerLedger) -> list[tuple[Cell, ...]]:
    return [
        (MarkdownCode(server.service), row.title, *_sizes(row.bytes), row.basis.value, row.source)
        for row in server.rows
    ]


def _sizes(size: ByteRange) -> tuple[str, str]:
    return format_gib(size.expected), format_gib(size.high)


def format_signed_gib(size: int) -> str:
    """GiB, with a minus where something is missing."""
    return ("−" if size < 0 else "") + format_gib(abs(size))


def kv_cache_table(plan: Plan) -> Table:
    """The KV cache of each server."""
    columns = (
        "Server",
        "Size in GiB",
        "Type",
        "Blocks",
        "Tokens per block",
        "Tokens in all",
        "Requests of full context",
    )
    return Table("KV cache", columns, tuple(_kv_cache_row(service) for service in plan.services))


def _kv_cache_row(service: Service) -> tuple[Cell, ...]:
    cache = service.kv_cache
    return (
        MarkdownCode(service.name),
        format_gib(cache.bytes),
        cache.dtype,
        str(cache.num_blocks),
        str(cache.block_size),
        str(cache.capacity_tokens),
        f"{cache.max_concurrency:.2f}",
    )


def flags_table(service: Service) -> Table:
    """The options of one server, each with who decided it."""
    rows: list[tuple[Cell, ...]] = []
    for argument in service.arguments:
        value = MarkdownCode(" ".join(argument.words)) if argument.value is not None else "–"
        rows.append((MarkdownCode(argument.flag), value, argument.reason))
    return Table(service.name, ("Option", "Value", "Why"), tuple(rows))


def networks_table(plan: Plan) -> Table:
    """With which addresses each unit may exchange packets."""
    networks = {service.name: server_network(plan, service) for service in plan.services}
    if plan.gateway is not None:
        networks["gateway"] = gateway_network(plan, plan.gateway)
    networks["prefetch"] = prefetch_network()
    rows: list[tuple[Cell, ...]] = [
        (MarkdownCode(name), " ".join(network.deny), " ".join(network.allow) or "–", network.why)
        for name, network in networks.items()
    ]
    return Table("Addresses", ("Unit", "Denied", "Allowed", "Why"), tuple(rows))
