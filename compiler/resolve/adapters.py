"""The adapters of each service: read like models, and refused where their repository is none, or is another one now."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from compiler.diagnostics import Diagnostic, Edit, Help, Label
from compiler.lock.models import ModelFacts
from compiler.lock.names import publisher_of
from compiler.lock.second_looks import Locate, SpecPath, new_name
from compiler.resolve.answers import SourceError
from compiler.resolve.problems import source_problem
from compiler.resolve.source import Found, Source
from compiler.spec.models import Spec

Adapters = Mapping[str, Mapping[str, Found]]
"""Of each service, by the models that the spec names for its adapters."""


def find_adapters(spec: Spec, moving: Collection[str], source: Source) -> Adapters:
    """What answers for every adapter; those of services that move go to their newest commits."""
    asked = {name: tuple(dict.fromkeys(each.model for each in of.adapters)) for name, of in spec.services.items()}
    kept = source.find_all(model for name, models in asked.items() if name not in moving for model in models)
    newest = replace(source, upgrade=True)
    moved = newest.find_all(model for name, models in asked.items() if name in moving for model in models)
    return {
        name: {model: (moved if name in moving else kept)[model] for model in models} for name, models in asked.items()
    }


def adapter_keys(adapters: Mapping[str, Found]) -> dict[str, str]:
    """Keys of the lock, by what the spec names."""
    return {asked: each[0] for asked, each in sorted(adapters.items()) if not isinstance(each, SourceError)}


def adapter_models(adapters: Adapters) -> Iterator[tuple[str, ModelFacts]]:
    """Keys and facts of all that answered."""
    for found in adapters.values():
        yield from (each for each in found.values() if not isinstance(each, SourceError))


def adapter_problems(spec: Spec, adapters: Adapters, source: Source, locate: Locate) -> Iterator[Diagnostic]:
    """Adapters that nothing answers for, that are none, or that another publisher has now."""
    for name, service in spec.services.items():
        for index, adapter in enumerate(service.adapters):
            path: SpecPath = ("services", name, "adapters", index, "model")
            found = adapters[name][adapter.model]
            if isinstance(found, SourceError):
                yield source_problem(name, adapter.model, found, source.hub, locate, path=path)
                continue
            yield from _told(adapter.model, *found, path, locate)


def _told(asked: str, key: str, facts: ModelFacts, path: SpecPath, locate: Locate) -> Iterator[Diagnostic]:
    span = locate(path)
    label = Label(span) if span is not None else None
    now = new_name(asked, key)
    if now is not None and publisher_of(now) != publisher_of(asked):
        notes = (f"the Hub answers for `{asked}` with it, and another publisher has it",)
        helps = (Help(f"after looking at who that is: name `{now}`", (Edit(path, now),)),)
        yield Diagnostic("E0305", f"`{asked}` is `{now}` now, by another publisher", label, notes, helps)
    elif facts.adapter is None:
        holds = "GGUF files" if facts.kind == "gguf" else "a model of its own"
        notes = ("an adapter has an adapter_config.json, and no weights of a whole model beside it",)
        helps = (Help("serve it as a service of its own, or name the adapter's repository"),)
        yield Diagnostic("E0330", f"`{asked}` is no LoRA adapter: it holds {holds}", label, notes, helps)
    elif not facts.weights:
        notes = ("vLLM would load a pickle, of which no header says what it holds",)
        helps = (Help("save it again with PEFT, which writes safetensors"),)
        yield Diagnostic("E0330", f"`{asked}` holds no adapter_model.safetensors", label, notes, helps)
