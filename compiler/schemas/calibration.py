"""The calibration file as a type. `compiler.calibration.file` reads it, and says in words what is wrong with it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from compiler.calibration.file import LARGEST
from compiler.calibration.speeds import LEAST_FIGURE, MOST_COUNT, MOST_FIGURE
from compiler.engines.registry import ENGINES
from compiler.spec.engines import EngineName

_COMPONENTS = tuple(sorted({name for engine in ENGINES.values() for name in engine.start_ups.components}))

Count = Annotated[int, Field(ge=1, lt=MOST_COUNT)]
Figure = Annotated[float, Field(ge=LEAST_FIGURE, lt=MOST_FIGURE)]
Text = Annotated[str, Field(pattern=r"\S")]
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


class MeasuredSpeed(BaseModel):
    """What a client measured of a server under one load.

    Attributes:
        service: as it was called.
        model: repository, or folder.
        quantization: method, or `none`.
        gpus: that it was divided over.
        concurrency: requests that were open.
        prompt: tokens of each request.
        answer: tokens of each answer.
        ttft_ms: to the first token, the median.
        tpot_ms: from token to token after it, likewise.
        output_rate: tokens a second of all requests together.
        recorded: when.
    """

    service: Text
    model: Text
    quantization: Text
    gpus: Count
    concurrency: Count
    prompt: Count
    answer: Count
    ttft_ms: Figure
    tpot_ms: Figure
    output_rate: Figure
    recorded: Text


class CalibrationFile(BaseModel):
    """What start-ups of one release on one card took, as `stackc calibrate` writes it.

    Attributes:
        engine: which engine, with its release; text alone is a release of vLLM.
        gpu: the card's name in the catalogue (`stackc gpus`).
        models: that were served when it was measured.
        components: of those that its engine has; bytes, unless a remark in the file says otherwise.
        speed: of servers on such cards.
    """

    engine: Annotated[dict[EngineName, str], Field(min_length=1, max_length=1)] | str
    gpu: str
    models: list[str] = []
    components: dict[Literal[_COMPONENTS], Figures]  # type: ignore[valid-type]  # the engines have the list of them
    speed: list[MeasuredSpeed] = []
