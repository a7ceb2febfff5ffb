"""What a target cannot express is an error for that target: nothing of a spec is left out in silence.

Every other key of a spec means the same for every target: it is in the plan, in the launch scripts that all of them
run, or in what each of them writes for it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from compiler.checks.unit_names import QUADLET_NAMES
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.interface.engine import Engines
from compiler.spec.engines import LLAMA_CPP
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec

CONTAINERS = ("compose", "quadlet", "kubernetes")
# Container engines of one machine, which publish ports on its addresses.
_PUBLISHING = ("compose", "quadlet")
# `scripts` stands for programs that are run by hand, with the plan's paths.
_PATH_TARGETS = {
    "install": ("scripts", "systemd", "quadlet"),
    "state": ("scripts", "systemd", "slurm"),
    "vllm": ("scripts", "systemd", "slurm"),
    "nginx": ("scripts", "systemd", "slurm"),
    "litellm": ("scripts", "systemd", "slurm"),
}
_DEFAULT_TARGETS = ("scripts", "systemd")
# A colon parts source and target of a volume in Podman's files, and a comma its options.
_QUADLET_PATH = re.compile(r"/[A-Za-z0-9._/+@-]*")

# Beside those that every stack, or its monitoring, has everywhere.
_COMPOSE_NAMES = ("prepare",)


def check_targets(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """Everything that the chosen targets cannot say."""
    yield from _check_patches(file)
    yield from _check_images(file)
    yield from _check_paths(file)
    yield from _check_hosts(file)
    yield from _check_files(file, engines)
    yield from _check_monitoring(file)
    yield from _check_rollouts(file)
    yield from _check_names(file)
    yield from _check_machines(file)


def _check_patches(file: SpecFile) -> Iterator[Diagnostic]:
    for target in ("systemd", "compose", "quadlet"):
        if getattr(file.spec.patches, target) and target not in file.spec.targets:
            path = ("patches", target)
            message = f"`patches.{target}` changes nothing: `{target}` is not among the targets"
            # With monitoring, quadlets would be refused in their turn.
            can_add = target != "quadlet" or file.spec.monitoring is None
            helps = (Help(f"remove `patches.{target}`", (Edit(path, None),)), *_adding(file.spec, target)[:can_add])
            yield Diagnostic("E0214", message, file.at_key(*path), helps=helps)


def _check_images(file: SpecFile) -> Iterator[Diagnostic]:
    if any(target in CONTAINERS for target in file.spec.targets):
        return
    gateway = file.spec.gateway.image if file.spec.gateway is not None else None
    llama_cpp = file.spec.engine.llama_cpp.image if file.spec.engine.llama_cpp is not None else None
    images = {("engine",): file.spec.engine.image, ("engine", LLAMA_CPP): llama_cpp, ("gateway",): gateway}
    for section, image in images.items():
        if image is not None:
            path = (*section, "image")
            message = f"`{'.'.join(path)}` is of a container, and no target has containers"
            helps = (Help("remove `image`", (Edit(path, None),)), *_adding(file.spec, "compose"))
            yield Diagnostic("E0214", message, file.at_key(*path), helps=helps)


def _check_paths(file: SpecFile) -> Iterator[Diagnostic]:
    for key, targets in _PATH_TARGETS.items():
        if getattr(file.spec.paths, key) is None or any(target in targets for target in file.spec.targets):
            continue
        path = ("paths", key)
        message = f"`paths.{key}` is not used by {_named(file.spec.targets)}: their containers have places of their own"
        helps = (Help(f"remove `paths.{key}`", (Edit(path, None),)), *_adding(file.spec, "systemd"))
        yield Diagnostic("E0214", message, file.at_key(*path), helps=helps)


def _check_hosts(file: SpecFile) -> Iterator[Diagnostic]:
    """Container engines publish ports on addresses, not on names. Behind a gateway only the gateway is published."""
    wanted = [target for target in file.spec.targets if target in _PUBLISHING]
    if not wanted:
        return
    if file.spec.gateway is not None:
        return  # of its own host gateway_checks.py says it for every target
    for name, service in file.spec.services.items():
        if service.host != "localhost" and not _is_address(service.host):
            path = ("services", name, "host")
            message = f"`host: {service.host}` is no IP address, and {_named(wanted)} publishes ports on addresses only"
            help_ = Help("write 127.0.0.1", (Edit(path, "127.0.0.1"),))
            yield Diagnostic("E0214", message, file.at(*path), helps=(help_,))


def _check_files(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """Files of the host that options name are mounted, which Podman's files cannot write for every path."""
    if "quadlet" not in file.spec.targets:
        return
    for name, service in file.spec.services.items():
        for key, path in _host_files(service, engines[service.engine].host_file_options):
            if _QUADLET_PATH.fullmatch(path) is None:
                where = ("services", name, "engine_args", key)
                message = f"Podman's files cannot name `{path}`: they have no quotes for it"
                helps = (Help(f"remove `{key}`", (Edit(where, None),)), _dropping(file.spec, "quadlet"))
                notes = ("letters, digits and ._/+@- can stand in a path that a quadlet mounts",)
                yield Diagnostic("E0214", message, file.at(*where), notes, helps)


def _host_files(service: ServiceSpec, options: Sequence[str]) -> Iterator[tuple[str, str]]:
    for key, value in service.engine_args.items():
        option = "--" + key.removeprefix("--").replace("_", "-")
        if option in options and isinstance(value, str) and value.startswith("/"):
            yield key, value


def _check_monitoring(file: SpecFile) -> Iterator[Diagnostic]:
    monitoring, targets = file.spec.monitoring, file.spec.targets
    if monitoring is None:
        return
    if "quadlet" in targets:
        message = "quadlets run no Prometheus, and behind a gateway one of the host's own cannot reach the servers"
        removal = Help("remove `monitoring`", (Edit(("monitoring",), None),))
        yield Diagnostic("E0214", message, file.at_key("monitoring"), helps=(removal, _dropping(file.spec, "quadlet")))
    # Whoever has no compose brings their own, with ports that the spec does not decide.
    for key, program in (("port", "Prometheus"), ("grafana_port", "Grafana")):
        if key in monitoring.model_fields_set and "compose" not in targets:
            path = ("monitoring", key)
            message = f"`monitoring.{key}` is of the {program} that compose runs, and compose is not among the targets"
            helps = (Help(f"remove `{key}`", (Edit(path, None),)), *_adding(file.spec, "compose"))
            yield Diagnostic("E0214", message, file.at_key(*path), helps=helps)


def _check_rollouts(file: SpecFile) -> Iterator[Diagnostic]:
    """The weights of a rollout lie in a folder that the gateway and `bin/rollout` share."""
    if "quadlet" not in file.spec.targets:
        return
    for name, service in file.spec.services.items():
        if service.rollout is not None:
            path = ("services", name, "rollout")
            message = "`bin/rollout` does not reach a gateway that Podman runs: the rollout could not be moved"
            helps = (_dropping(file.spec, "quadlet"), Help("remove `rollout`", (Edit(path, None),)))
            yield Diagnostic("E0214", message, file.at_key(*path), helps=helps)


def _check_names(file: SpecFile) -> Iterator[Diagnostic]:
    for target, taken in (("compose", _COMPOSE_NAMES), ("quadlet", QUADLET_NAMES)):
        for name in file.spec.services:
            if target in file.spec.targets and name in taken:
                message = f"`{target}` has something of its own that is called `{name}`"
                helps = (Help(f"call the service `{name}-server`"), _dropping(file.spec, target))
                yield Diagnostic("E0214", message, file.at_key("services", name), helps=helps)


def _check_machines(file: SpecFile) -> Iterator[Diagnostic]:
    """Ranks on several machines meet at addresses and random ports of the machines, which their containers have not."""
    wanted = [target for target in file.spec.targets if target in _PUBLISHING]
    for name, service in file.spec.services.items():
        if service.machines > 1 and wanted:
            message = (
                f"{_named(wanted)} cannot run service `{name}`, which spans machines: its ranks meet at random ports"
            )
            left = tuple(each for each in file.spec.targets if each not in _PUBLISHING) or _DEFAULT_TARGETS
            helps = (_retargeted(f"write `targets: [{', '.join(left)}]`", left),)
            yield Diagnostic("E0214", message, file.at("services", name, "machines"), helps=helps)


def _adding(spec: Spec, target: str) -> tuple[Help, ...]:
    return (_retargeted(f"add `{target}` to the targets", (*spec.targets, target)),)


def _dropping(spec: Spec, target: str) -> Help:
    """Without one target, and with what remains of the default if it was the only one."""
    remaining = tuple(each for each in spec.targets if each != target)
    if remaining:
        return _retargeted(f"leave `{target}` out of the targets", remaining)
    return _retargeted(f"write `targets: [{', '.join(_DEFAULT_TARGETS)}]`", _DEFAULT_TARGETS)


def _retargeted(text: str, targets: tuple[str, ...]) -> Help:
    return Help(text, (Edit(("targets",), targets),))


def _named(targets: Sequence[str]) -> str:
    return " and ".join(f"`{target}`" for target in targets)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
