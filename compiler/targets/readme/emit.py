"""`README.md` of a generated stack: for whoever must deploy it, or mend it at night."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath

from compiler.catalog.packages import LITELLM_VERSION
from compiler.catalog.vllm.kernels import kernel_wheels
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
from compiler.targets.library import EVALUATION
from compiler.targets.readme.first_request import REQUESTS, first_request, reachable
from compiler.targets.readme.page import (
    Compilers,
    GatewayPage,
    MediaPage,
    MonitoringPage,
    Readme,
    RolloutPage,
    SecretFile,
    VirtualEnvironment,
)
from compiler.targets.readme.tables import (
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
