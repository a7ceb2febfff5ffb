"""Whether stackc knows the releases that a spec pins, and whether they are builds for the stack's kinds of nodes."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.interface.engine import Engine, Engines, ReleaseFacts
from compiler.spec.nodes.devices import DeviceWord
from compiler.spec.nodes.models import NodeSpec
from compiler.spec.reading.load import SpecFile

_KINDS: dict[DeviceWord, str] = {"cpu": "CPUs", "gpu": "GPUs"}


def check_engine(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """Each release must be known, and be the build that serves its kind of node."""
    kinds = {_device(node) for node in file.spec.written_nodes.values()}
    for name, version in file.spec.engine.releases.items():
        if engines[name].missing is None:
            yield from _check_release(file, engines[name], version)
    for name, version in file.spec.engine.cpu_releases.items():
        yield from _check_cpu_release(file, engines[name], version, kinds)
    if len(kinds) > 1:
        yield from _check_services(file, engines)
        yield from _check_idle(file)


def _device(node: NodeSpec) -> DeviceWord:
    return "cpu" if node.cpu is not None and not node.cards else "gpu"


def _check_release(file: SpecFile, engine: Engine, version: str) -> Iterator[Diagnostic]:
    release, nodes = engine.releases.get(version), file.spec.written_nodes
    first = _device(next(iter(nodes.values())))
    kinds = {_device(node) for node in nodes.values()}
    if release is None:
        build: DeviceWord = "gpu" if "gpu" in kinds else first
        yield _unknown(file, engine, version, build, ("engine", engine.name))
    elif len(kinds) == 1 and release.build not in (None, first):
        known = f"{engine.title} {version} is known to stackc as the {release.build} build"
        message = f"{known}, and node `{next(iter(nodes))}` has {_KINDS[first]}"
        yield _engine_error(file, engine, message, first, ("engine", engine.name))


def _check_cpu_release(file: SpecFile, engine: Engine, version: str, kinds: set[DeviceWord]) -> Iterator[Diagnostic]:
    """The second release of an engine is a build for CPUs, beside one for GPUs."""
    where, release = ("engine", engine.name, "cpu"), engine.releases.get(version)
    if release is None:
        yield _unknown(file, engine, version, "cpu", where)
    elif release.build != "cpu":
        message = f"{engine.title} {version} is known to stackc as the {release.build} build"
        yield _engine_error(file, engine, message, "cpu", where)
    elif len(kinds) == 1:
        message = f"all nodes have {_KINDS[next(iter(kinds))]}, and one release serves them"
        helps = (Help("remove `cpu`", (Edit(where, None),)),)
        yield Diagnostic("E0208", message, file.at_key(*where), helps=helps)


def _unknown(file: SpecFile, engine: Engine, version: str, build: DeviceWord, where: tuple[str, ...]) -> Diagnostic:
    known = ", ".join(f"{r.version} ({r.build})" if r.build else r.version for r in engine.releases.values())
    warned = engine.why_not_release(version)
    notes = (f"known: {known}", *(() if warned is None else (warned,)))
    return _engine_error(file, engine, f"stackc does not know {engine.title} {version}", build, where, notes=notes)


def _engine_error(
    file: SpecFile,
    engine: Engine,
    message: str,
    build: DeviceWord,
    where: tuple[str, ...],
    *,
    notes: tuple[str, ...] = (),
) -> Diagnostic:
    versions = [release.version for release in engine.releases.values() if release.build in (None, build)]
    edited = (*where, "release") if where[-1] != "cpu" and engine.name in file.spec.engine.cpu_releases else where
    helps = tuple(Help(f"write `{where[-1]}: {version}`", (Edit(edited, version),)) for version in versions)
    return Diagnostic("E0208", message, file.at(*where), notes, helps)


def _check_services(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """Each service runs on a build for its kind of device."""
    for name, service in file.spec.services.items():
        version = file.spec.engine.release_on(service.engine, service.device)
        release = engines[service.engine].releases.get(version or "")
        if release is not None and service.device is not None and release.build not in (None, service.device):
            yield _other_build(file, name, engines[service.engine], release)


def _other_build(file: SpecFile, name: str, engine: Engine, release: ReleaseFacts) -> Diagnostic:
    service = file.spec.services[name]
    device: DeviceWord = service.device or "gpu"
    message = f"service `{name}` runs on {_KINDS[device]}, and {engine.title} {release.version} is the build for "
    message += _KINDS["gpu" if device == "cpu" else "cpu"]
    other = next((each.version for each in engine.releases.values() if each.build == device), None)
    helps: tuple[Help, ...] = ()
    if other is not None:
        pins = (release.version, other) if device == "cpu" else (other, release.version)
        where = ("engine", engine.name)
        edits = (Edit(where, None), Edit((*where, "release"), pins[0]), Edit((*where, "cpu"), pins[1]))
        helps = (Help(f"write `{engine.name}: {{release: {pins[0]}, cpu: {pins[1]}}}`", edits),)
    notes = ("one build of it serves on one kind of device",)
    key = "node" if service.node is not None else "device"
    return Diagnostic("E0208", message, file.at("services", name, key), notes, helps)


def _check_idle(file: SpecFile) -> Iterator[Diagnostic]:
    """Nobody finds a node without GPUs by himself where others have them."""
    if any(service.device == "cpu" for service in file.spec.services.values()):
        return
    name = next(name for name, node in file.spec.written_nodes.items() if node.cpu is not None)
    message = f"nothing runs on node `{name}`: it has no GPUs, and other nodes have"
    notes = ("a service runs on CPUs if it names such a node, or has `device: cpu`",)
    helps = (Help(f"remove `{name}`, or write `device: cpu` for a service", (Edit(("nodes", name), None),)),)
    yield Diagnostic("E0208", message, file.at_key("nodes", name), notes, helps)
