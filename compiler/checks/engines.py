"""Whether each service has an engine that the spec pins, that stackc runs, and that has its keys and their words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.interface.engine import Engine, Engines, ReleaseFacts
from compiler.lock.models import Format, Lock, format_of
from compiler.spec.engines import EngineName
from compiler.spec.reading.load import SpecFile
from compiler.spec.rollouts import written_path


def pinned(file: SpecFile, engines: Engines) -> Iterator[tuple[Engine, ReleaseFacts]]:
    """Engines that the spec names in a release that is known."""
    for name, version in file.spec.engine.releases.items():
        release = engines[name].releases.get(version)
        if release is not None:
            yield engines[name], release


def fixed_variables(file: SpecFile, engines: Engines) -> frozenset[str]:
    """Variables for which servers of the stack take nobody's word but the plan's."""
    return frozenset[str]().union(*(engines[name].fixed_variables for name in file.spec.engine.releases))


def check_engine_choice(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """A service runs on an engine of the spec, and on one that stackc can run it on."""
    for name, service in file.spec.services.items():
        engine, where = engines[service.engine], ("services", name, "engine")
        if service.engine not in file.spec.engine.releases:
            yield _not_pinned(file, name, engines)
        elif engine.missing is not None:
            message = f"service `{name}` cannot run on {engine.title} yet: {engine.missing}"
            others = " or ".join(each.title for each in engines.values() if each.missing is None)
            help_ = Help(f"serve it on {others}, as a model that {others} reads")
            yield Diagnostic("E0208", message, file.at(*where), helps=(help_,))


def _not_pinned(file: SpecFile, name: str, engines: Engines) -> Diagnostic:
    engine, where = engines[file.spec.services[name].engine], ("services", name, "engine")
    message = f"service `{name}` is to run on {engine.title}, of which `engine` pins no release"
    named = file.spec.engine.releases
    notes = (f"the spec pins {', '.join(f'`{each}: {release}`' for each, release in named.items())}",)
    model = file.spec.services[name].model
    usable = (each for each in named if engines[each].missing is None and _may_load(engines[each], model))
    helps = tuple(Help(f"write `engine: {each}`", (Edit(where, each),)) for each in usable)
    latest = next(iter(engine.releases), None)
    if latest is not None:
        # No edit: whether its model is one that this engine reads is not known before it is locked.
        helps = (*helps, Help(f"add `{engine.name}: {latest}` to `engine`, if the model is one that it reads"))
    return Diagnostic("E0208", message, file.at(*where), notes, helps)


def _may_load(engine: Engine, model: str) -> bool:
    """Whether a change to another engine is worth offering before anybody looked at the model: by its name."""
    return ("gguf" if "gguf" in model.lower() else "safetensors") in engine.formats


def check_model_files(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """A model that is named as one GGUF file is for an engine that loads such files."""
    for name, service in file.spec.services.items():
        engine = engines[service.engine]
        if service.model.lower().endswith(".gguf") and "gguf" not in engine.formats:
            message = f"`{service.model}` is a GGUF file, and {engine.title} serves folders of safetensors"
            other = other_engine(file, engines, name, "gguf")
            folder = Help("write the path of the model's folder, or the Hub's id of its checkpoint")
            helps = (folder,) if other is None else (other, folder)
            notes = ("GGUF is the format of llama.cpp",)
            yield Diagnostic("E0203", message, file.at("services", name, "model"), notes, helps)


def check_formats(file: SpecFile, lock: Lock, engines: Engines) -> Iterator[Diagnostic]:
    """Each service has a candidate in a format that its engine loads, which may be another than when it was locked."""
    for name, service in file.spec.services.items():
        engine = engines[service.engine]
        forms = {format_of(lock.models[candidate]) for candidate in lock.services[name].candidates}
        if forms.isdisjoint(engine.formats):
            form = min(forms)
            message = f"service `{name}` is to run on {engine.title}, and `{service.model}` holds {_WORDS[form]}"
            other = other_engine(file, engines, name, form)
            notes = (f"{engine.title} loads {' and '.join(_WORDS[each] for each in sorted(engine.formats))}",)
            helps = () if other is None else (other,)
            yield Diagnostic("E0308", message, file.at("services", name, "model"), notes, helps)


_WORDS: Mapping[Format, str] = {"gguf": "GGUF files", "safetensors": "safetensors"}


def other_engine(file: SpecFile, engines: Engines, service: str, form: Format) -> Help | None:
    """To run a service on an engine that loads a format, in a release for the stack's nodes; None where none does.

    The change is only offered where all that the spec says of the service can go with it.
    """
    on_cpu = file.spec.services[service].device == "cpu" or not file.spec.has_gpus
    build = "cpu" if on_cpu else "gpu"
    for engine in engines.values():
        release = file.spec.engine.releases.get(cast("EngineName", engine.name)) or next(
            (each.version for each in engine.releases.values() if each.build in (None, build)), None
        )
        if form in engine.formats and engine.missing is None and release is not None:
            pins = f" {release}" if engine.name not in file.spec.engine.releases else ""
            own = ", with its own `engine_args`" if file.spec.services[service].engine_args else ""
            return Help(f"run it on {engine.title}{pins}{own}", _moved(file, engines, service, engine, release))
    return None


def _moved(file: SpecFile, engines: Engines, service: str, engine: Engine, release: str) -> tuple[Edit, ...]:
    spec, where = file.spec.services[service], ("services", service)
    if spec.engine_args:
        return ()
    theirs = frozenset[str]().union(*(each.keys for each in engines.values())) - engine.keys
    words = (key for key in engine.words if not set(_listed(getattr(spec, key))) <= set(engine.words[key].known))
    unknown = sorted((theirs & spec.model_fields_set) | (set(words) & spec.model_fields_set))
    pin = () if engine.name in file.spec.engine.releases else (Edit(("engine", engine.name), release),)
    return (*pin, Edit((*where, "engine"), engine.name), *(Edit((*where, key), None) for key in unknown))


def _listed(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)


def check_engine_keys(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """A service has no key of another engine. What a rollout's candidate inherits is told once."""
    yield from dict.fromkeys(_foreign_keys(file, engines))


def _foreign_keys(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    theirs = frozenset[str]().union(*(engine.keys for engine in engines.values()))
    for name, service in file.spec.services.items():
        engine, version = engines[service.engine], file.spec.engine.releases.get(service.engine)
        for key in sorted(service.model_fields_set & (theirs - engine.keys)):
            path = written_path(file.document.data, ("services", name, key))
            owners = " and ".join(each.title for each in engines.values() if key in each.keys)
            hint = engine.key_hint(key, version)
            notes = (f"it is a key for services on {owners}", *((hint.why,) if hint is not None else ()))
            help_ = Help(f"remove `{key}`", (Edit(path, None),))
            yield Diagnostic("E0201", f"{engine.title} has no `{key}`", file.at_key(*path), notes, (help_,))


def check_host_memory(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """Main memory beside GPUs is of use to an engine that keeps layers there."""
    takers = [engines[name] for name in file.spec.engine.releases if "gpu_layers" in engines[name].keys]
    for name, node in file.spec.written_nodes.items():
        if node.memory is None or (takers and node.gpus is not None):
            continue
        where = ("nodes", name, "memory")
        why = "no engine of the stack keeps layers in main memory" if node.gpus is not None else "it has no GPUs"
        notes = ("a card's own memory stands in `gpus`, that of a node without GPUs in `cpu`",)
        help_ = Help("remove `memory`", (Edit(where, None),))
        message = f"node `{name}` has no use for `memory`, which is main memory beside GPUs: {why}"
        yield Diagnostic("E0207", message, file.at_key(*where), notes, (help_,))


def check_engine_options(file: SpecFile, engines: Engines) -> Iterator[Diagnostic]:
    """What each engine finds wrong with its services."""
    for name, service in file.spec.services.items():
        yield from engines[service.engine].check(file, name)
