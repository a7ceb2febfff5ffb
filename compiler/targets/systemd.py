"""`systemd/`: a unit for every server, one for the gateway, one that downloads the models, and the target of them all.

Every path leads through `INSTALL/current`, a link to the installed version: changing the link changes the units, which
are links into it too, together with the programs that they call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from compiler.hosts import is_loopback, is_wildcard
from compiler.plan.ir import Engine, Gateway, GpuNode, Plan, Service
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
RELOAD = "gateway-reload"

_GATEWAY_START_SECONDS = 90
_GATEWAY_RESTART_SECONDS = 2
_GATEWAY_BURST = 5
# A client of ACME writes certificate and key one after the other.
_SETTLE_SECONDS = 2

Lines = tuple[tuple[str, str | int | bool], ...]


@dataclass(frozen=True, slots=True)
class Patched:
    """Directives that the spec adds at the end of each section."""

    unit: Lines
    service: Lines


@dataclass(frozen=True, slots=True)
class ServiceUnit:
    """`STACK-SERVICE.service`. Commands are words, credentials (name, path).

    Attributes:
        wait_ready: empty for a part of a server that answers on another machine.
        group: whether it is a part of a server that spans machines.
    """

    stack: str
    description: str
    engine: str
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
    group: bool = False


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
class ReloadUnit:
    """`STACK-gateway-reload.service`: the gateway's reload with secrets as they are now, which its own unit keeps.

    Attributes:
        gateway: the unit of the gateway.
        settle_seconds: between the first change of a file and the reading, for a key that follows its certificate.
    """

    stack: str
    description: str
    gateway: str
    environment: tuple[tuple[str, str], ...]
    credentials: tuple[tuple[str, str], ...]
    reload: tuple[str, ...]
    settle_seconds: int
    sandbox: Sandbox


@dataclass(frozen=True, slots=True)
class ReloadPathUnit:
    """`STACK-gateway-reload.path`: watches files, and starts the reload when one changes."""

    stack: str
    description: str
    target: str
    watched: tuple[str, ...]


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
    gateway = () if plan.gateway is None else _gateway(plan, plan.gateway)
    prefetch = render("systemd/prefetch.j2", unit=prefetch_unit(plan))
    target = render("systemd/target.j2", unit=target_unit(plan))
    return (
        *services,
        *gateway,
        Artifact(SYSTEMD / unit_name(plan, "prefetch"), prefetch),
        Artifact(SYSTEMD / f"{plan.stack}.target", target),
    )


def _gateway(plan: Plan, gateway: Gateway) -> tuple[Artifact, ...]:
    text = render("systemd/gateway.j2", unit=gateway_unit(plan, gateway))
    own = Artifact(SYSTEMD / unit_name(plan, "gateway"), text)
    if not watches_secrets(plan):
        return (own,)
    reload = render("systemd/gateway_reload.j2", unit=reload_unit(plan, gateway))
    path = render("systemd/gateway_reload_path.j2", unit=reload_path_unit(plan, gateway))
    return (
        own,
        Artifact(SYSTEMD / unit_name(plan, RELOAD), reload),
        Artifact(SYSTEMD / _reload_path_name(plan), path),
    )


def watches_secrets(plan: Plan) -> bool:
    """Whether a change of keys or of a certificate counts without a restart: not of LiteLLM, which does not reload."""
    gateway = plan.gateway
    return gateway is not None and gateway.kind == "nginx" and bool(_changing(plan, gateway))


def _changing(plan: Plan, gateway: Gateway) -> tuple[str, ...]:
    """Files that change while the gateway runs."""
    tls = () if gateway.tls is None else (gateway.tls.certificate, gateway.tls.key)
    return (*(() if plan.secrets.client_keys is None else (plan.secrets.client_keys,)), *dict.fromkeys(tls))


def _reload_path_name(plan: Plan) -> str:
    return f"{plan.stack}-{RELOAD}.path"


def unit_name(plan: Plan, service: str) -> str:
    """File name of a service's unit."""
    return f"{plan.stack}-{service}.service"


def service_unit(plan: Plan, service: Service) -> ServiceUnit:
    """The unit of one server as a document."""
    program, engine = f"{plan.paths.current}/bin", plan.engine_of(service)
    has_gpu = isinstance(plan.node, GpuNode) and service.uses_gpus
    chain = deadlines(plan, service)
    network = _network(service.host) if service.group is None else _ONLINE
    return ServiceUnit(
        stack=plan.stack,
        description=f"{engine.host.title} server {service.name} of stack {plan.stack}: {service.served_name}",
        engine=engine.host.title,
        target=f"{plan.stack}.target",
        wants=(*network, "nvidia-persistenced.service") if has_gpu else network,
        start_after=tuple(unit_name(plan, name) for name in service.start_after),
        environment=_environment(plan, (engine,), ("STACKC_LOCK_DIR", f"/run/{runtime_directory(plan)}")),
        credentials=_credentials(("api-key", plan.secrets.api_key)),
        has_gpu=has_gpu,
        preflight=(f"{program}/preflight", service.name, "--wait", str(PREFLIGHT_WAIT)),
        launch=supervised(plan.paths.current, service),
        wait_ready=(f"{program}/wait-ready", service.name, "--timeout", str(chain.poll)) if service.answers else (),
        deadlines=chain,
        sandbox=replace(
            sandbox(plan, network=server_network(plan, service), uses_gpu=has_gpu, port=service.port),
            hidden=engine.host.configuration,
        ),
        patched=_patched(plan, service.name),
        group=service.group is not None,
    )


def gateway_unit(plan: Plan, gateway: Gateway) -> GatewayUnit:
    """The unit of the gateway as a document. It waits for no server: until one is ready, it answers 503 itself."""
    stop = gateway_stop_seconds(gateway)
    once = _GATEWAY_START_SECONDS + stop + _GATEWAY_RESTART_SECONDS
    return GatewayUnit(
        stack=plan.stack,
        description=f"Gateway of stack {plan.stack}",
        target=f"{plan.stack}.target",
        wants=_network(gateway.host),
        environment=_environment(plan, plan.engines.values(), *_gateway_variables(plan)),
        credentials=_gateway_credentials(plan, gateway),
        program=f"{plan.paths.current}/bin/gateway",
        run=supervised_gateway(plan.paths.current, gateway),
        reloads=gateway.kind == "nginx",
        start_seconds=_GATEWAY_START_SECONDS,
        stop_seconds=stop,
        restart_seconds=_GATEWAY_RESTART_SECONDS,
        start_burst=_GATEWAY_BURST,
        start_interval=(_GATEWAY_BURST + 1) * once,
        sandbox=_gateway_sandbox(plan, gateway),
        patched=_patched(plan, "gateway"),
    )


def reload_unit(plan: Plan, gateway: Gateway) -> ReloadUnit:
    """The unit that reloads as a document. It has the gateway's user, and may signal its processes for that."""
    return ReloadUnit(
        stack=plan.stack,
        description=f"Keys and certificates of the gateway of stack {plan.stack}, as they are now",
        gateway=unit_name(plan, "gateway"),
        environment=_environment(plan, plan.engines.values(), *_gateway_variables(plan)),
        credentials=_gateway_credentials(plan, gateway),
        reload=(f"{plan.paths.current}/bin/gateway", "reload"),
        settle_seconds=_SETTLE_SECONDS,
        sandbox=_gateway_sandbox(plan, gateway),
    )


def reload_path_unit(plan: Plan, gateway: Gateway) -> ReloadPathUnit:
    """The unit that watches as a document."""
    description = f"Files of keys and certificates of stack {plan.stack}"
    return ReloadPathUnit(plan.stack, description, f"{plan.stack}.target", _changing(plan, gateway))


def _gateway_variables(plan: Plan) -> tuple[tuple[str, str], ...]:
    return (
        ("STACKC_NGINX", plan.paths.nginx),
        ("STACKC_LITELLM", plan.paths.litellm),
        ("STACKC_GATEWAY_DIR", f"/run/{runtime_directory(plan)}/gateway"),
        ("STACKC_STATE_DIR", plan.paths.state),
    )


def _gateway_credentials(plan: Plan, gateway: Gateway) -> tuple[tuple[str, str], ...]:
    keys = (("client-keys", plan.secrets.client_keys), ("api-key", plan.secrets.api_key))
    tls = gateway.tls
    pair = () if tls is None else (("tls-certificate", tls.certificate), ("tls-key", tls.key))
    return _credentials(*keys, *pair)


def _gateway_sandbox(plan: Plan, gateway: Gateway) -> Sandbox:
    http_port = None if gateway.tls is None else gateway.tls.http_port
    port = gateway.port if http_port is None else min(gateway.port, http_port)
    # What it writes holds the keys of all clients.
    return sandbox(plan, network=gateway_network(plan, gateway), uses_gpu=False, port=port, umask="0077")


def prefetch_unit(plan: Plan) -> PrefetchUnit:
    """The unit that downloads, the only one that gets the Hub's token."""
    return PrefetchUnit(
        stack=plan.stack,
        description=f"Download of the models of stack {plan.stack}",
        environment=_environment(plan, plan.engines.values()),
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
        description=f"Stack {plan.stack}: all its {' and '.join(plan.titles)} servers and what stands around them",
        wants=(
            *(unit_name(plan, name) for name in members),
            *((_reload_path_name(plan),) if watches_secrets(plan) else ()),
        ),
        patched=_patched(plan, "target"),
    )


_ONLINE = ("network-online.target",)


def _network(host: str) -> tuple[str, ...]:
    # An address of a network card can only be bound once it is up; loopback and wildcards always can.
    return () if is_loopback(host) or is_wildcard(host) else _ONLINE


def _environment(plan: Plan, engines: Collection[Engine], *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    first = next(iter(engines))
    programs = ((engine.host.program.variable, engine.program) for engine in engines)
    return (("PATH", search_path(first)), *programs, *more, *cache_environment(plan.paths.state, engines))


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
