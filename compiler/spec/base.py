"""What all records of a spec share: their base class, and the types of their values."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from compiler.spec.forms import coined, form
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
Name = Annotated[
    str, coined(r"^[a-z][a-z0-9-]{0,40}$", "lower-case letters, digits and `-`, a letter first, at most 41 of them")
]
ServedName = Annotated[
    str,
    coined(
        r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,95}$", "letters, digits and any of `._/:-`, no sign first, at most 96 of them"
    ),
]
# Anything a shell, systemd or compose would read twice is kept out of paths.
AbsolutePath = Annotated[
    str,
    form(r"^/[A-Za-z0-9._/+@-]+$", "an absolute path of letters, digits and any of `._/+@-`"),
    BeforeValidator(_without_trailing_slash),
]
ModelName = Annotated[str, form(r"^[A-Za-z0-9./][A-Za-z0-9._/-]{0,255}$", "letters, digits and any of `._/-`")]
GpuUuid = Annotated[
    str,
    form(
        r"^(?:GPU|MIG)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        "a UUID as `nvidia-smi -L` prints it, `GPU-…` or `MIG-…`",
    ),
]
Publisher = Annotated[
    str, form(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$", "a name of the Hub: letters, digits and any of `._-`")
]
Host = Annotated[str, form(r"^[A-Za-z0-9.:-]{1,253}$", "an address, or a name of a host")]
# A name of Linux's has 15 bytes (IFNAMSIZ with its end).
Interface = Annotated[
    str, form(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$", "a name of an interface as `ip link` prints it, at most 15 letters")
]
ImageReference = Annotated[
    str, form(r"^[a-z0-9][A-Za-z0-9._/:@-]{0,255}$", "an image as registries name it, `REGISTRY/NAME:TAG`")
]


class SpecModel(BaseModel):
    """Base of all spec records: frozen, strict, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)
