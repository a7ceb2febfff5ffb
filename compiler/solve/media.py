"""Which services take images, sound or videos: their servers fetch what a client names, unless they are told not to."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog.architectures import load_registry
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.lock.models import Lock, ModelFacts
from compiler.memory.config import ConfigError, UnsupportedArchitectureError
from compiler.memory.read import architecture_name, read_architecture
from compiler.spec.load import SpecFile


def takes_media(facts: ModelFacts, version: str) -> bool:
    """Whether a model has a tower for media, or its class in vLLM may take some; True where neither is known."""
    try:
        name = architecture_name(facts.config)
        return load_registry(version).takes_media(name) or bool(read_architecture(facts.config).encoders)
    except UnsupportedArchitectureError:
        return False  # a class of vLLM's own that takes text alone
    except ConfigError:
        return True


def check_media(file: SpecFile, lock: Lock) -> Iterator[Diagnostic]:
    """E0223 where domains are opened for a model that fetches nothing."""
    version = file.spec.engine.vllm
    for name, service in file.spec.services.items():
        candidates = [lock.models[each] for each in lock.services[name].candidates]
        if service.allowed_media_domains and not any(takes_media(facts, version) for facts in candidates):
            where = ("services", name, "allowed_media_domains")
            message = f"service `{name}` takes no images, sound or videos: there is nothing to fetch"
            notes = (f"`{service.model}` has no tower, and its class in vLLM {version} takes text alone",)
            helps = (Help("remove `allowed_media_domains`", (Edit(where, None),)),)
            yield Diagnostic("E0223", message, file.at_key(*where), notes, helps)
