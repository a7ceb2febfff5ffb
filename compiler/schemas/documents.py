"""The documents that have a schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import cast

from compiler.schemas.generator import Generator, JsonSchema, tidy

MODELINE = "# yaml-language-server: $schema="
"""How editors are told the schema of a YAML file, in a line of its own before everything else."""


def spec_schema() -> JsonSchema:
    """Of stacks/NAME.yaml as users write it, sizes with their units."""
    from compiler.spec.models import Spec  # noqa: PLC0415 - each document's types are loaded for its own schema

    schema = Spec.model_json_schema(schema_generator=Generator)
    definitions = schema["$defs"]
    keys = definitions["ServiceSpec"]["properties"]
    # What the rollout's candidate says is read as a service; what it does not say, it inherits.
    candidate = definitions["RolloutSpec"]["properties"]["candidate"]
    candidate["properties"] = {key: {"$ref": f"#/$defs/ServiceSpec/properties/{key}"} for key in keys}
    candidate["additionalProperties"] = False
    return schema


def lock_schema() -> JsonSchema:
    """Of NAME.lock.yaml."""
    from compiler.lock.models import Lock  # noqa: PLC0415

    schema = Lock.model_json_schema(schema_generator=Generator)
    # A lock without its number is none: what a later version means by its keys is not known.
    schema["required"] = ["schema", *schema["required"]]
    return schema


def plan_schema() -> JsonSchema:
    """Of plan.json. Keys that a later version adds are allowed: whoever reads plans need not know them."""
    from compiler.plan.ir import SCHEMA_VERSION  # noqa: PLC0415
    from compiler.schemas.plan import PlanFile  # noqa: PLC0415

    schema = PlanFile.model_json_schema(schema_generator=Generator)
    schema["properties"] = {"schema": {"const": SCHEMA_VERSION, "description": "of the file"}, **schema["properties"]}
    schema["required"] = ["schema", *schema["required"]]
    return schema


def calibration_schema() -> JsonSchema:
    """Of a file of `stackc calibrate`."""
    from compiler.schemas.calibration import CalibrationFile  # noqa: PLC0415

    return CalibrationFile.model_json_schema(schema_generator=Generator)


def models_schema() -> JsonSchema:
    """Of models.yaml as users write it: a row needs no more than its name, where what ships or a base says the rest."""
    from compiler.schemas.own import OwnFile  # noqa: PLC0415

    schema = OwnFile.model_json_schema(schema_generator=Generator)
    schema["$defs"]["OwnModel"]["required"] = ["id"]
    return schema


SCHEMAS: dict[str, Callable[[], JsonSchema]] = {
    "spec": spec_schema,
    "lock": lock_schema,
    "plan": plan_schema,
    "calibration": calibration_schema,
    "models": models_schema,
}


def schema_of(document: str) -> JsonSchema:
    """The schema of a document of SCHEMAS, with its dialect and a title."""
    return cast("JsonSchema", json.loads(schema_text(document)))


@cache
def schema_text(document: str) -> str:
    """The same as a file's text."""
    schema = {"$schema": Generator.schema_dialect, **tidy(SCHEMAS[document]()), "title": f"stackc {document}"}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
