"""How vLLM divides a model over GPUs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Degrees:
    """Into how many parts each layer is divided, and into how many stages the layers.

    Attributes:
        machines: that have as many of its ranks each, one after another.
    """

    tensor: int = 1
    pipeline: int = 1
    machines: int = 1

    @property
    def gpus(self) -> int:
        """One for each rank."""
        return self.tensor * self.pipeline

    @property
    def gpus_each(self) -> int:
        """Of one machine."""
        return self.gpus // self.machines

    @property
    def splits_over_network(self) -> bool:
        """Whether parts of one layer are on several machines: ranks are numbered stage by stage."""
        return self.gpus_each % self.tensor != 0

    @property
    def is_fallback(self) -> bool:
        """Stages wait for one another, so that layers are divided first."""
        return self.pipeline > 1

    def __str__(self) -> str:
        one = "1 GPU" if self.gpus == 1 else f"{self.gpus} GPUs"
        staged = one if self.pipeline == 1 else f"{one} in {self.pipeline} pipeline stages"
        return staged if self.machines == 1 else f"{staged} of {self.machines} machines"
