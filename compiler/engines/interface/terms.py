"""What a service asks of its devices in plain numbers: every range of the spec stands at one value."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything in a service that decides its memory and its place, besides the model. See ServiceSpec.

    Attributes:
        context: tokens of the longest request.
        concurrency: such requests that are promised at once.
        seats: requests at once where the spec does not say.
        gpus: indices that the spec names.
        options: what else of the spec decides, as the engine keeps it.
    """

    context: int
    concurrency: int
    seats: int
    gpus: tuple[int, ...]
    share: int
    options: Hashable
