"""What a spec says at one place: hovers, and words to choose from. From the schema, the catalogue and the last plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from compiler.catalog.hardware.gpus import GPUS
from compiler.cli.complete import locked_models
from compiler.cli.lsp.text import Key, Spot
from compiler.engines.registry import ENGINES
from compiler.plan.ir import Plan, Service
from compiler.report.usage import device_uses
from compiler.schemas.documents import schema_of
from compiler.schemas.generator import JsonSchema
from compiler.spec.engines import VLLM
from compiler.spec.rollouts import candidate_name
from compiler.units import format_gib, format_tokens

_PRICED = ("context", "concurrency")
_OLD = "*As of the last text that compiled.*"


@dataclass(frozen=True, slots=True)
class Word:
    """Something to choose: what is written, and what it is."""

    text: str
    about: str = ""


def hover(path: tuple[str, ...], plans: tuple[Plan, ...], *, is_old: bool) -> str | None:
    """About the key at a path, in Markdown: a service's ledger, else what the key means and costs.

    Args:
        is_old: whether the plans are not those of the text as it is.
    """
    name, rest = _service_and_key(path)
    served = next(((plan, each) for plan in plans for each in plan.services if each.name == name), None)
    if served is not None and not rest:
        return "\n".join((*_ledger(*served), *(("", _OLD) if is_old else ())))
    said = [each["description"] for each in _schemas(path) if "description" in each]
    if served is not None and len(rest) == 1 and rest[0] in _PRICED:
        said += [_price(served[1]), *((_OLD,) if is_old else ())]
    return "\n\n".join(dict.fromkeys(said)) or None


def _service_and_key(path: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The service that a path is about, as plans call it, and the keys in it."""
    match path:
        case ("services", name, "rollout", "candidate", *keys):
            return candidate_name(name), tuple(keys)
        case ("services", name, *keys):
            return name, tuple(keys)
        case _:
            return None, path


def _ledger(plan: Plan, service: Service) -> Iterator[str]:
    model = service.model
    yield f"**{service.name}**: {plan.verdict.value}, {model.repository or model.folder} ({model.quantization})"
    yield f"{format_tokens(service.max_model_len)} × {service.concurrency} on {plan.node.name}"
    yield ""
    yield "| GiB | weights | KV cache | other | expected | at most | free |"
    yield "| --- | --: | --: | --: | --: | --: | --: |"
    for use in device_uses(plan):
        share = next((share for share in use.shares if share.service == service.name), None)
        if share is not None:
            parts = (share.weights, share.kv_cache, share.other, share.expected, share.high, max(0, use.left_expected))
            yield f"| {use.label} | {' | '.join(map(format_gib, parts))} |"


def _price(service: Service) -> str:
    cache_ = service.kv_cache
    each = f"{cache_.bytes_per_block / cache_.block_size:.0f} bytes of KV cache a token on each device"
    return f"`{service.name}`: {each}; {format_gib(cache_.bytes)} GiB hold {cache_.capacity_tokens} tokens"


def words(spot: Spot, keys: Iterable[Key], folder: Path, plans: tuple[Plan, ...]) -> Iterator[Word]:
    """What may be written at a place of a spec in a folder."""
    schemas = tuple(_schemas(spot.path))
    taken = {key.path for key in keys if key.start != spot.start}
    if not spot.is_key:
        yield from _known(spot.path, taken, folder)
        yield from map(Word, dict.fromkeys(value for schema in schemas for value in _values(schema)))
        return
    for schema in schemas:
        for name, about in schema.get("properties", {}).items():
            if (*spot.path, name) not in taken:
                yield Word(name, about.get("description", ""))
    if spot.path[-1:] == ("engine_args",):
        engine = ENGINES[VLLM]
        version = plans[0].engine.version if plans else next(iter(engine.releases))
        yield from (Word(name, group) for name, group in engine.options(version))


def _known(path: tuple[str, ...], taken: Iterable[tuple[str, ...]], folder: Path) -> Iterator[Word]:
    """Names that no schema holds."""
    _, key = _service_and_key(path)
    if path[2:] == ("gpus", "model"):
        yield from (Word(gpu.name, gpu.title) for gpu in GPUS.values())
    elif path[:1] == ("engine",) and path[1:] in {(name,) for name in ENGINES}:
        yield from (Word(release.version, release.build or "") for release in ENGINES[path[1]].releases.values())
    elif key == ("model",):
        yield from map(Word, locked_models(folder))
    elif key == ("node",):
        yield from (Word(each[-1]) for each in taken if each[:-1] == ("nodes",))


@cache
def _spec() -> JsonSchema:
    return schema_of("spec")


def _schemas(path: tuple[str, ...]) -> Iterator[JsonSchema]:
    """What the schema says of the value at a path, each form that it may have by itself."""
    found: list[JsonSchema] = [_spec()]
    for part in path:
        found = [child for schema in found for form in _forms(schema) for child in _children(form, part)]
    yield from (form for schema in found for form in _forms(schema))


def _forms(schema: JsonSchema) -> Iterator[JsonSchema]:
    """Without references and alternatives; the description of a key counts more than that of its type."""
    said: Mapping[str, Any] = {key: schema[key] for key in ("description",) if key in schema}
    if "$ref" in schema:
        target: Any = _spec()
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        yield from _forms(target | said)
    elif "anyOf" in schema:
        yield from (form for each in schema["anyOf"] for form in _forms(each | said))
    elif "items" in schema:
        yield from (schema, *_forms(schema["items"] | said))
    else:
        yield schema


def _children(form: JsonSchema, name: str) -> Iterator[JsonSchema]:
    if name in form.get("properties", {}):
        yield form["properties"][name]
        return
    others = (*form.get("patternProperties", {}).values(), form.get("additionalProperties"))
    yield from (each for each in others if isinstance(each, dict))


def _values(form: JsonSchema) -> Iterator[str]:
    if form.get("type") == "boolean":
        yield from ("true", "false")
    yield from map(str, (*form.get("enum", ()), *((form["const"],) if "const" in form else ())))
