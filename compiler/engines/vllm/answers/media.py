"""Which services take images, sound or videos: their servers fetch what a client names, unless they are told not to."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from compiler.checkpoints.config import ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.read import architecture_name, read_architecture
from compiler.diagnostics import Diagnostic, Edit, Help
from compiler.engines.vllm.releases.architectures import load_registry
from compiler.lock.models import Lock, ModelFacts
from compiler.spec.engines import VLLM
from compiler.spec.reading.load import SpecFile
from compiler.spec.services import ServiceSpec


def takes_media(facts: ModelFacts, version: str) -> bool:
    """Whether a model has a tower for media, or its class in vLLM may take some; True where neither is known."""
    try:
        name, registry = architecture_name(facts.config), load_registry(version)
        return registry.takes_media(name) or bool(read_architecture(facts.config, registry.classes).encoders)
    except UnsupportedArchitectureError:
        return False  # a class of vLLM's own that takes text alone
    except ConfigError:
        return True


def is_text_only(service: ServiceSpec, facts: ModelFacts) -> bool:
    """Whether the spec lets prompts hold no media at all, of what the model could read."""
    kinds = kinds_of(facts) or ("image", "video", "audio")
    return service.media is not None and not any(service.media_limit(kind) for kind in kinds)


def kinds_of(facts: ModelFacts) -> tuple[str, ...]:
    """Kinds of media that a model reads, as vLLM counts them; empty where no tower is known."""
    try:
        return read_architecture(facts.config).modalities
    except (ConfigError, UnsupportedArchitectureError):
        return ()


def _version(file: SpecFile, service: str) -> str:
    """Of the vLLM that serves it."""
    return file.spec.engine.release_on(VLLM, file.spec.services[service].device) or ""


def check_media(file: SpecFile, lock: Lock, services: Collection[str]) -> Iterator[Diagnostic]:
    """E0223 where domains are opened, or kinds of media limited, for a model that takes none of them."""
    for name in services:
        candidates = [lock.models[each] for each in lock.services[name].candidates]
        yield from _check_domains(file, name, candidates)
        if isinstance(file.spec.services[name].media, dict):
            yield from _check_kinds(file, name, candidates)


def _check_domains(file: SpecFile, name: str, candidates: list[ModelFacts]) -> Iterator[Diagnostic]:
    service, version = file.spec.services[name], _version(file, name)
    if not service.allowed_media_domains:
        return
    taking = [facts for facts in candidates if takes_media(facts, version)]
    if any(not is_text_only(service, facts) for facts in taking):
        return
    where = ("services", name, "allowed_media_domains")
    message = f"service `{name}` takes no images, sound or videos: there is nothing to fetch"
    why = f"`{service.model}` has no tower, and its class in vLLM {version} takes text alone"
    notes = ("`media` lets its prompts hold text alone" if taking else why,)
    helps = (Help("remove `allowed_media_domains`", (Edit(where, None),)),)
    yield Diagnostic("E0223", message, file.at_key(*where), notes, helps)


def _check_kinds(file: SpecFile, name: str, candidates: list[ModelFacts]) -> Iterator[Diagnostic]:
    """A limit must be of a kind that some candidate reads; without a tower that is known, any may be."""
    service, version = file.spec.services[name], _version(file, name)
    known = [kinds_of(facts) for facts in candidates if takes_media(facts, version)]
    assert isinstance(service.media, dict)  # noqa: S101  check_media asks only then
    if any(not kinds for kinds in known):
        return
    kinds = dict.fromkeys(kind for each in known for kind in each)
    for kind, most in service.media.items():
        if kind in kinds or (most == 0 and _CHUNKS not in kinds):
            continue
        where = ("services", name, "media")
        message = f"service `{name}` limits `{kind}`, which `{service.model}` does not take"
        given = f"it takes {', '.join(kinds)}" if kinds else "it takes text alone"
        notes = (f"{given}, as vLLM {version} counts what prompts hold",)
        helps = (
            Help(f"remove `{kind}` from `media`", (Edit((*where, kind) if len(service.media) > 1 else where, None),)),
        )
        yield Diagnostic("E0223", message, file.at_key(*where), notes, helps)


# Images and videos in pieces of one kind, which no limit of either holds back (vllm/multimodal, Kimi K2.5).
_CHUNKS = "vision_chunk"
