"""`README.md` of a generated stack: for whoever must deploy it, or mend it at night."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from compiler.catalog.kernels import KernelWheel, kernel_wheels
from compiler.catalog.packages import LITELLM_VERSION
from compiler.plan.ir import CpuNode, Gateway, Monitoring, Plan, Rollout, Verdict
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
from compiler.targets.first_request import REQUESTS, FirstRequest, first_request, reachable
from compiler.targets.library import EVALUATION
from compiler.targets.readme_tables import (
    Table,
    device_table,
    flags_table,
    http_address,
    kv_cache_table,
    networks_table,
    services_table,
)
from compiler.targets.requirements import requirement_files

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


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that must be made once. `kind` is `key`, `token` or `clients`; `podman` the name of Podman's secret."""

    kind: str
    file: str
    podman: str


@dataclass(frozen=True, slots=True)
class GatewayPage:
    """How clients come in.

    Attributes:
        path, request: of an example, and its body as JSON.
        program: the executable that the unit runs.
        version: of LiteLLM, whose configuration is for one release; None for nginx.
    """

    kind: str
    address: str
    names: tuple[str, ...]
    path: str
    request: str
    unit: str
    client_keys_file: str | None
    program: str
    version: str | None
    origins: tuple[str, ...]
    address_connections: int
    wrong_keys_per_second: int


@dataclass(frozen=True, slots=True)
class VirtualEnvironment:
    """A folder that pip installs into, from a file of `requirements/`; None where nobody lists the hashes.

    Attributes:
        root: what is asked for, with which all else comes.
    """

    folder: str
    requirements: str | None
    root: str


@dataclass(frozen=True, slots=True)
class Compilers:
    """What the servers compile with on a machine without containers, as packages of distributions.

    Attributes:
        for_kernels: servers that take FlashInfer's kernels, prebuilt or compiled.
        for_toolkit: servers that compile with `nvcc` in any case.
        cuda: the release of CUDA that vLLM's build holds.
        wheels: prebuilt kernels, where they are enough and pip installs vLLM.
    """

    debian: str
    redhat: str
    for_kernels: tuple[str, ...]
    for_toolkit: tuple[str, ...]
    cuda: str | None
    wheels: tuple[KernelWheel, ...]


@dataclass(frozen=True, slots=True)
class RolloutPage:
    """Two revisions of a service; `sticky` ends the sentence on who gets the candidate."""

    stable: str
    candidate: str
    strategy: str
    weight: int
    sticky: str


@dataclass(frozen=True, slots=True)
class MonitoringPage:
    """Addresses are those of the containers. `dcgm_port` is None without GPUs."""

    has_grafana: bool
    dcgm_port: int | None
    prometheus: str
    grafana: str


@dataclass(frozen=True, slots=True)
class MediaPage:
    """A server that takes media, and the hosts from which it fetches them."""

    name: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Readme:
    """The README as a document.

    Attributes:
        tree: below generated/.
        home: the folder that runs: what the link `current` leads to, or this folder where nothing installs it.
        bin: of that folder.
        cases: a file for `bin/evaluate`: the one that is emitted, or one that the reader has to write.
        units: of the servers, then of the gateway; likewise `containers`.
        virtual_environment: None if the vLLM executable is not in a `bin` folder.
        virtual_environments: all that pip installs into, first that of vLLM.
        compilers: None where only containers run.
        installer: the user who does so, and owns nothing afterwards.
        templates: path and SHA-256 of each template that is not stackc's own.
        networks: addresses of each unit; None without units.
        has_containers_outside: containers that reach what the machine reaches, because no gateway stands before them.
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
    containers: tuple[str, ...]
    folders: tuple[str, ...]
    has_systemd: bool
    has_compose: bool
    has_quadlet: bool
    user: str
    install: str
    home: str
    bin: str
    cases: str
    start_burst: int
    state: str
    vllm: str
    virtual_environment: str | None
    virtual_environments: tuple[VirtualEnvironment, ...]
    is_hashed: bool
    compilers: Compilers | None
    installer: str
    pip_options: str
    api_key_file: str | None
    secrets: tuple[SecretFile, ...]
    environment: tuple[tuple[str, str], ...]
    address: str
    first_request: FirstRequest
    gateway: GatewayPage | None
    rollouts: tuple[RolloutPage, ...]
    monitoring: MonitoringPage | None
    templates: tuple[tuple[str, str], ...]
    networks: Table | None
    media: tuple[MediaPage, ...]
    has_containers_outside: bool


def emit_readme(plan: Plan) -> tuple[Artifact, ...]:
    """The README."""
    return (Artifact(README, render("readme/readme.j2", readme=readme(plan))),)


def readme(plan: Plan) -> Readme:
    """The README as a document."""
    folders = dict.fromkeys(service.model.folder for service in plan.services if service.model.folder is not None)
    first = plan.services[0]
    environments = tuple(_virtual_environments(plan))
    home = plan.paths.current if {"systemd", "quadlet"} & set(plan.targets) else "."
    return Readme(
        stack=plan.stack,
        tree=plan.tree,
        node=plan.node.name,
        is_cpu=isinstance(plan.node, CpuNode),
        engine=plan.engine.version,
        verdict=plan.verdict.value,
        verdict_reason=_VERDICTS[plan.verdict],
        services=services_table(plan),
        devices=tuple(device_table(plan, device) for device in plan.devices),
        kv_cache=kv_cache_table(plan),
        flags=tuple(flags_table(service) for service in plan.services),
        unconfirmed=_unconfirmed(plan),
        names=tuple(service.name for service in plan.services),
        units=tuple(f"{plan.stack}-{name}.service" for name in _parts(plan)),
        containers=_parts(plan),
        folders=tuple(folders),
        has_systemd="systemd" in plan.targets,
        has_compose="compose" in plan.targets,
        has_quadlet="quadlet" in plan.targets,
        user=user_of(plan.stack),
        install=plan.paths.install,
        home=home,
        bin="bin" if home == "." else f"{home}/bin",
        cases=f"{home}/{EVALUATION}" if any(each.task == "chat" for each in plan.services) else "cases.yaml",
        start_burst=START_BURST,
        state=plan.paths.state,
        vllm=plan.paths.vllm,
        virtual_environment=_virtual_environment(plan.paths.vllm),
        virtual_environments=environments,
        is_hashed=all(each.requirements is not None for each in environments),
        compilers=_compilers(plan),
        installer=INSTALLER,
        pip_options=PIP_OPTIONS,
        api_key_file=plan.secrets.api_key,
        secrets=_secrets(plan),
        environment=(
            ("PATH", search_path(plan)),
            ("STACKC_VLLM", plan.paths.vllm),
            *cache_environment(plan.paths.state),
        ),
        address=http_address(reachable(first.host), first.port),
        first_request=first_request(plan),
        gateway=None if plan.gateway is None else _gateway(plan, plan.gateway),
        rollouts=() if plan.gateway is None else tuple(map(_rollout, plan.gateway.rollouts)),
        monitoring=None if plan.monitoring is None else _monitoring(plan.monitoring),
        templates=plan.templates,
        networks=networks_table(plan) if "systemd" in plan.targets else None,
        media=tuple(
            MediaPage(each.name, each.media_domains) for each in plan.services if each.media_domains is not None
        ),
        has_containers_outside=plan.gateway is None and bool({"compose", "quadlet"} & set(plan.targets)),
    )


def _parts(plan: Plan) -> tuple[str, ...]:
    """What runs for good: the servers, and the gateway in front of them."""
    return (*(service.name for service in plan.services), *(() if plan.gateway is None else ("gateway",)))


def _virtual_environment(program: str) -> str | None:
    path = PurePosixPath(program)
    return str(path.parent.parent) if path.parent.name == "bin" and path.name in {"vllm", "litellm"} else None


def _virtual_environments(plan: Plan) -> Iterator[VirtualEnvironment]:
    """Of vLLM, and of LiteLLM where it is the gateway; none for programs that lie in no `bin` folder."""
    files = {path.name.partition("-")[0]: (str(path), each.root) for path, each in requirement_files(plan).items()}
    programs = [("vllm", plan.paths.vllm)]
    if plan.gateway is not None and plan.gateway.kind == "litellm":
        programs.append(("litellm", plan.paths.litellm))
    for name, program in programs:
        folder = _virtual_environment(program)
        if folder is not None:
            requirements, root = files.get(name, (None, f"{name}=={plan.engine.version}"))
            yield VirtualEnvironment(folder, requirements, root)


def _compilers(plan: Plan) -> Compilers | None:
    if not any(service.host_needs for service in plan.services):
        return None
    packages = ("g++", "gcc-c++") if _needing(plan, "c++") else ("gcc", "gcc")
    toolkit = _needing(plan, "nvcc")
    is_enough = not toolkit and _virtual_environment(plan.paths.vllm) is not None
    wheels = kernel_wheels(plan.engine.version) if is_enough else ()
    return Compilers(*packages, _needing(plan, "flashinfer"), toolkit, plan.engine.cuda, wheels)


def _needing(plan: Plan, tool: str) -> tuple[str, ...]:
    return tuple(service.name for service in plan.services if any(need.tool == tool for need in service.host_needs))


def _secrets(plan: Plan) -> tuple[SecretFile, ...]:
    secrets = plan.secrets
    given = (
        ("key", "api-key", secrets.api_key),
        ("token", "hf-token", secrets.hf_token),
        ("clients", "client-keys", secrets.client_keys),
    )
    return tuple(SecretFile(kind, file, f"{plan.stack}-{name}") for kind, name, file in given if file is not None)


def _gateway(plan: Plan, gateway: Gateway) -> GatewayPage:
    first = gateway.routes[0]
    path, asked = REQUESTS[plan.service(first.service).task]
    program = plan.paths.nginx if gateway.kind == "nginx" else plan.paths.litellm
    return GatewayPage(
        kind=gateway.kind,
        address=http_address(reachable(gateway.host), gateway.port),
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
    models = ((service.name, fact) for service in plan.services for fact in service.model.unconfirmed)
    images = ((image.reference, "image") for image in plan.images if image.digest is None)
    return tuple((name, _UNCONFIRMED.get(fact, fact)) for name, fact in (*models, *images))
