"""What servers run on, as solver and engines know it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """What servers share: a GPU of the node, or the memory of a CPU node.

    Attributes:
        total, reserve: bytes.
        total_source: where the total is from.
        capability: of a GPU; None of main memory.
        multiprocessors: of the GPU or its slice; None where only its memory and compute capability are given.
    """

    title: str
    total: int
    total_source: str
    reserve: int
    capability: tuple[int, int] | None
    multiprocessors: int | None = None

    @property
    def usable(self) -> int:
        """Bytes that servers may take."""
        return self.total - self.reserve


@dataclass(frozen=True, slots=True)
class Machine:
    """The devices of one node, or of several nodes that one server has to itself.

    They are of one compute capability, and alike but for their memory.

    Attributes:
        nodes: how many; of each as many devices, those of one node together.
        host: main memory beside GPUs; None where the spec does not say how much there is, or where there are none.
        mig: the profile where they are slices of GPUs, which cannot reach each other.
    """

    devices: tuple[Device, ...]
    host: Device | None = None
    mig: str | None = None
    nodes: int = 1

    @property
    def devices_each(self) -> int:
        """Devices of one node."""
        return len(self.devices) // self.nodes
