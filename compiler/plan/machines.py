"""The plan's types of machines. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Card:
    """A model of GPU.

    Attributes:
        title: its name for people.
        memory: bytes, as CUDA reports them.
        compute_capability: such as (12, 0).
        product: the word of that name that the driver must know the card by, such as `L40S`; None for a card that
            only the spec describes.
    """

    title: str
    memory: int
    compute_capability: tuple[int, int]
    product: str | None = None


@dataclass(frozen=True, slots=True)
class GpuNode:
    """A machine with GPUs.

    Attributes:
        title, memory, compute_capability, product: of its cards (see `Card`); of the first where they differ.
        cards: of each GPU, by index, where they are of several models; else empty.
        address: at which the stack's other nodes reach it; None where the spec gives none.
        uuids: full `GPU-…` or `MIG-…` identifiers by index; empty if the spec gives none.
        mig: the profile, where each is a slice of a GPU.
    """

    name: str
    title: str
    count: int
    memory: int
    compute_capability: tuple[int, int]
    uuids: tuple[str, ...] = ()
    mig: str | None = None
    product: str | None = None
    address: str | None = None
    cards: tuple[Card, ...] = ()

    def card(self, index: int) -> Card:
        """The card that a GPU is."""
        return self.cards[index] if self.cards else self.model

    @property
    def model(self) -> Card:
        """Of its only model of card, or of the first."""
        return Card(self.title, self.memory, self.compute_capability, self.product)

    @property
    def models(self) -> Mapping[Card, tuple[int, ...]]:
        """Its models of cards, and the GPUs that are of each."""
        found: dict[Card, list[int]] = {}
        for index in range(self.count):
            found.setdefault(self.card(index), []).append(index)
        return {card: tuple(indices) for card, indices in found.items()}

    def described(self, times: str = "×") -> str:
        """For people: how many of which cards."""
        return ", ".join(f"{len(indices)} {times} {card.title}" for card, indices in self.models.items())


@dataclass(frozen=True, slots=True)
class CpuNode:
    """A machine that serves from its main memory. `address` as of a node with GPUs."""

    name: str
    memory: int
    address: str | None = None
