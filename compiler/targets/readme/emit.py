"""`README.md` of a generated stack: for whoever must deploy it, or mend it at night."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath

from compiler.catalog.packages import LITELLM_REQUIREMENT, LITELLM_VERSION
from compiler.engines.interface.host import Signal
from compiler.hosts import is_loopback
from compiler.ledger import Basis
from compiler.plan.disk import disk_of
from compiler.plan.ir import CpuNode, Engine, Gateway, Group, Monitoring, Plan, Rollout, Service, Verdict
from compiler.plan.replicas import replicas_of
from compiler.render.artifact import Artifact
from compiler.render.environment import render
from compiler.targets.deployment import (
    START_BURST,
    WRONG_KEYS_PER_SECOND,
    address_connections,
    cache_environment,
    search_path,
    user_of,
)
from compiler.targets.library import EVALUATION
from compiler.targets.readme.cluster import cluster_page
from compiler.targets.readme.costs import cost_page
from compiler.targets.readme.first_request import REQUESTS, first_request, reachable
from compiler.targets.readme.page import (
    BalancedModel,
    Compilers,
    DiskPage,
    EnginePage,
    EntrancePage,
    GatewayPage,
    GroupPage,
    MediaPage,
    MonitoringPage,
    Readme,
    RemoteServer,
    RolloutPage,
    SecretFile,
    VirtualEnvironment,
)
from compiler.targets.readme.speeds import speed_page
from compiler.targets.readme.tables import (
    adapters_table,
    device_table,
    drafts_table,
    entrance_address,
    flags_table,
    http_address,
    kv_cache_table,
    networks_table,
    services_table,
)
from compiler.targets.requirements import requirement_files
from compiler.targets.slurm import job_path
from compiler.targets.systemd_network import server_network
from compiler.units import format_gib

README = PurePosixPath("README.md")

INSTALLER = "stackc-install"
"""The user that runs pip. It is neither root nor the one that runs the servers."""

PIP_OPTIONS = "--no-cache-dir --require-hashes --only-binary :all: --no-deps"

_VERDICTS = {
    Verdict.FITS: "even if every estimate is at its high end",
    Verdict.MARGIN: "at the expected values, but not if every estimate is at its high end",
    Verdict.UNFIT: "not even at the expected values",
}

_UNCONFIRMED = {
    "chat_template": "whether it has a chat template",
    "commit": "the full commit: prefetch takes `main`",
    "config": "config.json",
    "image": "the digest of its image: a tag may be another one tomorrow",
    "files": "names or sizes of its files",
    "license": "its licence",
    "tensors": "shapes and dtypes of its tensors",
}


def emit_readme(plan: Plan) -> tuple[Artifact, ...]:
    """The README."""
    return (Artifact(README, render("readme/readme.j2", readme=readme(plan))),)


def readme(plan: Plan) -> Readme:
    """The README as a document."""
    places = dict.fromkeys(place for service in plan.services for place in service.places)
    first = plan.services[0]
    environments = tuple(_virtual_environments(plan))
    home = plan.paths.current if {"systemd", "quadlet"} & set(plan.targets) else "."
    return Readme(
        stack=plan.stack,
        tree=plan.tree,
        node=plan.node.name,
        is_cpu=isinstance(plan.node, CpuNode),
        titles=plan.titles,
        releases=plan.releases,
        engines=tuple(map(_engine, plan.engines.values())),
        waiting=tuple(_waiting(plan)),
        verdict=plan.verdict.value,
        verdict_reason=_VERDICTS[plan.verdict],
        services=services_table(plan),
        replicas=replicas_of(plan),
        adapters=adapters_table(plan) if any(each.adapters for each in plan.services) else None,
        drafts=drafts_table(plan),
        speed=speed_page(plan),
        cost=cost_page(plan),
        devices=tuple(device_table(plan, device) for device in plan.ledgers),
        kv_cache=kv_cache_table(plan),
        flags=tuple(flags_table(service) for service in plan.services),
        disk=_disk(plan),
        unconfirmed=_unconfirmed(plan),
        names=tuple(service.name for service in plan.services),
        units=tuple(f"{plan.stack}-{name}.service" for name in _parts(plan)),
        containers=_parts(plan),
        places=tuple(places),
        has_systemd="systemd" in plan.targets,
        has_compose="compose" in plan.targets,
        has_quadlet="quadlet" in plan.targets,
        cluster=cluster_page(plan),
        user=user_of(plan.stack),
        install=plan.paths.install,
        home=home,
        bin="bin" if home == "." else f"{home}/bin",
        cases=f"{home}/{EVALUATION}" if any(each.task == "chat" for each in plan.services) else "cases.yaml",
        start_burst=START_BURST,
        state=plan.paths.state,
        virtual_environments=environments,
        is_hashed=all(each.requirements is not None for each in environments),
        compilers=_compilers(plan),
        installer=INSTALLER,
        pip_options=PIP_OPTIONS,
        api_key_file=plan.secrets.api_key,
        secrets=_secrets(plan),
        environment=(
            ("PATH", search_path(plan.engine)),
            *((engine.host.program.variable, engine.program) for engine in plan.engines.values()),
            *cache_environment(plan.paths.state, plan.engines.values()),
        ),
        address=http_address(reachable(first.host), first.port),
        first_request=first_request(plan),
        gateway=None if plan.gateway is None else _gateway(plan, plan.gateway),
        entrance=_entrance(plan),
        rollouts=() if plan.gateway is None else tuple(map(_rollout, plan.gateway.rollouts)),
        monitoring=None if plan.monitoring is None else _monitoring(plan.monitoring),
        templates=plan.templates,
        networks=networks_table(plan) if "systemd" in plan.targets else None,
        media=tuple(
            MediaPage(each.name, each.media_domains) for each in plan.services if each.media_domains is not None
        ),
        measured=tuple(each.name for each in plan.services if plan.engine_of(each).host.manual.brings_bench),
        inside=tuple(each.name for each in plan.services if plan.engine_of(each).host.container.has_python),
        has_containers_outside=plan.gateway is None and bool({"compose", "quadlet"} & set(plan.targets)),
        groups=tuple(_group(each.name, each.group) for each in plan.services if each.group is not None),
        answers=bool(plan.answering),
        job=str(job_path(plan)) if plan.slurm is not None and plan.answering else None,
    )


def _group(service: str, group: Group) -> GroupPage:
    return GroupPage(
        service=service,
        nodes=tuple(member.node for member in group.members),
        addresses=tuple(member.address for member in group.members),
        interface=group.own.interface,
        watch_port=group.watch_port,
        is_led_here=group.is_led_here,
    )


def _disk(plan: Plan) -> DiskPage | None:
    disk = disk_of(plan)
    if not disk.total:
        return None
    return DiskPage(
        download=format_gib(disk.to_download),
        compiled=format_gib(disk.compiled),
        total=format_gib(disk.total),
        is_exact=disk.basis is Basis.EXACT,
    )


def _parts(plan: Plan) -> tuple[str, ...]:
    """What runs for good: the servers, and the gateway in front of them."""
    return (*(service.name for service in plan.services), *(() if plan.gateway is None else ("gateway",)))


def _engine(engine: Engine) -> EnginePage:
    return EnginePage(
        title=engine.host.title,
        version=engine.version,
        program=engine.program,
        folder=str(PurePosixPath(engine.program).parent),
        says=engine.version.removeprefix("b") + (f", or commit {engine.host.commit}" if engine.host.commit else ""),
        is_python=engine.host.packages is not None,
        is_prepared=_virtual_environment(engine) is not None,
        installing=engine.host.installing if PurePosixPath(engine.program).name == engine.host.program.name else None,
        configures=bool(engine.host.configuration),
        key_variable=engine.host.key_variable,
        guarded=engine.host.guarded,
        exit_codes=engine.host.manual.exit_codes,
        symptoms=engine.host.manual.symptoms,
        finishes_requests=engine.host.manual.finishes_requests,
        is_timed=engine.host.start is not None,
        program_name=engine.host.program.name,
    )


def _waiting(plan: Plan) -> Iterator[str]:
    for engine in plan.engines.values():
        if Signal.WAITING in engine.host.signals:
            yield engine.host.signals[Signal.WAITING]


def _virtual_environment(engine: Engine) -> str | None:
    """The folder that pip installs an engine into; None where the spec names a program of another form."""
    if engine.host.packages is None:
        return None
    return _environment_of(engine.program, engine.host.program.name)


def _environment_of(program: str, name: str) -> str | None:
    path = PurePosixPath(program)
    return str(path.parent.parent) if path.parent.name == "bin" and path.name == name else None


def _virtual_environments(plan: Plan) -> Iterator[VirtualEnvironment]:
    """Of engines, and of LiteLLM where it is the gateway; none for programs that lie in no `bin` folder."""
    files = {each.root: str(path) for path, each in requirement_files(plan).items()}
    for engine in plan.engines.values():
        folder = _virtual_environment(engine)
        if folder is not None and engine.host.packages is not None:
            root = engine.host.packages.root
            yield VirtualEnvironment(folder, files.get(root), root)
    if plan.gateway is not None and plan.gateway.kind == "litellm":
        folder = _environment_of(plan.paths.litellm, "litellm")
        if folder is not None:
            yield VirtualEnvironment(folder, files.get(LITELLM_REQUIREMENT), LITELLM_REQUIREMENT)


def _compilers(plan: Plan) -> Compilers | None:
    compiling = [plan.engine_of(service) for service in plan.services if service.host_needs]
    if not compiling:
        return None
    engine = compiling[0]
    packages = ("g++", "gcc-c++") if _needing(plan, "c++") else ("gcc", "gcc")
    toolkit = _needing(plan, "nvcc")
    folder = None if toolkit else _virtual_environment(engine)
    wheels = engine.host.kernels if folder is not None else ()
    kernels = _needing(plan, "flashinfer")
    return Compilers(*packages, kernels, toolkit, engine.host.title, engine.host.cuda, wheels, folder)


def _needing(plan: Plan, tool: str) -> tuple[str, ...]:
    return tuple(service.name for service in plan.services if any(need.tool == tool for need in service.host_needs))


def _secrets(plan: Plan) -> tuple[SecretFile, ...]:
    secrets = plan.secrets
    given = (
        ("key", "api-key", secrets.api_key),
        ("token", "hf-token", secrets.hf_token),
        ("clients", "client-keys", secrets.client_keys),
    )
    return tuple(SecretFile(kind, file, f"{plan.stack}-{name}", name) for kind, name, file in given if file is not None)


def _gateway(plan: Plan, gateway: Gateway) -> GatewayPage:
    first = gateway.routes[0]
    path, asked = REQUESTS[plan.service(first.service).task]
    program = plan.paths.nginx if gateway.kind == "nginx" else plan.paths.litellm
    return GatewayPage(
        kind=gateway.kind,
        address=entrance_address(gateway, reachable(gateway.host)),
        name=None if gateway.tls is None else next(iter(gateway.tls.domains), ""),
        teams=tuple(team.name for team in gateway.teams),
        acme=() if gateway.tls is None or gateway.tls.acme is None else gateway.tls.domains,
        names=tuple(route.name for route in gateway.routes),
        path=path,
        request=json.dumps({"model": first.name, **asked}),
        unit=f"{plan.stack}-gateway.service",
        client_keys_file=plan.secrets.client_keys,
        program=program,
        version=LITELLM_VERSION if gateway.kind == "litellm" else None,
        origins=gateway.cors_origins,
        address_connections=address_connections(gateway),
        wrong_keys_per_second=WRONG_KEYS_PER_SECOND,
        elsewhere=tuple(_remote(each, service) for each in plan.neighbours for service in each.services),
        other_gateways=tuple(each.node for each in plan.entrances if each.node != plan.node.name),
        balanced=tuple(_balanced(gateway)),
    )


def _remote(plan: Plan, service: Service) -> RemoteServer:
    return RemoteServer(plan.node.name, service.name, service.served_name, http_address(service.host, service.port))


_KEPT = {"header": "the value of `{header}`", "client": "the client's key", "none": None}


def _balanced(gateway: Gateway) -> Iterator[BalancedModel]:
    for route in gateway.routes:
        kept = _KEPT[route.sticky]
        session = None if kept is None else kept.format(header=route.header)
        revisions = (route.servers, () if route.rollout is None else route.rollout.servers)
        yield from (BalancedModel(route.name, servers, session) for servers in revisions if len(servers) > 1)


def _entrance(plan: Plan) -> EntrancePage | None:
    ports = tuple(service.port for service in plan.services if not is_loopback(service.host))
    others = tuple((each.node, each.address) for each in plan.entrances if each.node != plan.node.name)
    if not others or not ports:
        return None
    return EntrancePage(
        gateways=others,
        ports=ports,
        is_filtered=all(server_network(plan, service).deny == ("any",) for service in plan.services),
        tables="ip6tables" if ":" in others[0][1] else "iptables",
    )


_STICKY = {
    "header": ", the same for all requests with one value of `{header}`",
    "client": ", the same for all requests of one client",
    "none": ", by chance",
}


def _rollout(rollout: Rollout) -> RolloutPage:
    sticky = _STICKY[rollout.sticky].format(header=rollout.header)
    return RolloutPage(rollout.stable, rollout.candidate, rollout.strategy, rollout.weight, sticky)


def _monitoring(monitoring: Monitoring) -> MonitoringPage:
    return MonitoringPage(
        has_grafana=monitoring.has_grafana,
        dcgm_port=monitoring.dcgm_port if monitoring.has_dcgm else None,
        prometheus=http_address("127.0.0.1", monitoring.port),
        grafana=http_address("127.0.0.1", monitoring.grafana_port),
    )


def _unconfirmed(plan: Plan) -> tuple[tuple[str, str], ...]:
    served = ((service.name, model) for service in plan.services for model in service.models)
    models = ((name, fact) for name, model in served for fact in model.unconfirmed)
    images = ((image.reference, "image") for image in plan.images if image.digest is None)
    return tuple((name, _UNCONFIRMED.get(fact, fact)) for name, fact in (*models, *images))
