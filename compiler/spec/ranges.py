"""Numbers that a spec may leave to the solver: one value, `max`, or `{min: …, max: …}`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from compiler.units import TOKENS_PATTERN, UnitError, parse_tokens

# What `context: max` must at least come to: a chat has no use for less, and without a floor the best quality would
# always fit, with a context of a few words.
LEAST_CONTEXT = 2048


def unit_error(error: UnitError) -> PydanticCustomError:
    """A quantity that cannot be read, with what to write instead."""
    return PydanticCustomError("unit", "{message}", {"message": str(error), "remedy": error.remedy})


def _as_tokens(value: object) -> object:
    if isinstance(value, str):
        try:
            return parse_tokens(value)
        except UnitError as error:
            raise unit_error(error) from error
    return value


_TokenCount = Annotated[int, Field(ge=1, le=2**31 - 1)]
_TokenInput = _TokenCount | Annotated[str, StringConstraints(pattern=TOKENS_PATTERN)]

Tokens = Annotated[_TokenCount, BeforeValidator(_as_tokens, json_schema_input_type=_TokenInput)]
Count = Annotated[int, Field(ge=1, le=65536)]
ReplicaCount = Annotated[int, Field(ge=1, le=1000)]


class _Range(BaseModel):
    """`min` and `max` are equal where the spec gives one number, and None where it leaves them open."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    min: int | None = None
    max: int | None = None

    @property
    def least(self) -> int:
        """What must fit, whatever else does."""
        return self.min if self.min is not None else 1

    @property
    def is_solved(self) -> bool:
        """Whether the solver decides."""
        return self.min is None or self.min != self.max

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        least, most = self.min, self.max
        if least is not None and most is not None and least > most:
            raise PydanticCustomError("range", "has a `min` of {least} above its `max` of {most}", {
                "least": least, "most": most,
            })  # fmt: skip
        return self


class ContextRange(_Range):
    """Tokens of one request.

    Attributes:
        min: what must fit.
        max: what is tried; as much as fits where it is not given.
    """

    min: Tokens | None = None
    max: Tokens | None = None

    @property
    def least(self) -> int:
        """What must fit, whatever else does."""
        return self.min if self.min is not None else min(LEAST_CONTEXT, self.max or LEAST_CONTEXT)


class ConcurrencyRange(_Range):
    """Requests of full context at once.

    Attributes:
        min: what must fit.
        max: what is tried; as many as fit where it is not given.
    """

    min: Count | None = None
    max: Count | None = None


class ReplicasRange(_Range):
    """Servers of one service.

    Attributes:
        min: how many must fit.
        max: how many are tried; without it as many as there are GPUs for.
    """

    min: ReplicaCount | None = None
    max: ReplicaCount | None = None


def _as_range(value: object) -> object:
    if isinstance(value, _Range) or (isinstance(value, dict) and value):
        return value
    if value == "max":
        return {}
    if isinstance(value, str | int) and not isinstance(value, bool):
        return {"min": value, "max": value}
    raise PydanticCustomError("range", "must be a number, `max`, or {min: …, max: …}", {})


# An empty map is neither `max` nor a range, which only a schema must be told: `_as_range` sees it.
_ContextInput = _TokenInput | Literal["max"] | Annotated[ContextRange, Field(json_schema_extra={"minProperties": 1})]
_ConcurrencyInput = Count | Literal["max"] | Annotated[ConcurrencyRange, Field(json_schema_extra={"minProperties": 1})]
_ReplicasInput = ReplicaCount | Literal["max"] | Annotated[ReplicasRange, Field(json_schema_extra={"minProperties": 1})]

Context = Annotated[ContextRange, BeforeValidator(_as_range, json_schema_input_type=_ContextInput)]
Concurrency = Annotated[ConcurrencyRange, BeforeValidator(_as_range, json_schema_input_type=_ConcurrencyInput)]
Replicas = Annotated[ReplicasRange, BeforeValidator(_as_range, json_schema_input_type=_ReplicasInput)]
