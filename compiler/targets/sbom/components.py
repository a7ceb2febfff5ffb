"""Images, packages, models and programs of a stack as components."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.catalog.licenses import SPDX
from compiler.catalog.packages import Package
from compiler.plan.ir import Image, ModelFile, Plan, ServedModel
from compiler.targets.requirements import requirement_files

_TASKS = {
    "chat": "text-generation",
    "completion": "text-generation",
    "embed": "feature-extraction",
    "score": "text-ranking",
    "classify": "text-classification",
}
_DOCKER_HUB = "docker.io"


@dataclass(frozen=True, slots=True)
class Component:
    """One component. `is_opaque`: it holds others that nobody has listed."""

    ref: str
    data: Mapping[str, Any]
    is_opaque: bool = False


def components_of(plans: Sequence[Plan]) -> tuple[Component, ...]:
    """Those of one stack, each once."""
    found = {each.ref: each for plan in plans for each in _of_plan(plan)}
    return tuple(found.values())


def _of_plan(plan: Plan) -> Iterator[Component]:
    yield from map(_image, plan.images)
    for service in plan.services:
        yield from (_model(model, service.task) for model in service.models)
    if not plan.runs_on_host:
        return
    files = requirement_files(plan)
    for requirements in files.values():
        yield from map(_package, requirements.packages)
    for name, engine in plan.engines.items():
        packages = engine.host.packages
        if packages is None or packages.requirements is None:
            yield _unlisted(name, engine.version, "hashes")
    if plan.gateway is not None and plan.gateway.kind == "nginx":
        yield _unlisted("nginx", None, "version")


def _unlisted(name: str, version: str | None, unconfirmed: str) -> Component:
    """A program that the machine brings."""
    data = {"type": "application", "name": name, "version": version, "properties": _properties((), (unconfirmed,))}
    return _component(f"program:{name}", data, is_opaque=True)


def _image(image: Image) -> Component:
    name, _, _ = image.reference.partition("@")
    first, slash, rest = name.partition("/")
    has_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, path = (first, rest) if has_host else (_DOCKER_HUB, name if slash else f"library/{name}")
    repository, _, tag = path.partition(":")
    where = f"{host}/{repository}"
    qualifiers = {"repository_url": where, **({"tag": tag} if tag else {})}
    version = f"@{encoded(image.digest)}" if image.digest else ""
    pairs = "&".join(f"{key}={encoded(value, '/')}" for key, value in sorted(qualifiers.items()))
    stated = (("stackc:digest-source", image.source), ("stackc:digest-read", image.read))
    data = {
        "type": "container",
        "name": where,
        "version": tag or image.digest,
        "purl": f"pkg:oci/{encoded(repository.rpartition('/')[2].lower())}{version}?{pairs}",
        "hashes": [] if image.digest is None else [_sha256(image.digest.removeprefix("sha256:"))],
        "properties": _properties(stated, () if image.digest else ("digest",)),
    }
    return _component(f"image:{image.reference}", data, is_opaque=True)


def _package(package: Package) -> Component:
    """A package with a hash for each wheel that a machine may take."""
    data = {
        "type": "library",
        "name": package.name,
        "version": package.version,
        "purl": f"pkg:pypi/{encoded(package.name)}@{encoded(package.version)}",
        "hashes": [_sha256(each) for each in package.hashes],
        "properties": _properties((("stackc:marker", package.marker),), ()),
    }
    return _component(f"package:{package.name}=={package.version}", data)


def _model(model: ServedModel, task: str) -> Component:
    name = model.repository or str(model.folder)
    ref = f"model:{name}@{model.commit or 'main'}" + (f"#{model.file}" if model.file is not None else "")
    data = {
        "type": "machine-learning-model",
        "name": name,
        "version": model.commit,
        "purl": _model_purl(model.repository, model.commit if model.is_pinned else None),
        "licenses": _licenses(model.license),
        "modelCard": {"modelParameters": {"task": _TASKS[task]}},
        "pedigree": {"ancestors": [_ancestor(base) for base in model.base_models]} if model.base_models else None,
        "components": [_file(file, ref) for file in model.files],
        "properties": _properties((("stackc:quantization", model.quantization),), model.unconfirmed),
    }
    return _component(ref, data)


def _ancestor(base: str) -> dict[str, Any]:
    return _without_nothing({"type": "machine-learning-model", "name": base, "purl": _model_purl(base, None)})


def _model_purl(repository: str | None, commit: str | None) -> str | None:
    if repository is None:
        return None
    return f"pkg:huggingface/{encoded(repository, '/')}" + (f"@{commit}" if commit else "")


def encoded(text: str, safe: str = "") -> str:
    """Percent-encoded, as a package URL wants it; nothing here goes online, and so nothing imports urllib."""
    kept = f"-._~{safe}"
    return "".join(
        char
        if char.isascii() and (char.isalnum() or char in kept)
        else "".join(f"%{byte:02X}" for byte in char.encode())
        for char in text
    )


def _licenses(identifier: str | None) -> list[dict[str, Any]]:
    """An SPDX identifier where the Hub's means one, else its name."""
    if identifier is None:
        return []
    known = SPDX.get(identifier.lower())
    return [{"license": {"id": known} if known is not None else {"name": identifier}}]


def _file(file: ModelFile, model: str) -> dict[str, Any]:
    size = None if file.size is None else str(file.size)
    data = {
        "type": "file",
        "bom-ref": f"{model}/{file.path}",
        "name": file.path,
        "hashes": [] if file.sha256 is None else [_sha256(file.sha256)],
        "properties": _properties((("stackc:size", size),), () if file.sha256 else ("hash",)),
    }
    return _without_nothing(data)


def _sha256(content: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": content}


def _properties(stated: Iterable[tuple[str, str | None]], unconfirmed: Iterable[str]) -> list[dict[str, str]]:
    pairs = [(name, value) for name, value in stated if value is not None]
    pairs += [("stackc:unconfirmed", fact) for fact in unconfirmed]
    return [{"name": name, "value": value} for name, value in pairs]


def _component(ref: str, data: Mapping[str, Any], *, is_opaque: bool = False) -> Component:
    return Component(ref, _without_nothing({"bom-ref": ref, **data}), is_opaque)


def _without_nothing(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None and value != []}
