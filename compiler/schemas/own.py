"""A user's `models.yaml` as types. `compiler.registry.user` and `compiler.prices.user` read it, and tell faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model

from compiler.catalog.hardware.gpus import GPUS
from compiler.prices.currencies import CURRENCIES
from compiler.prices.fields import HARDWARE, PRICE, Form
from compiler.prices.fields import Field as PriceField
from compiler.prices.rentals import Kind
from compiler.registry.entry import Day, License, Line, ModelEntry
from compiler.registry.read import licenses
from compiler.registry.scores import ScoreSet, Unit
from compiler.registry.user import MOST_ROWS
from compiler.registry.user_scores import MOST_SETS

_COUNT = r"^\d{1,15}(\.\d{1,12})? *[KMBTkmbt]?$"
_TOKENS = r"^\d{1,15}(\.\d+)? *[KMkm]?$"


def _written(pattern: str, most: int) -> Any:
    """A number, or text with a suffix."""
    schema = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": most}, {"type": "string", "pattern": pattern}]}
    return Annotated[int, WithJsonSchema(schema)]


_PARAMETERS, _CONTEXT = _written(_COUNT, 10**14), _written(_TOKENS, 10**9)
_KNOWN_LICENSE = Annotated[str, WithJsonSchema({"type": "string", "enum": sorted(licenses())})]

OwnModel = create_model(
    "OwnModel",
    __base__=ModelEntry,
    __doc__="A model. Of one that ships, only what differs; of a fine-tune, only what its base has not.",
    license=(_KNOWN_LICENSE | License, ...),
    parameters=(_PARAMETERS, ...),
    active_parameters=(_PARAMETERS, ...),
    context=(_CONTEXT, ...),
)

_NUMBER = {"type": "number"}
_VALUE = {"anyOf": [_NUMBER, {"type": "array", "items": _NUMBER, "minItems": 3, "maxItems": 3}]}
_VALUES = Annotated[
    dict[str, Any], WithJsonSchema({"type": "object", "minProperties": 1, "additionalProperties": _VALUE})
]

OwnScores = create_model(
    "OwnScores",
    __base__=ScoreSet,
    __doc__="Values of a set that ships, by its benchmark and party, or a set of one's own, which needs a date.",
    independent=(bool, False),
    date=(Day | None, None),
    unit=(Unit, "%"),
    source=(Line | None, None),
    values=(_VALUES, ...),
)


def _row(name: str, says: str, fields: Mapping[str, PriceField]) -> type[BaseModel]:
    made: dict[str, Any] = {key: (_type_of(field), _default(field)) for key, field in fields.items()}
    return create_model(name, __doc__=says, __config__=ConfigDict(extra="forbid"), **made)


def _default(field: PriceField) -> Any:
    return Field(... if field.is_required else None, description=field.meaning)


def _type_of(field: PriceField) -> Any:
    most = {} if field.high == float("inf") else {"maximum": field.high}
    least = {"exclusiveMinimum" if field.is_above else "minimum": field.low}
    schemas: Mapping[Form, Mapping[str, Any]] = {
        Form.GPU: {"type": "string", "enum": sorted(GPUS)},
        Form.CURRENCY: {"type": "string", "enum": sorted(CURRENCIES)},
        # How much is absurd depends on the currency.
        Form.AMOUNT: {"type": "number", **least},
        Form.NUMBER: {"type": "number", **least, **most},
        Form.COUNT: {"type": "integer", **least, **most},
        Form.KIND: {"type": "string", "enum": list(Kind)},
        Form.DATE: {"type": "string", "format": "date"},
        Form.TEXT: {"type": "string", "minLength": 1, "maxLength": 80},
    }
    return Annotated[Any, WithJsonSchema(dict(schemas[field.form]))]


OwnPrice = _row("OwnPrice", "What an hour of a GPU costs you.", PRICE)
OwnHardware = _row("OwnHardware", "A machine of one's own, of which every figure is asked for.", HARDWARE)


class OwnFile(BaseModel):
    """What a user knows better, or alone.

    Attributes:
        models: of one's own, and what is to be corrected of those that ship.
        scores: of models, which then are graded by them.
        prices: of GPUs, in place of what ships for the same card and kind.
        hardware: that is owned, and counted before any price.
    """

    model_config = ConfigDict(extra="forbid")

    models: Annotated[list[OwnModel], Field(max_length=MOST_ROWS)] | None = None  # type: ignore[valid-type]
    scores: Annotated[list[OwnScores], Field(max_length=MOST_SETS)] | None = None  # type: ignore[valid-type]
    prices: list[OwnPrice] | None = None  # type: ignore[valid-type]
    hardware: list[OwnHardware] | None = None  # type: ignore[valid-type]
