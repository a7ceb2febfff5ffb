"""What each artifact must say of its document, and whether the rendered text says it.

With stackc's own templates a fact that is lost is a bug. With templates of the user's it is an error of theirs: they
may change how an artifact looks and add to it, but not what the plan says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from compiler.diagnostics import Diagnostic, Help
from compiler.plan.ir import Plan
from compiler.render.artifact import Artifact
from compiler.render.overrides import Overrides
from compiler.targets import compose, scripts, systemd
from compiler.targets.facts import Assigned, Command, Directive, Entry, Expected, Fact, Options, Variable, lost_facts
from compiler.targets.plan_json import plan_object


class UnfaithfulError(AssertionError):
    """A template of stackc's own loses a fact: a bug."""


def check_own(plan: Plan, artifacts: Iterable[Artifact]) -> None:
    """Read again what stackc's own templates made.

    YAML is left to the tests: its reader takes longer than all the rest of a compilation.

    Raises:
        UnfaithfulError: an artifact does not say what its document says.
    """
    for artifact, _, lost in _lost(plan, artifacts, with_yaml=False):
        raise UnfaithfulError(f"{artifact.path}: {'; '.join(lost)}")


def check_overridden(
    plan: Plan, artifacts: Sequence[Artifact], own: Sequence[Artifact], overrides: Overrides
) -> Iterator[Diagnostic]:
    """Read again what templates of the user's made.

    Args:
        own: the same plan with stackc's templates. What has no facts of its own is compared with it word by word.
    """
    checked = set()
    for artifact, expected, lost in _lost(plan, artifacts, with_yaml=True):
        checked.add(artifact.path)
        yield _diagnostic(plan, artifact, lost, _templates_in(overrides, expected.templates))
    known = {expected.path for facts in FACTS for expected in facts(plan)}
    originals = {artifact.path: artifact.text for artifact in own}
    for artifact in artifacts:
        if artifact.path not in known and artifact.path.suffix != ".md":
            words = tuple(_lost_words(plan, originals.get(artifact.path, ""), artifact.text))
            if words:
                notes = tuple(f"`{word}` is missing" for word in words)
                yield _diagnostic(plan, artifact, notes, _templates_in(overrides, artifact.path.parts[0]))


def _diagnostic(plan: Plan, artifact: Artifact, lost: Sequence[str], templates: Sequence[str]) -> Diagnostic:
    message = f"{plan.tree}/{artifact.path} does not say what the plan says"
    by = f"rendered with {', '.join(templates)}" if templates else f"rendered with templates of {plan.stack}"
    help_ = Help("print what stackc's own template prints at that place; add what you like beside it")
    return Diagnostic("E0605", message, notes=(*lost, by), helps=(help_,))


def _templates_in(overrides: Overrides, folder: str) -> tuple[str, ...]:
    return tuple(overrides.file_name(path) for path in overrides.texts if path.startswith(f"{folder}/"))


def _lost(
    plan: Plan, artifacts: Iterable[Artifact], *, with_yaml: bool
) -> Iterator[tuple[Artifact, Expected, tuple[str, ...]]]:
    by_path = {artifact.path: artifact for artifact in artifacts}
    for expected in (each for facts in FACTS for each in facts(plan)):
        if expected.path not in by_path or (expected.path.suffix == ".yaml" and not with_yaml):
            continue
        lost = lost_facts(by_path[expected.path], expected.facts)
        if lost:
            yield by_path[expected.path], expected, lost


def _lost_words(plan: Plan, own: str, text: str) -> Iterator[str]:
    """Values of the plan that stackc's template writes and this text does not."""
    own, text = _without_comments(own), _without_comments(text)
    for leaf in sorted(set(_leaves(plan_object(plan)))):
        pattern = re.compile(rf"(?<![\w.-]){re.escape(leaf)}(?![\w.-])")
        if pattern.search(own) and not pattern.search(text):
            yield leaf


def _without_comments(text: str) -> str:
    return re.sub(r"^\s*(?:#|//).*$", "", text, flags=re.MULTILINE)


_SMALL = 10  # a digit stands in every file by chance


def _leaves(data: object) -> Iterator[str]:
    if isinstance(data, dict):
        for value in data.values():
            yield from _leaves(value)
    elif isinstance(data, list):
        for value in data:
            yield from _leaves(value)
    elif isinstance(data, str) and data:
        yield data
    elif isinstance(data, int) and not isinstance(data, bool) and data >= _SMALL:
        yield str(data)


def _unit_facts(plan: Plan) -> Iterator[Expected]:
    for service in plan.services:
        unit = systemd.service_unit(plan, service)
        path = systemd.SYSTEMD / systemd.unit_name(plan, service.name)
        yield Expected(path, "systemd", tuple(_service_unit_facts(unit)))
    prefetch = systemd.prefetch_unit(plan)
    facts = (*_sandbox_facts(prefetch), Command("ExecStart", prefetch.prefetch))
    yield Expected(systemd.SYSTEMD / systemd.unit_name(plan, "prefetch"), "systemd", facts)
    wants = (Directive("Unit", "Wants", name, is_listed=True) for name in systemd.target_unit(plan).wants)
    yield Expected(systemd.SYSTEMD / f"{plan.stack}.target", "systemd", tuple(wants))


def _service_unit_facts(unit: systemd.ServiceUnit) -> Iterator[Fact]:
    yield Directive("Unit", "PartOf", unit.target)
    yield from (Directive("Unit", "Wants", name, is_listed=True) for name in unit.wants)
    yield from (Directive("Unit", "After", name, is_listed=True) for name in (*unit.after, *unit.start_after))
    yield Directive("Unit", "StartLimitIntervalSec", str(unit.start_interval))
    yield Directive("Unit", "StartLimitBurst", str(unit.start_burst))
    yield Command("ExecStartPre", unit.preflight)
    yield Command("ExecStart", unit.launch)
    yield Command("ExecStartPost", unit.wait_ready)
    yield Directive("Service", "TimeoutStartSec", str(unit.start_seconds))
    yield Directive("Service", "TimeoutStopSec", str(unit.stop_seconds))
    yield Directive("Service", "RestartSec", str(unit.restart_seconds))
    yield from _sandbox_facts(unit)
    yield Directive("Install", "WantedBy", unit.target)


def _sandbox_facts(unit: systemd.ServiceUnit | systemd.PrefetchUnit) -> Iterator[Fact]:
    sandbox = unit.sandbox
    yield Directive("Service", "User", sandbox.user)
    yield Directive("Service", "WorkingDirectory", sandbox.state)
    if sandbox.state_directory is not None:
        yield Directive("Service", "StateDirectory", sandbox.state_directory)
    yield from (Directive("Service", "ReadWritePaths", path, is_listed=True) for path in sandbox.writable)
    yield Directive("Service", "RuntimeDirectory", sandbox.runtime_directory)
    yield from (Variable(name, value) for name, value in unit.environment)
    for name, path in unit.credentials:
        yield Directive("Service", "LoadCredential", f"{name}:{path}", is_listed=True)


def _script_facts(plan: Plan) -> Iterator[Expected]:
    for service in plan.services:
        script = scripts.launch_script(plan, service)
        facts = (Options(script.lines), *_assigned(script))
        yield Expected(scripts.BIN / f"launch-{service.name}", "scripts", facts)


def _assigned(script: scripts.LaunchScript) -> Iterator[Fact]:
    yield from (Assigned(name, value) for name, value in script.environment)
    yield Assigned("listen_host", script.host)
    if script.snapshot is not None:
        yield Assigned("cache", f"/hub/{script.snapshot.folder}", is_suffix=True)
        if script.snapshot.commit is not None:
            yield Assigned("commit" if script.snapshot.is_pinned else "expected", script.snapshot.commit)
    if script.folder is not None:
        yield Assigned("model", script.folder)
    if script.visible_devices is not None:
        yield Assigned("CUDA_VISIBLE_DEVICES", script.visible_devices)
    if script.api_key_file is not None:
        yield Assigned("key_file", script.api_key_file)
    if script.lock is not None:
        yield Assigned("lock_directory", script.lock.default_directory, is_suffix=True)


def _compose_facts(plan: Plan) -> Iterator[Expected]:
    file = compose.compose_file(plan)
    facts = [Entry(("name",), file.stack)]
    for server in file.servers:
        facts += _server_facts(server)
    facts += _container_facts(file.prefetch)
    facts += [Entry(("secrets", name, "file"), path) for name, path in file.secrets]
    yield Expected(compose.COMPOSE, "compose", tuple(facts))


def _server_facts(server: compose.ComposeServer) -> Iterator[Entry]:
    yield from _container_facts(server.container)
    service = ("services", server.container.name)
    published = {"target": server.port.port, "published": str(server.port.port)}
    yield Entry((*service, "ports"), {**published, "host_ip": server.port.address, "protocol": "tcp"}, is_listed=True)
    yield Entry((*service, "stop_grace_period"), f"{server.stop_seconds}s")
    yield Entry((*service, "healthcheck", "test"), server.health_command, is_listed=True)
    yield Entry((*service, "healthcheck", "start_period"), f"{server.start_period}s")
    for name in server.start_after:
        yield Entry((*service, "depends_on", name, "condition"), "service_healthy")
    if server.devices:
        device = {"driver": "nvidia", "device_ids": list(server.devices), "capabilities": ["gpu"]}
        yield Entry((*service, "deploy", "resources", "reservations", "devices"), device, is_listed=True)
    if server.shared_memory_mib:
        yield Entry((*service, "shm_size"), f"{server.shared_memory_mib}m")


def _container_facts(container: compose.Container) -> Iterator[Entry]:
    service = ("services", container.name)
    yield Entry((*service, "image"), container.image)
    yield Entry((*service, "entrypoint"), list(container.entrypoint))
    yield from (Entry((*service, "environment", name), value) for name, value in container.environment)
    yield from (Entry((*service, "secrets"), name, is_listed=True) for name in container.secrets)
    for name, path in container.volumes:
        yield Entry((*service, "volumes"), {"type": "volume", "source": name, "target": path}, is_listed=True)


FACTS: tuple[Callable[[Plan], Iterator[Expected]], ...] = (_unit_facts, _script_facts, _compose_facts)
"""By target. A target that is missing here is compared with stackc's own rendering, word by word."""
