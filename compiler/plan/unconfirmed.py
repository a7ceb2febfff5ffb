"""What of a plan nobody confirmed: facts of models, digests of images, hashes of packages. A warning, or an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.plan.ir import CpuNode, Plan, ServedModel, Service
from compiler.plan.lowering.lower import program_key
from compiler.spec.reading.load import SpecFile

_SHOWN = 6


def unconfirmed(file: SpecFile, plans: tuple[Plan, ...]) -> tuple[Diagnostic, ...]:
    """Warnings, or errors where the policy denies what is not confirmed."""
    found = (*_models(file, plans), *_images(file, plans), *_packages(file, plans))
    if file.spec.policy.unconfirmed == "allow":
        return found
    return tuple(_denied(each) for each in found)


def _denied(warning: Diagnostic) -> Diagnostic:
    """E0318 in place of a warning, which still is to be found by its code."""
    notes = (*warning.notes, f"`policy.unconfirmed` is deny; otherwise it would be the warning {warning.code}")
    allowing = Help("`unconfirmed: allow` makes it a warning", (Edit(("policy", "unconfirmed"), "allow"),))
    return replace(warning, code="E0318", notes=notes, helps=(*warning.helps, allowing))


def _models(file: SpecFile, plans: Iterable[Plan]) -> Iterator[Diagnostic]:
    servers = (service for plan in plans for service in plan.answering if service.replica_of is None)
    for service in servers:
        for model, key in _loaded(service):
            facts = ", ".join(_facts(model))
            if facts:
                message = f"not confirmed for `{model.repository or model.folder}`: {facts}"
                help_ = Help(f"`stackc lock {file.document.source.name}` reads them from the Hub")
                yield Diagnostic("W0301", message, file.at("services", service.name, *key), helps=(help_,))


def _loaded(service: Service) -> Iterator[tuple[ServedModel, tuple[str | int, ...]]]:
    """All that a server loads, each with the key of the service that names it."""
    yield service.model, ("model",)
    for index, adapter in enumerate(service.adapters):
        yield adapter.model, ("adapters", index, "model")
    if service.draft is not None and service.draft.model is not None:
        yield service.draft.model, ("speculate", "model")


def _facts(model: ServedModel) -> tuple[str, ...]:
    """What the lock marks, and hashes that it lacks. A folder of this machine has none, and is read where it lies."""
    has_hashes = model.repository is None or all(file.sha256 is not None for file in model.files)
    return model.unconfirmed if has_hashes or "files" in model.unconfirmed else (*model.unconfirmed, "hashes")


def _images(file: SpecFile, plans: Iterable[Plan]) -> Iterator[Diagnostic]:
    """One finding for all images of a stack."""
    tagged = list(dict.fromkeys(image.reference for plan in plans for image in plan.images if image.digest is None))
    if not tagged:
        return
    shown = ", ".join(f"`{name}`" for name in tagged[:_SHOWN]) + ", …" * (len(tagged) > _SHOWN)
    what = "1 image is" if len(tagged) == 1 else f"{len(tagged)} images are"
    message = f"{what} named by tag, which may be another image tomorrow: {shown}"
    help_ = Help(f"`stackc images --pin {file.document.source.name}` asks the registries for the digests")
    yield Diagnostic("W0304", message, file.at_key("engine"), helps=(help_,))


def _packages(file: SpecFile, plans: Iterable[Plan]) -> Iterator[Diagnostic]:
    """Those of an engine, where pip would install them without a list of hashes; of each engine once."""
    unlisted = {
        host.name: (host, host.packages, program_key(file.spec, host, on_cpu=isinstance(plan.node, CpuNode)))
        for plan in plans
        if plan.runs_on_host
        for host in (engine.host for engine in plan.engines.values())
        if host.packages is not None and host.packages.requirements is None
    }
    for host, packages, key in unlisted.values():
        if getattr(file.spec.paths, key) is not None:
            continue
        message = f"no hashes are known for {packages.what}"
        helps = (
            Help("run it in containers alone, whose image can be pinned: `targets: [compose]`"),
            Help(f"install it in your own way, and name the program in `paths.{key}`"),
        )
        yield Diagnostic("W0305", message, file.at("engine", host.name), (packages.why,), helps)
