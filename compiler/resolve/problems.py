"""What the lock phase tells the user: a failed question, or an ask that nothing answers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping

from compiler.diagnostics import Diagnostic, Edit, Help, Label
from compiler.lock.models import Format, ModelFacts
from compiler.lock.quantization import quantization_method
from compiler.lock.second_looks import Locate, SpecPath
from compiler.lock.staleness import Ask
from compiler.resolve.answers import MissingError, SourceError, UnknownNameError
from compiler.resolve.candidates import is_variant, trusted_names
from compiler.resolve.gguf import SetsFound
from compiler.resolve.search import Search
from compiler.resolve.transport.hub import Hub

# Methods that a spec can ask for by name.
_METHODS = ("none", "fp8", "int8", "awq", "gptq", "compressed-tensors")
_SHOWN = 3
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


def source_problem(
    service: str, asked: str, error: SourceError, hub: Hub, locate: Locate, *, path: SpecPath | None = None
) -> Diagnostic:
    """A question about a service's models that got no answer, with a better spelling where there is one.

    Args:
        path: of what the spec asks for; None for the service's model.
    """
    path = path or ("services", service, "model")
    helps = [Help(text) for text in error.helps]
    if isinstance(error, UnknownNameError):
        close = difflib.get_close_matches(asked.lower(), names := _by_lower(hub.similar_names(asked)), _SHOWN, 0.8)
        helps = [Help(f"did you mean `{names[name]}`?", (Edit(path, names[name]),)) for name in close] + helps
    return Diagnostic(error.code, error.message, _label(locate, path), error.notes, tuple(helps))


Instead = Callable[[str, Format], Help | None]
"""Offers another engine for a service, by its name and the format of its weights."""


def no_gguf(
    service: str, ask: Ask, error: SourceError, locate: Locate, *, quantized: Iterable[str], instead: Help | None
) -> Diagnostic:
    """A repository of another format was given to an engine that loads GGUF files.

    Args:
        quantized: what the Hub lists as quantized from it; the names of some say that they hold GGUF files.
        instead: to run it on another engine.
    """
    path: SpecPath = ("services", service, "model")
    names = tuple(name for name in quantized if "gguf" in name.lower())
    trusted = trusted_names(names, ask.model, ask.publishers)
    helps = [_serving(path, name) for name in trusted[:_SHOWN]]
    notes = error.notes
    if others := [f"`{name}`" for name in names if name not in trusted]:
        shown = ", ".join(others[:_SHOWN]) + (", …" if len(others) > _SHOWN else "")
        notes = (*notes, f"the Hub lists as made from it, by others than its publisher: {shown}")
        helps += [] if trusted else [Help("name one of those, after looking at who made it")]
    helps += [] if instead is None else [instead]
    return Diagnostic(error.code, error.message, _label(locate, path), notes, tuple(helps))


def not_a_model(
    service: str,
    asked: str,
    facts: ModelFacts,
    locate: Locate,
    instead: Help | None = None,
    *,
    key: SpecPath = ("model",),
) -> Diagnostic:
    """The repository was read, and what it holds is not served.

    Args:
        instead: to run the service on another engine.
        key: of the service, that names the repository.
    """
    path: SpecPath = ("services", service, *key)
    adapter = facts.adapter
    if adapter is None:
        notes: tuple[str, ...] = (
            "vLLM 0.33.0 reads GGUF only with the plugin `vllm-gguf-plugin`, which stackc does not install",
        )
        helps = [] if instead is None else [instead]
        helps += [Help("name the model that it was made from, or a variant in safetensors")]
        helps += [_serving(path, base) for base in facts.base_models]
        return Diagnostic("E0309", f"`{asked}` holds GGUF files only", _label(locate, path), notes, tuple(helps))
    base = adapter.base_model or "a model that it does not name"
    rank = f"rank {adapter.rank}" if adapter.rank else "unknown rank"
    modules = ", ".join(adapter.target_modules) or "unknown modules"
    notes = (f"{rank}, on {modules}", "an adapter is served beside its model: it stands in `adapters` of a service")
    helps = [_serving(path, adapter.base_model)] if _HUB_NAME.fullmatch(adapter.base_model or "") else []
    message = f"`{asked}` is a LoRA adapter of {base if adapter.base_model is None else f'`{base}`'}, and no model"
    return Diagnostic("E0309", message, _label(locate, path), notes, tuple(helps))


def _serving(path: SpecPath, base: str | None) -> Help:
    return Help(f"serve `{base}`", (Edit(path, str(base)),))


def no_variant(service: str, ask: Ask, found: Search, locate: Locate) -> Diagnostic:
    """Nothing has the quantization that was asked for: say what there is instead."""
    path: SpecPath = ("services", service, "quantization")
    methods = {name: quantization_method(facts) for name, facts in _existing(found).items()}
    notes = [f"`{name}` is {_said(method)}" for name, method in methods.items()]
    notes += _untried(found)
    helps = [
        Help(f"`quantization: {method}`", (Edit(path, method),)) for method in _METHODS if method in methods.values()
    ]
    if found.unread():
        helps.append(Help("add a publisher that you trust to `policy.publishers`"))
    message = (
        f"no variant of `{ask.model}` has the quantization {' or '.join(f'`{name}`' for name in ask.quantization)}"
    )
    return Diagnostic("E0304", message, _label(locate, path), tuple(notes), tuple(helps))


def no_set(service: str, ask: Ask, found: SetsFound, locate: Locate) -> Diagnostic:
    """No model in the GGUF files has the quantization that was asked for: say what there is instead."""
    path: SpecPath = ("services", service, "quantization")
    notes = [f"`{key}` is {method}" for key, method in _first(found.others)]
    notes += [f"`{key}`: {reason}" for key, reason in _first(found.unreadable)]
    if found.unnamed:
        notes.append(f"by their names there are {', '.join(found.unnamed)}")
    methods = dict.fromkeys((*found.others.values(), *found.unnamed))
    helps = [Help(f"`quantization: {method}`", (Edit(path, method),)) for method in list(methods)[:_SHOWN]]
    asked = " or ".join(f"`{name}`" for name in ask.quantization)
    message = f"no model in the GGUF files of `{ask.model}` has the quantization {asked}"
    if "auto" in ask.quantization:
        message, helps = f"none of the GGUF files of `{ask.model}` is a model that llama.cpp loads", []
    return Diagnostic("E0304", message, _label(locate, path), tuple(notes), tuple(helps))


def _first(told: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(told.items())[:_SHOWN]


def _existing(found: Search) -> dict[str, ModelFacts]:
    if isinstance(found.main, SourceError):
        return {}
    _, main = found.main
    known = [found.main, *(item for item in found.tried.values() if not isinstance(item, SourceError))]
    return {name: facts for name, facts in known if is_variant(facts, main)}


def _untried(found: Search) -> list[str]:
    failed = {name: item for name, item in found.tried.items() if isinstance(item, SourceError)}
    notes = [f"`{name}`: {item.message}" for name, item in failed.items() if not isinstance(item, MissingError)]
    others = found.unread()
    if others:
        shown = [f"`{name}`" for name in others[:_SHOWN]] + ["…"] * (len(others) > _SHOWN)
        notes.append(f"{len(others)} by publishers that `policy.publishers` does not name: {', '.join(shown)}")
    return notes


def _said(method: str) -> str:
    return "not quantized" if method == "none" else f"`{method}`"


def _by_lower(names: tuple[str, ...]) -> dict[str, str]:
    return {name.lower(): name for name in names}


def _label(locate: Locate, path: SpecPath) -> Label | None:
    span = locate(path)
    return Label(span) if span is not None else None
