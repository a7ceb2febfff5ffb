"""What each artifact must say of its document, and whether the rendered text says it.

With stackc's own templates a fact that is lost is a bug. With templates of the user's it is an error of theirs: they
may change how an artifact looks and add to it, but not what the plan says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from compiler.diagnostics import Diagnostic, Help
from compiler.plan.ir import Gateway, Plan
from compiler.render.artifact import Artifact
from compiler.render.overrides import Overrides
from compiler.render.quoting import quote_systemd_raw
from compiler.render.syntax import read_systemd_value
from compiler.targets import scripts, systemd
from compiler.targets.facts import (
    Assigned,
    Command,
    Directive,
    Expected,
    Fact,
    Options,
    Variable,
    lost_entries,
    lost_facts,
)
from compiler.targets.library import BIN
from compiler.targets.plan_json import plan_object

_Unit = systemd.ServiceUnit | systemd.GatewayUnit | systemd.ReloadUnit | systemd.PrefetchUnit


class UnfaithfulError(AssertionError):
    """A template of stackc's own loses a fact: a bug."""


def check_own(plan: Plan, artifacts: Iterable[Artifact]) -> None:
    """Read again what stackc's own templates made.

    Raises:
        UnfaithfulError: an artifact does not say what its document says.
    """
    for path, lost in _lost(plan, artifacts):
        raise UnfaithfulError(f"{path}: {'; '.join(lost)}")


def check_overridden(
    plan: Plan, artifacts: Sequence[Artifact], own: Sequence[Artifact], overrides: Overrides
) -> Iterator[Diagnostic]:
    """Read again what templates of the user's made.

    Args:
        own: the same plan with stackc's templates. An artifact without facts is compared with it.
    """
    originals = {artifact.path: artifact.text for artifact in own}
    with_facts = {expected.path for facts in FACTS for expected in facts(plan)}
    others = [each for each in artifacts if each.path not in with_facts and each.text != originals.get(each.path)]
    compared = ((each.path, _lost_from(plan, originals.get(each.path, ""), each)) for each in others)
    for path, lost in (*_lost(plan, artifacts), *compared):
        if lost:
            yield _diagnostic(plan, path, lost, overrides)


def _lost_from(plan: Plan, own: str, artifact: Artifact) -> tuple[str, ...]:
    """What an artifact does not say although stackc's own template does. A page for people says what it likes."""
    match artifact.path.suffix:
        case ".md":
            return ()
        case ".yaml" | ".yml":
            free = _FREE_IN_COMPOSE if artifact.path.parts[0] == "compose" else frozenset[str]()
            return lost_entries(own, artifact.text, free)
        case _:
            return tuple(f"`{word}` is missing" for word in _lost_words(plan, own, artifact.text))


_FREE_IN_COMPOSE = frozenset(
    (
        "cap_drop",
        "init",
        "interval",
        "labels",
        "logging",
        "restart",
        "retries",
        "security_opt",
        "start_interval",
        "ulimits",
    )
)
"""Keys whose values do not come from the plan."""


def _diagnostic(plan: Plan, path: PurePosixPath, lost: Sequence[str], overrides: Overrides) -> Diagnostic:
    message = f"{plan.tree}/{path} does not say what the plan says"
    folder = {"bin": "scripts"}.get(path.parts[0], path.parts[0])
    templates = [overrides.file_name(name) for name in overrides.texts if name.startswith(f"{folder}/")]
    notes = (*lost, f"rendered with {', '.join(templates)}") if templates else tuple(lost)
    help_ = Help("print what stackc's own template prints at that place; add what you like beside it")
    return Diagnostic("E0605", message, notes=notes, helps=(help_,))


def _lost(plan: Plan, artifacts: Iterable[Artifact]) -> Iterator[tuple[PurePosixPath, tuple[str, ...]]]:
    by_path = {artifact.path: artifact for artifact in artifacts}
    for expected in (each for facts in FACTS for each in facts(plan) if each.path in by_path):
        lost = lost_facts(by_path[expected.path], expected.facts)
        if lost:
            yield expected.path, lost


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
        yield Expected(path, tuple(_service_unit_facts(unit)))
    prefetch = systemd.prefetch_unit(plan)
    facts = (*_sandbox_facts(prefetch), *_patch_facts(prefetch.patched), Command("ExecStart", prefetch.prefetch))
    yield Expected(systemd.SYSTEMD / systemd.unit_name(plan, "prefetch"), facts)
    target = systemd.target_unit(plan)
    wants = (Directive("Unit", "Wants", name, is_listed=True) for name in target.wants)
    yield Expected(systemd.SYSTEMD / f"{plan.stack}.target", (*wants, *_patch_facts(target.patched)))
    if plan.gateway is not None:
        gateway = systemd.gateway_unit(plan, plan.gateway)
        yield Expected(systemd.SYSTEMD / systemd.unit_name(plan, "gateway"), tuple(_gateway_unit_facts(gateway)))
        if systemd.watches_secrets(plan):
            yield from _reload_facts(plan, plan.gateway)


def _service_unit_facts(unit: systemd.ServiceUnit) -> Iterator[Fact]:
    yield Directive("Unit", "PartOf", unit.target)
    yield from (Directive("Unit", "Wants", name, is_listed=True) for name in unit.wants)
    yield from (Directive("Unit", "After", name, is_listed=True) for name in (*unit.wants, *unit.start_after))
    yield Directive("Unit", "StartLimitIntervalSec", str(unit.deadlines.interval))
    yield Directive("Unit", "StartLimitBurst", str(unit.deadlines.burst))
    yield Command("ExecStartPre", unit.preflight)
    yield Command("ExecStart", unit.launch)
    if unit.wait_ready:
        yield Command("ExecStartPost", unit.wait_ready)
    yield Directive("Service", "TimeoutStartSec", str(unit.deadlines.start))
    yield Directive("Service", "TimeoutStopSec", str(unit.deadlines.stop))
    yield Directive("Service", "RestartSec", str(unit.deadlines.restart))
    yield from _sandbox_facts(unit)
    yield from _patch_facts(unit.patched)


def _gateway_unit_facts(unit: systemd.GatewayUnit) -> Iterator[Fact]:
    yield Directive("Unit", "PartOf", unit.target)
    yield from (Directive("Unit", key, name, is_listed=True) for key in ("Wants", "After") for name in unit.wants)
    yield Directive("Unit", "StartLimitIntervalSec", str(unit.start_interval))
    yield Directive("Unit", "StartLimitBurst", str(unit.start_burst))
    yield Command("ExecStart", unit.run)
    yield Command("ExecStartPost", (unit.program, "wait"))
    if unit.reloads:
        yield Command("ExecReload", (unit.program, "reload"))
    yield Directive("Service", "TimeoutStartSec", str(unit.start_seconds))
    yield Directive("Service", "TimeoutStopSec", str(unit.stop_seconds))
    yield Directive("Service", "RestartSec", str(unit.restart_seconds))
    yield from _sandbox_facts(unit)
    yield from _patch_facts(unit.patched)


def _reload_facts(plan: Plan, gateway: Gateway) -> Iterator[Expected]:
    unit = systemd.reload_unit(plan, gateway)
    facts = (Command("ExecStart", unit.reload), *_sandbox_facts(unit))
    yield Expected(systemd.SYSTEMD / systemd.unit_name(plan, systemd.RELOAD), facts)
    watched = systemd.reload_path_unit(plan, gateway).watched
    paths = tuple(Directive("Path", "PathChanged", path, is_listed=True) for path in watched)
    yield Expected(systemd.SYSTEMD / f"{plan.stack}-{systemd.RELOAD}.path", paths)


def _patch_facts(patched: systemd.Patched) -> Iterator[Fact]:
    for section, lines in (("Unit", patched.unit), ("Service", patched.service)):
        for key, value in lines:
            yield Directive(section, key, read_systemd_value(quote_systemd_raw(value)), is_listed=True)


def _sandbox_facts(unit: _Unit) -> Iterator[Fact]:
    sandbox = unit.sandbox
    yield Directive("Service", "User", sandbox.user)
    yield Directive("Service", "WorkingDirectory", sandbox.state)
    if sandbox.state_directory is not None:
        yield Directive("Service", "StateDirectory", sandbox.state_directory)
    yield from (Directive("Service", "ReadWritePaths", path, is_listed=True) for path in sandbox.writable)
    yield Directive("Service", "RuntimeDirectory", sandbox.runtime_directory)
    yield from (Directive("Service", "InaccessiblePaths", f"-{path}", is_listed=True) for path in sandbox.hidden)
    for key, addresses in (("IPAddressDeny", sandbox.network.deny), ("IPAddressAllow", sandbox.network.allow)):
        if addresses:
            yield Directive("Service", key, " ".join(addresses), is_listed=True)
    yield from (Variable(name, value) for name, value in unit.environment)
    for name, path in unit.credentials:
        yield Directive("Service", "LoadCredential", f"{name}:{path}", is_listed=True)


def _script_facts(plan: Plan) -> Iterator[Expected]:
    for service in plan.services:
        script = scripts.launch_script(plan, service)
        facts = (Options(script.lines), *_assigned(script))
        yield Expected(BIN / f"launch-{service.name}", facts)


def _assigned(script: scripts.LaunchScript) -> Iterator[Fact]:
    yield from (Assigned(name, value) for name, value in (*script.environment, *script.fixed))
    yield Assigned("key_variable", script.key_variable)
    yield Assigned("program_variable", script.program.variable)
    yield Assigned("listen_host", script.host)
    if script.snapshot is not None:
        yield Assigned("cache", f"/hub/{script.snapshot.folder}", is_suffix=True)
        if script.snapshot.commit is not None:
            yield Assigned("commit" if script.snapshot.is_pinned else "expected", script.snapshot.commit)
        if script.snapshot.file is not None:
            yield Assigned("model", f"/{script.snapshot.file}", is_suffix=True)
        if script.snapshot.projector is not None:
            yield Assigned("projector", f"/{script.snapshot.projector}", is_suffix=True)
    if script.model is not None:
        yield Assigned("model", script.model)
    if script.projector is not None:
        yield Assigned("projector", script.projector)
    yield from map(_place_of, script.adapters)
    if script.visible_devices is not None:
        yield Assigned("CUDA_VISIBLE_DEVICES", script.visible_devices)
    if script.api_key_file is not None:
        yield Assigned("key_file", script.api_key_file)
    if script.lock is not None:
        yield Assigned("lock_directory", script.lock.default_directory, is_suffix=True)


def _place_of(adapter: scripts.LaunchedAdapter) -> Fact:
    if adapter.snapshot is None:
        return Assigned(adapter.variable, str(adapter.folder))
    commit = str(adapter.snapshot.commit) if adapter.snapshot.is_pinned else f"${adapter.variable}"
    return Assigned(adapter.variable, f"/{adapter.snapshot.folder}/snapshots/{commit}", is_suffix=True)


FACTS: tuple[Callable[[Plan], Iterator[Expected]], ...] = (_unit_facts, _script_facts)
"""By target. An artifact that is missing here is compared with what stackc's own template makes of the same plan."""
