"""pydantic's own generator, with a description for each key from the docstring of the class that has it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from compiler.units import binary_size

JsonSchema = dict[str, Any]

_AS_NAMED: Mapping[str, str] = {}

# A docstring's section for the fields, and one field in it with the lines that go on.
_SECTION = re.compile(r"\n*^Attributes:\n((?:[ ]{4}.*\n?|\n)*)", re.MULTILINE)
# What Python calls it, these files do not.
_NONE = re.compile(r"\bNone\b")
_FIELD = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def field_descriptions(cls: type) -> dict[str, str]:
    """What a class's docstring says of its fields below `Attributes:`, each as one line; those of bases count too."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        section = _SECTION.search(inspect.cleandoc(each.__doc__ or ""))
        for name, text in _FIELD.findall(section[1] if section is not None else ""):
            found[name] = _NONE.sub("null", " ".join(text.split()))
    return found


def class_description(cls: type) -> str:
    """The docstring without its section for the fields."""
    return _SECTION.sub("", inspect.cleandoc(cls.__doc__ or "")).strip()


class Generator(GenerateJsonSchema):
    """JSON Schema, draft 2020-12."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """Never: a key's own name in capitals says nothing."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """A pydantic model, with descriptions."""
        cls = schema["cls"]
        aliases = {name: field.alias or name for name, field in cls.model_fields.items()}
        return _described(cls, super().model_schema(schema), aliases)

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """A dataclass as `dataclasses.asdict` gives it: all its keys are there."""
        made = _described(schema["cls"], super().dataclass_schema(schema))
        for each in made["properties"].values():
            each.pop("default", None)
        return made | {"required": list(made["properties"])}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """A map whose keys have a form: pydantic's generator leaves keys of any other form unconstrained."""
        made = super().dict_schema(schema)
        return made | {"additionalProperties": False} if "patternProperties" in made else made


def _described(cls: type, made: JsonSchemaValue, aliases: Mapping[str, str] = _AS_NAMED) -> JsonSchemaValue:
    texts = {aliases.get(name, name): text for name, text in field_descriptions(cls).items()}
    properties = made.get("properties", {})
    for name in properties.keys() & texts.keys():
        properties[name] = properties[name] | {"description": texts[name]}
    return made | {"description": class_description(cls)}


def schemas_in(schema: Any) -> Iterator[JsonSchema]:
    """Every map in a schema, itself first."""
    if isinstance(schema, dict):
        yield schema
        for value in list(schema.values()):
            yield from schemas_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from schemas_in(value)


# Of what is read from text, or from one of several forms; each form has its own.
_BOUNDS = {"string": ("ge", "gt", "le", "lt"), "anyOf": ("minLength", "maxLength")}


def tidy(schema: JsonSchema) -> JsonSchema:
    """Without bounds of the value that is read, which no bound of its text is, and with its default as text."""
    for each in schemas_in(schema):
        kind = "anyOf" if "anyOf" in each else str(each.get("type"))
        for bound in _BOUNDS.get(kind, ()):
            each.pop(bound, None)
        if each.get("type") == "string" and isinstance(each.get("default"), int):
            each["default"] = binary_size(each["default"])
        if each.get("default", False) is None:
            del each["default"]
    return schema
