"""What a service says of speculative decoding: who guesses tokens, and how many the model then checks at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compiler.spec.base import ModelName, SpecModel

Method = Literal["ngram", "eagle3", "draft"]

MOST_TOKENS = 32


class SpeculateSpec(SpecModel):
    """Tokens are guessed ahead of the model, which checks all of them in one step and keeps those that it agrees with.

    Attributes:
        method: `ngram` looks for what was said before in the same text, and needs no second model; `draft` asks a
            smaller model with the same vocabulary; `eagle3` a head that was trained on this model's hidden states.
        model: of `draft` and `eagle3`: its repository on the Hub, or its folder on the server.
        tokens: guessed in each step.
    """

    method: Method
    model: ModelName | None = None
    tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = 3
