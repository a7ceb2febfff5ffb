"""What all records of a spec share: their base class, and the types of their values."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from compiler.spec.ranges import unit_error
from compiler.units import SIZE_PATTERN, UnitError, parse_bytes


def _as_bytes(value: object) -> object:
    # A bare number has no unit, and guessing one would be off by 2^30.
    if isinstance(value, str | int) and not isinstance(value, bool):
        try:
            return parse_bytes(str(value))
        except UnitError as error:
            raise unit_error(error) from error
    return value


def as_list(value: object) -> object:
    """A single name where a list may stand; also what is none, so that it is told as the wrong name that it is."""
    return [value] if isinstance(value, str | int | float) else value


def _without_trailing_slash(value: object) -> object:
    return value.rstrip("/") if isinstance(value, str) and len(value) > 1 else value


# What a schema says of a value before it is read; the bound is of the bytes, which text does not show.
_SizeText = Annotated[str, StringConstraints(pattern=SIZE_PATTERN)]

Bytes = Annotated[int, Field(ge=0, le=2**50), BeforeValidator(_as_bytes, json_schema_input_type=_SizeText)]
# Names end up in file names, unit names, compose services and shell words.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,40}$")]
ServedName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,95}$")]
# Anything a shell, systemd or compose would read twice is kept out of paths.
AbsolutePath = Annotated[
    str, StringConstraints(pattern=r"^/[A-Za-z0-9._/+@-]+$"), BeforeValidator(_without_trailing_slash)
]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9./][A-Za-z0-9._/-]{0,255}$")]
GpuUuid = Annotated[str, StringConstraints(pattern=r"^(?:GPU|MIG)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Publisher = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]{1,253}$")]
# A name of Linux's has 15 bytes (IFNAMSIZ with its end).
Interface = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$")]
ImageReference = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][A-Za-z0-9._/:@-]{0,255}$")]


class SpecModel(BaseModel):
    """Base of all spec records: frozen, strict, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)
