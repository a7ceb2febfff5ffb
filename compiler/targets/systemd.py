"""`systemd/`: a unit for every server, one for the gateway, one that downloads the models, and the target of them all.

Every path leads through `INSTALL/current`, a link to the installed version: changing the link changes the units, which
are links into it too, together with the programs that they call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.hosts import is_loopback, is_wildcard
from compiler.plan.ir import Gateway, GpuNode, Plan, Service
from compiler.render.artifact import Artifact
from compiler.render.environment import render
from compiler.targets.deployment import (
    PREFLIGHT_WAIT,
    Deadlines,
    cache_environment,
    deadlines,
    gateway_stop_seconds,
    search_path,
    supervised,
    supervised_gateway,
)
from compiler.targets.systemd_network import gateway_network, prefetch_network, server_network
from compiler.targets.systemd_sandbox import Sandbox, runtime_directory, sandbox

SYSTEMD = PurePosixPath("systemd")

_GATEWAY_START_SECONDS = 90
_GATEWAY_RESTART_SECONDS = 2
_GATEWAY_BURST = 5

Lines = tuple[tuple[str, str | int | bool], ...]


@dataclass(frozen=True, slots=True)
class Patched:
    """Directives that the spec adds at the end of each section."""

    unit: Lines
    service: Lines


@dataclass(frozen=True, slots=True)
class ServiceUnit:
    """`STACK-SERVICE.service`. Commands are words, credentials (name, path)."""

    stack: str
    description: str
    target: str
    wants: tuple[str, ...]
    start_after: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    credentials: tuple[tuple[str, str], ...]
    has_gpu: bool
    preflight: tuple[str, ...]
    launch: tuple[str, ...]
    wait_ready: tuple[str, ...]
    deadlines: Deadlines
    sandbox: Sandbox
    patched: Patched


@dataclass(frozen=True, slots=True)
class GatewayUnit:
    """`STACK-gateway.service`. Times are seconds; `start_interval` outlasts `start_burst` of the slowest starts."""

    stack: str
    description: str
    target: str
    wants: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    credentials: tuple[tuple[str, str], ...]
    program: str
    run: tuple[str, ...]
    reloads: bool
    start_seconds: int
    stop_seconds: int
    restart_seconds: int
    start_burst: int
    start_interval: int
    sandbox: Sandbox
    patched: Patched


@dataclass(frozen=True, slots=True)
class PrefetchUnit:
    """`STACK-prefetch.service`, started by hand."""

    stack: str
    description: str
    environment: tuple[tuple[str, str], ...]
    credentials: tuple[tuple[str, str], ...]
    prefetch: tuple[str, ...]
    sandbox: Sandbox
    patched: Patched


@dataclass(frozen=True, slots=True)
class TargetUnit:
    """`STACK.target`."""

    stack: str
    description: str
    wants: tuple[str, ...]
    patched: Patched


def emit_systemd(plan: Plan) -> tuple[Artifact, ...]:
    """Everything under `systemd/`."""
    services = [
        Artifact(
            SYSTEMD / unit_name(plan, service.name), render("systemd/service.j2", unit=service_unit(plan, service))
        )
        for service in plan.services
    ]
    gateway = [] if plan.gateway is None else [_gateway(plan, plan.gateway)]
    prefetch = render("systemd/prefetch.j2", unit=prefetch_unit(plan))
    target = render("systemd/target.j2", unit=target_unit(plan))
    return (
        *services,
        *gateway,
        Artifact(SYSTEMD / unit_name(plan, "prefetch"), prefetch),
        Artifact(SYSTEMD / f"{plan.stack}.target", target),
    )


def _gateway(plan: Plan, gateway: Gateway) -> Artifact:
    text = render("systemd/gateway.j2", unit=gateway_unit(plan, gateway))
    return Artifact(SYSTEMD / unit_name(plan, "gateway"), text)


def unit_name(plan: Plan, service: str) -> str:
    """File name of a service's unit."""
    return f"{plan.stack}-{service}.service"


def service_unit(plan: Plan, service: Service) -> ServiceUnit:
    """The unit of one server as a document."""
    program = f"{plan.paths.current}/bin"
    has_gpu = isinstance(plan.node, GpuNode)
    chain = deadlines(plan, service)
    network = _network(service.host)
    return ServiceUnit(
        stack=plan.stack,
        description=f"vLLM server {service.name} of stack {plan.stack}: {service.served_name}",
        target=f"{plan.stack}.target",
        wants=(*network, "nvidia-persistenced.service") if has_gpu else network,
        start_after=tuple(unit_name(plan, name) for name in service.start_after),
        environment=_environment(plan, ("STACKC_LOCK_DIR", f"/run/{runtime_directory(plan)}")),
        credentials=_credentials(("api-key", plan.secrets.api_key)),
        has_gpu=has_gpu,
        preflight=(f"{program}/preflight", service.name, "--wait", str(PREFLIGHT_WAIT)),
        launch=supervised(plan.paths.current, service),
        wait_ready=(f"{program}/wait-ready", service.name, "--timeout", str(chain.poll)),
        deadlines=chain,
        sandbox=sandbox(plan, network=server_network(plan, service), uses_gpu=has_gpu, port=service.port),
        patched=_patched(plan, service.name),
    )


def gateway_unit(plan: Plan, gateway: Gateway) -> GatewayUnit:
    """The unit of the gateway as a document. It waits for no server: until one is ready, it answers 503 itself."""
    folder = f"/run/{runtime_directory(plan)}/gateway"
    stop = gateway_stop_seconds(gateway)
    once = _GATEWAY_START_SECONDS + stop + _GATEWAY_RESTART_SECONDS
    own = (
        ("STACKC_NGINX", plan.paths.nginx),
        ("STACKC_LITELLM", plan.paths.litellm),
        ("STACKC_GATEWAY_DIR", folder),
        ("STACKC_STATE_DIR", plan.paths.state),
    )
    return GatewayUnit(
        stack=plan.stack,
        description=f"Gateway of stack {plan.stack}",
        target=f"{plan.stack}.target",
        wants=_network(gateway.host),
        environment=_environment(plan, *own),
        credentials=_credentials(("client-keys", plan.secrets.client_keys), ("api-key", plan.secrets.api_key)),
        program=f"{plan.paths.current}/bin/gateway",
        run=supervised_gateway(plan.paths.current, gateway),
        reloads=gateway.kind == "nginx",
        start_seconds=_GATEWAY_START_SECONDS,
        stop_seconds=stop,
        restart_seconds=_GATEWAY_RESTART_SECONDS,
        start_burst=_GATEWAY_BURST,
        start_interval=(_GATEWAY_BURST + 1) * once,
        # What it writes holds the keys of all clients.
        sandbox=sandbox(plan, network=gateway_network(gateway.host), uses_gpu=False, port=gateway.port, umask="0077"),
        patched=_patched(plan, "gateway"),
    )


def prefetch_unit(plan: Plan) -> PrefetchUnit:
    """The unit that downloads, the only one that gets the Hub's token."""
    return PrefetchUnit(
        stack=plan.stack,
        description=f"Download of the models of stack {plan.stack}",
        environment=_environment(plan),
        credentials=_credentials(("hf-token", plan.secrets.hf_token)),
        prefetch=(f"{plan.paths.current}/bin/prefetch",),
        sandbox=sandbox(plan, network=prefetch_network(), uses_gpu=False),
        patched=_patched(plan, "prefetch"),
    )


def target_unit(plan: Plan) -> TargetUnit:
    """The handle to start and stop the whole stack."""
    members = [service.name for service in plan.services] + (["gateway"] if plan.gateway is not None else [])
    return TargetUnit(
        stack=plan.stack,
        description=f"Stack {plan.stack}: all its vLLM servers and what stands around them",
        wants=tuple(unit_name(plan, name) for name in members),
        patched=_patched(plan, "target"),
    )


def _network(host: str) -> tuple[str, ...]:
    # An address of a network card can only be bound once it is up; loopback and wildcards always can.
    return () if is_loopback(host) or is_wildcard(host) else ("network-online.target",)


def _environment(plan: Plan, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return (("PATH", search_path(plan)), ("STACKC_VLLM", plan.paths.vllm), *more, *cache_environment(plan.paths.state))


def _credentials(*wanted: tuple[str, str | None]) -> tuple[tuple[str, str], ...]:
    return tuple((name, path) for name, path in wanted if path is not None)


def _patched(plan: Plan, name: str) -> Patched:
    """A list gives a line for each of its items."""
    sections = plan.patches.systemd.get(name, {})
    return Patched(unit=tuple(_lines(sections, "Unit")), service=tuple(_lines(sections, "Service")))


def _lines(sections: object, section: str) -> Iterable[tuple[str, str | int | bool]]:
    given = sections.get(section, {}) if isinstance(sections, dict) else {}
    for key, value in given.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            yield key, item
