"""How fast a service is to be: checked against an estimate when the stack is compiled."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from compiler.spec.base import SpecModel
from compiler.spec.ranges import Tokens

PROMPT_TOKENS: Final = 1024
ANSWER_TOKENS: Final = 256
"""Of the request for which speeds are told where a spec names no other: an assumption, of a chat with some context."""

_DURATION_PATTERN = r"^([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(ms|s)$"


def _as_seconds(value: object) -> object:
    """A time with its unit; a bare number has none, and guessing one would be off by a thousand."""
    found = re.fullmatch(_DURATION_PATTERN, value, re.ASCII) if isinstance(value, str) else None
    if found is not None:
        return float(found[1]) / (1000 if found[2] == "ms" else 1)
    raise PydanticCustomError("duration", "must be a time with its unit, such as 2s or 500ms")


Seconds = Annotated[
    float,
    Field(gt=0, le=3600),
    BeforeValidator(_as_seconds, json_schema_input_type=Annotated[str, StringConstraints(pattern=_DURATION_PATTERN)]),
]


class ObjectivesSpec(SpecModel):
    """What requests are to see while as many run as `concurrency` promises.

    Attributes:
        ttft_p95: time to the first token that 95 of 100 requests may see at most, such as 2s or 500ms.
        tokens_per_second: that each request gets at least after its first token.
        prompt_tokens: of a request, for which this is to hold.
        answer_tokens: of it, likewise.
    """

    ttft_p95: Seconds | None = None
    tokens_per_second: Annotated[float, Field(gt=0, le=100_000)] | None = None
    prompt_tokens: Tokens = PROMPT_TOKENS
    answer_tokens: Tokens = ANSWER_TOKENS

    @property
    def tokens(self) -> int:
        """Of a request, in all."""
        return self.prompt_tokens + self.answer_tokens
