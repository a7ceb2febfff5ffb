"""The calibration file as a type. `compiler.calibration.file` reads it, and says in words what is wrong with it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from compiler.calibration.file import COMPONENTS, LARGEST

Size = Annotated[int, Field(ge=0, lt=LARGEST)]


class Figures(BaseModel):
    """An interval, and how many start-ups it rests on.

    Attributes:
        low: the least that was seen.
        expected: the middle.
        high: the most that was seen.
        count: start-ups.
    """

    low: Size
    expected: Size
    high: Size
    count: Annotated[int, Field(ge=1, lt=LARGEST)]


class CalibrationFile(BaseModel):
    """What start-ups of one release on one card took, as `stackc calibrate` writes it.

    Attributes:
        engine: the release of vLLM.
        gpu: the card's name in the catalogue (`stackc gpus`).
        models: that were served when it was measured.
        components: bytes, unless a remark in the file says otherwise.
    """

    engine: str
    gpu: str
    models: list[str] = []
    components: dict[Literal[COMPONENTS], Figures]  # type: ignore[valid-type]  # the tuple is the one list of them
