"""What of a server decides its speed."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.speed.cards import Card
from compiler.speed.constants import FITTED, Constants
from compiler.speed.load import Pool
from compiler.speed.shape import Shape


@dataclass(frozen=True, slots=True)
class Server:
    """A model on its cards.

    Attributes:
        ranks: cards that it is divided over, by tensor parallelism.
        pool: of one rank.
    """

    shape: Shape
    card: Card
    ranks: int
    pool: Pool
    constants: Constants = FITTED
