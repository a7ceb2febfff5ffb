"""`README.md` of a generated stack: for whoever must deploy it, or mend it at night."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.plan.ir import CpuNode, DeviceLedger, Plan, ServerLedger, Service, Verdict
from compiler.render.artifact import Artifact
from compiler.render.environment import render
from compiler.render.quoting import MarkdownCode
from compiler.targets.deployment import USER, cache_environment, is_wildcard
from compiler.units import ByteRange, format_gib

README = PurePosixPath("README.md")

Cell = str | MarkdownCode

_VERDICTS = {
    Verdict.FITS: "even if every estimate is at its high end",
    Verdict.MARGIN: "at the expected values, but not if every estimate is at its high end",
    Verdict.UNFIT: "not even at the expected values",
}

_UNCONFIRMED = {
    "chat_template": "whether it has a chat template",
    "commit": "the full commit: prefetch takes `main`",
    "config": "config.json",
    "files": "names or sizes of its files",
    "license": "its licence",
    "tensors": "shapes and dtypes of its tensors",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table; a heading of its own where one document holds several of a kind."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Readme:
    """The README as a document.

    Attributes:
        tree: below generated/.
        virtual_environment: None if the vLLM executable is not in a `bin` folder.
    """

    stack: str
    tree: str
    node: str
    is_cpu: bool
    engine: str
    verdict: str
    verdict_reason: str
    services: Table
    devices: tuple[Table, ...]
    kv_cache: Table
    flags: tuple[Table, ...]
    unconfirmed: tuple[tuple[str, str], ...]
    names: tuple[str, ...]
    units: tuple[str, ...]
    folders: tuple[str, ...]
    has_systemd: bool
    has_compose: bool
    user: str
    install: str
    state: str
    vllm: str
    virtual_environment: str | None
    api_key_file: str | None
    hf_token_file: str | None
    environment: tuple[tuple[str, str], ...]
    address: str


def emit_readme(plan: Plan) -> tuple[Artifact, ...]:
    """The README."""
    return (Artifact(README, render("readme/readme.j2", readme=readme(plan))),)


def readme(plan: Plan) -> Readme:
    """The README as a document."""
    folders = dict.fromkeys(service.model.folder for service in plan.services if service.model.folder is not None)
    first = plan.services[0]
    return Readme(
        stack=plan.stack,
        tree=plan.tree,
        node=plan.node.name,
        is_cpu=isinstance(plan.node, CpuNode),
        engine=plan.engine.version,
        verdict=plan.verdict.value,
        verdict_reason=_VERDICTS[plan.verdict],
        services=_services_table(plan),
        devices=tuple(_device_table(plan, device) for device in plan.devices),
        kv_cache=_kv_cache_table(plan),
        flags=tuple(_flags_table(service) for service in plan.services),
        unconfirmed=_unconfirmed(plan),
        names=tuple(service.name for service in plan.services),
        units=tuple(f"{plan.stack}-{service.name}" for service in plan.services),
        folders=tuple(folders),
        has_systemd="systemd" in plan.targets,
        has_compose="compose" in plan.targets,
        user=USER,
        install=plan.paths.install,
        state=plan.paths.state,
        vllm=plan.paths.vllm,
        virtual_environment=_virtual_environment(plan.paths.vllm),
        api_key_file=plan.secrets.api_key,
        hf_token_file=plan.secrets.hf_token,
        environment=(("STACKC_VLLM", plan.paths.vllm), *cache_environment(plan.paths.state)),
        address=_address("127.0.0.1" if is_wildcard(first.host) else first.host, first.port),
    )


def _virtual_environment(vllm: str) -> str | None:
    path = PurePosixPath(vllm)
    return str(path.parent.parent) if path.parent.name == "bin" and path.name == "vllm" else None


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _services_table(plan: Plan) -> Table:
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
    )
    return Table("Servers", columns, tuple(_service_row(plan, service) for service in plan.services))


def _service_row(plan: Plan, service: Service) -> tuple[Cell, ...]:
    model = service.model
    is_cpu = isinstance(plan.node, CpuNode)
    return (
        MarkdownCode(service.name),
        MarkdownCode(_address(service.host, service.port)),
        MarkdownCode(model.repository or model.folder or model.requested),
        MarkdownCode(model.commit) if model.commit else ("main" if model.repository else "folder"),
        model.quantization,
        MarkdownCode(service.served_name),
        f"{service.max_model_len} tokens" + (", the most that fit" if "context" in service.solved else ""),
        "CPU" if is_cpu else "GPU " + ", ".join(map(str, service.devices)),
        ", ".join(service.start_after) or "–",
    )


def _device_table(plan: Plan, device: DeviceLedger) -> Table:
    kind = "Main memory" if isinstance(plan.node, CpuNode) else f"GPU {device.index}"
    used = device.used
    rows: list[tuple[Cell, ...]] = [("–", "reserve", *_sizes(ByteRange.exact(device.reserve)), "declared", "the spec")]
    for server in device.servers:
        rows += _server_rows(server)
    rows.append(("–", "in use", *_sizes(used), "", "sum of the rows above"))
    rows.append(("–", "of", format_gib(device.total), format_gib(device.total), "", device.total_source))
    rows.append(("–", "left", format_signed_gib(device.total - used.expected), format_signed_gib(device.slack), "", ""))
    return Table(
        f"{kind} of {plan.node.name}", ("Server", "Use", "Expected", "At most", "Basis", "Source"), tuple(rows)
    )


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


def _kv_cache_table(plan: Plan) -> Table:
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


def _flags_table(service: Service) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for argument in service.arguments:
        value = MarkdownCode(argument.value) if argument.value is not None else "–"
        rows.append((MarkdownCode(argument.flag), value, argument.reason))
    return Table(service.name, ("Option", "Value", "Why"), tuple(rows))


def _unconfirmed(plan: Plan) -> tuple[tuple[str, str], ...]:
    return tuple(
        (service.name, _UNCONFIRMED.get(fact, fact)) for service in plan.services for fact in service.model.unconfirmed
    )
