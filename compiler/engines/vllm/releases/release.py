"""What a release of vLLM is: one module of this package each, with what its files and its starts say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal

from compiler.engines.vllm.releases.overheads import CpuOverheads, GpuOverheads
from compiler.engines.vllm.releases.quantization import Scheme
from compiler.units import GIB

Build = Literal["gpu", "cpu"]

DATA = files(__package__)
"""Each release has a folder in it, of the name of its version."""

_GB10 = (12, 1)  # the memory of a large GPU, and not its speed


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What `vllm serve` assumes when the flags are absent."""

    max_num_batched_tokens: int
    max_num_seqs: int


@dataclass(frozen=True, slots=True)
class Release:
    """One vLLM release in one build.

    Attributes:
        unproved: architectures that it has a class for, and that it starts otherwise than our formulas say, with what
            is otherwise: they are refused.
        latent_block_size: tokens of a block where attention is over latents and no GPU's backend decides it.
        data: the folder with what the extractors of tools/ read from its files.
        schemes: how it stores the weights of quantized checkpoints, by name.
        cuda: the CUDA release that the build holds; None on CPUs.
        minimum_driver: the oldest NVIDIA driver that runs that release, by NVIDIA's table of minor version
            compatibility (https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html).
        assumes_full: an architecture without formulas is taken for full attention in every layer (`--assume full`).
    """

    version: str
    build: Build
    image: str
    block_size: int
    minimum_capability: tuple[int, int]
    schemes: Mapping[str, Scheme] = field(hash=False)
    data: Traversable = field(hash=False)
    unproved: Mapping[str, str] = field(default_factory=dict, hash=False)
    latent_block_size: int | None = None
    gpu: GpuOverheads | None = field(default=None, hash=False)
    cpu: CpuOverheads | None = field(default=None, hash=False)
    cuda: str | None = None
    minimum_driver: str | None = None
    assumes_full: bool = False

    @property
    def title(self) -> str:
        """The engine, for messages."""
        return "vLLM"

    @property
    def unmeasured(self) -> str | None:
        """Why no calibration can be of it; None where one can."""
        return "the CPU build" if self.gpu is None else None

    @property
    def stand_ins(self) -> str | None:
        """Of which releases its overheads are; None where start-ups of its own were measured, or none can be."""
        return None if self.gpu is None or self.gpu.calibration else self.gpu.measured

    def batch_limits(self, memory: int, gpu_title: str, capability: tuple[int, int] | None = None) -> BatchLimits:
        """Server defaults by device (vllm/engine/arg_utils.py:get_batch_defaults)."""
        if self.gpu is None:
            return BatchLimits(2048, 128)
        if memory >= 160 * GIB:
            return BatchLimits(16384, 1024)
        is_small = "a100" in gpu_title.lower() or (self.gpu.rules.gb10_batches_small and capability == _GB10)
        if memory >= 70 * GIB and not is_small:
            return BatchLimits(8192, 1024)
        return BatchLimits(2048, 256)
