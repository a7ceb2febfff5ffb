"""The committed schemas are what the types say, and they and the loaders accept and refuse the same files."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from compiler.calibration.file import read_calibration
from compiler.cli.main import cli
from compiler.diagnostics import SourceText
from compiler.engines.registry import ENGINES
from compiler.lock.file import read_lock
from compiler.schemas.documents import MODELINE, SCHEMAS, schema_of, schema_text
from compiler.schemas.generator import schemas_in
from compiler.source.document import load_document
from compiler.spec.models import Spec
from compiler.spec.reading.load import load_spec
from compiler.units import UnitError, binary_size, parse_bytes
from tests.conftest import ROOT
from tests.plain_yaml import read_yaml
from tests.schema_checker import checked

STACKS = sorted(path for path in (ROOT / "stacks").glob("*.yaml") if not path.name.endswith(".lock.yaml"))
LOCKS = sorted((ROOT / "stacks").glob("*.lock.yaml"))
ERRORS = sorted(
    path
    for path in (ROOT / "tests" / "cases" / "errors").glob("*/*.yaml")
    if path.stem == path.parent.name or path.name.endswith(".lock.yaml")
)

# What the loader refuses and no schema of JSON can, by the file's name; `is_beyond_a_schema` has the rest.
UNSEEN = {"odd-names.lock.yaml": "names are held against the forms that the Hub gives out, which are no one pattern"}


@cache
def checker(document: str) -> Draft202012Validator:
    """Made once: the committed schema, which a test of its own holds against the types."""
    return Draft202012Validator(json.loads((ROOT / "docs" / "schema" / f"{document}.json").read_text()))


def valid(document: str, data: Any) -> bool:
    return bool(checker(document).is_valid(data))


@pytest.mark.parametrize("document", SCHEMAS)
def test_the_committed_schema_is_what_the_types_say(document: str) -> None:
    committed = (ROOT / "docs" / "schema" / f"{document}.json").read_text()
    assert committed == schema_text(document), f"`stackc schema {document} > docs/schema/{document}.json` mends it"
    assert CliRunner().invoke(cli, ["schema", document]).output == committed
    Draft202012Validator.check_schema(json.loads(committed))


@pytest.mark.parametrize("document", SCHEMAS)
def test_every_key_is_described(document: str) -> None:
    for each in schemas_in(schema_of(document)):
        for name, value in each.get("properties", {}).items():
            if name in value.get("$ref", ""):  # a rollout's candidate has the keys of a service
                continue
            assert value.get("description"), f"{each.get('title')}.{name}"
            assert "Attributes:" not in each.get("description", "")


def test_the_spec_is_the_default() -> None:
    assert CliRunner().invoke(cli, ["schema"]).output == schema_text("spec")


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.stem)
def test_shipped_specs_name_their_schema_and_obey_it(path: Path) -> None:
    first = path.read_text().partition("\n")[0]
    assert first.startswith(MODELINE)
    schema = (path.parent / first.removeprefix(MODELINE)).resolve()
    assert schema == ROOT / "docs" / "schema" / "spec.json"
    assert valid("spec", YAML(typ="safe").load(path.read_text()))


def test_a_checker_of_schemas_takes_the_shipped_specs() -> None:
    result = checked("--schemafile", ROOT / "docs" / "schema" / "spec.json", *STACKS)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_shipped_locks_obey_their_schema(path: Path) -> None:
    assert valid("lock", read_yaml(path.read_text()))


def closed(schema: Any) -> Any:
    """The same schema without room for keys that it does not name."""
    schema = copy.deepcopy(schema)
    for each in schemas_in(schema):
        if "properties" in each and each.get("type") == "object":
            each["additionalProperties"] = False
    return schema


@pytest.mark.parametrize("path", sorted((ROOT / "generated").rglob("plan.json")), ids=lambda path: path.parent.name)
def test_the_schema_of_plans_has_each_of_their_keys(path: Path) -> None:
    Draft202012Validator(closed(schema_of("plan"))).validate(json.loads(path.read_text()))


def test_plans_of_a_later_version_may_say_more() -> None:
    plan = json.loads((ROOT / "generated" / "tiny-cpu" / "plan.json").read_text())
    assert valid("plan", plan | {"later": 1})
    assert not valid("plan", plan | {"schema": 2})
    del plan["verdict"]
    assert not valid("plan", plan)


@pytest.mark.parametrize("path", ERRORS, ids=lambda path: path.name)
def test_schema_and_loader_refuse_the_same_files(path: Path) -> None:
    if path.name.endswith(".lock.yaml"):
        lock, _ = read_lock(path, path.name)
        try:
            data = YAML(typ="safe").load(path.read_text())
        except Exception:
            assert lock is None
            return
        assert valid("lock", data) == (lock is not None) or path.name in UNSEEN
        return
    source = SourceText(path.name, path.read_text())
    document, _ = load_document(source)
    if document is None:  # no YAML, or YAML that specs leave out: a schema sees data, not text
        return
    spec, problems = load_spec(source, ENGINES)
    assert valid("spec", document.data) == (spec is not None) or path.name in UNSEEN, problems


BASE: dict[str, Any] = {
    "stack": "probe",
    "engine": {"vllm": "0.33.0"},
    "nodes": {"here": {"gpus": {"model": "a10"}}},
    "services": {"chat": {"model": "a/b", "context": "4K", "port": 8000}},
}
SECTIONS: dict[tuple[str, ...], dict[str, Any]] = {
    (): {},
    ("engine",): {},
    ("nodes", "here"): {},
    ("nodes", "here", "gpus"): {},
    ("nodes", "here", "cpu"): {"memory": "8GiB"},
    ("services", "chat"): {},
    ("services", "chat", "context"): {"min": 4096},
    ("services", "chat", "concurrency"): {"max": 4},
    ("services", "chat", "rollout"): {"strategy": "canary", "candidate": {"port": 8001}},
    ("services", "chat", "rollout", "candidate"): {},
    ("gateway",): {"port": 80},
    ("gateway", "cors"): {"origins": ["https://a.example"]},
    ("monitoring",): {},
    ("policy",): {},
    ("secrets",): {},
    ("paths",): {},
    ("patches",): {},
}
# No line break at an end: JSON Schema's `$` is that of ECMAScript, and Python's validators take their own for it.
VALUES: list[Any] = [
    *(None, True, False, 0, 1, 2, -1, 7, 64, 65, 1000, 1001, 70000, 2**31, 2**60, 0.5, 1.5, 9999.5, "", "x", "X_Y"),
    *(
        "1",
        "0",
        "16K",
        "16k",
        "0K",
        " 4K ",
        "1M",
        "max",
        "none",
        "auto",
        "awq",
        "fp8",
        "chat",
        "image",
        "tools",
        "deny",
    ),
    *("8GiB", "8 GiB", "0.5GiB", "8", "8G", "80GB", "0B", "a/b", "/a", "/a/", "/", "a b", "8.9", "12.0", "3g.40gb"),
    *("GPU-00000000-0000-0000-0000-000000000000", "127.0.0.1", "é", "a" * 300, "٣.٣", "nginx", "canary", "deny"),
    *([], ["x"], ["awq"], ["awq", "gptq"], ["a", "b", "c"], [0], [1, 2], [-1], ["tools"], [""], [None], ["compose"]),
    *({}, {"min": 1}, {"max": "8K"}, {"min": "1"}, {"min": None}, {"least": 1}, {"image": 1}, {"image": 1000}),
    *({"x": 1}, {"x": {}}, {"x": {"y": {}}}, {"X": {"y": {"z": 1}}}, {"port": 9000}, {"task": "nothing"}),
]


def probes() -> Iterator[tuple[tuple[str, ...], str]]:
    for section in SECTIONS:
        yield from ((section, key) for key in (*model_at(section).model_fields, "surplus"))


def model_at(section: tuple[str, ...]) -> type[BaseModel]:
    model: type[BaseModel] = Spec
    path = ("services", "chat") if section[-1:] == ("candidate",) else section
    for part in path:
        if part in model.model_fields:
            model = inner(model.model_fields[part].annotation) or model
    return model


def inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := inner(part)) is not None), None)


def with_value(section: tuple[str, ...], key: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(BASE)
    at: Any = data
    for index, part in enumerate(section):
        if not isinstance(at.get(part), dict):
            at[part] = copy.deepcopy(SECTIONS.get(section[: index + 1], {}))
        at = at[part]
    at[key] = value
    return data


def loads(data: dict[str, Any]) -> bool:
    try:
        Spec.model_validate(data)
    except ValidationError:
        return False
    return True


def is_beyond_a_schema(section: tuple[str, ...], key: str, value: Any) -> bool:
    """Bounds of a quantity that is written as text, and what a rollout's two halves are together."""
    if key in ("memory", "reserve", "max_body") and isinstance(value, str):
        try:
            return not 64 * 2**10 <= parse_bytes(value) <= 2**30
        except UnitError:
            return False
    return section[-1:] in (("context",), ("concurrency",)) and isinstance(value, int | str)  # `min` above `max`


@pytest.mark.parametrize(("section", "key"), list(probes()), ids=str)
def test_schema_and_loader_agree_on_each_value_of_each_key(section: tuple[str, ...], key: str) -> None:
    of_section = section_checker(section)
    for index, value in enumerate(VALUES):
        data = with_value(section, key, value)
        seen, loaded = of_section.is_valid(part_of(data, section)), loads(data)
        # The rest of the file is right, so that it says nothing else than this part of it, in six times the time.
        assert index % 16 or seen == valid("spec", data), value
        assert seen == loaded or (seen and is_beyond_a_schema(section, key, value)), (value, seen, loaded)


def part_of(data: Any, section: tuple[str, ...]) -> Any:
    for name in section:
        data = data[name]
    return data


@cache
def section_checker(section: tuple[str, ...]) -> Draft202012Validator:
    """Of one section of a spec alone."""
    schema = checker("spec").schema
    for name in section:
        around = with_keys(schema)
        schema = around.get("properties", {}).get(name) or next(iter(around["patternProperties"].values()))
    return checker("spec").evolve(schema=schema)


def with_keys(schema: dict[str, Any]) -> dict[str, Any]:
    """What a schema says of a mapping, behind references and beside other forms of the same value."""
    while "$ref" in schema:
        schema = part_of(checker("spec").schema, tuple(schema["$ref"].removeprefix("#/").split("/")))
    forms = map(with_keys, schema.get("anyOf", ()))
    return next((each for each in forms if {"properties", "patternProperties"} & each.keys()), schema)


@pytest.mark.parametrize("figure", [0, 7, -1, 1 << 40, True, "1", None, 1.5])
@pytest.mark.parametrize("key", ["low", "expected", "high", "count"])
def test_schema_and_reader_of_calibrations_agree(key: str, figure: Any) -> None:
    figures = {"low": 0, "expected": 7, "high": 7, "count": 1} | {key: figure}
    data = {"engine": "0.33.0", "gpu": "a10", "models": ["a/b"], "components": {"graphs": figures}}
    read, _ = read_calibration(SourceText("x.yaml", json.dumps(data)))
    is_ordered = not valid("calibration", data) or figures["low"] <= figures["expected"] <= figures["high"]
    assert valid("calibration", data) == (read is not None) or not is_ordered  # a schema compares no two values


@pytest.mark.parametrize("text", ["0B", "1B", "3KiB", "32MiB", "1536MiB", "2TiB", "1025B"])
def test_defaults_in_bytes_are_shown_as_they_are_written(text: str) -> None:
    assert binary_size(parse_bytes(text)) == text


def test_times_of_monitoring_are_numbers() -> None:
    for value in (True, "5"):
        assert not loads(BASE | {"monitoring": {"ttft_p95_seconds": value}})
    assert loads(BASE | {"monitoring": {"ttft_p95_seconds": 5}})
