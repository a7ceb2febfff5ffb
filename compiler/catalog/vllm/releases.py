"""vLLM releases that stackc compiles for, with defaults read from their source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compiler.catalog.images import VLLM_IMAGES
from compiler.catalog.vllm.overheads import GPU_0_33, CpuOverheads, GpuOverheads, Overhead
from compiler.units import GIB, ByteRange

Build = Literal["gpu", "cpu"]

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
    gpu: GpuOverheads | None = None
    cpu: CpuOverheads | None = None
    cuda: str | None = None
    minimum_driver: str | None = None
    assumes_full: bool = False

    def batch_limits(self, memory: int, gpu_title: str, capability: tuple[int, int] | None = None) -> BatchLimits:
        """Server defaults by device (vllm/engine/arg_utils.py:get_batch_defaults, 0.33.0)."""
        if self.build == "cpu":
            return BatchLimits(2048, 128)
        if memory >= 160 * GIB:
            return BatchLimits(16384, 1024)
        if memory >= 70 * GIB and "a100" not in gpu_title.lower() and capability != _GB10:
            return BatchLimits(8192, 1024)
        return BatchLimits(2048, 256)


_CPU_0_32 = CpuOverheads(
    process=Overhead(
        ByteRange(int(1.2 * GIB), int(1.4 * GIB), 2 * GIB),
        "1323 to 1412 MiB beside weights and KV cache (PSS of API server, engine and worker), up to 1585 MiB while "
        "starting, measured with the CPU build of vLLM 0.32.0",
    )
)

RELEASES = {
    release.version: release
    for release in (
        Release(
            version="0.33.0",
            build="gpu",
            image=VLLM_IMAGES["0.33.0"].reference,
            block_size=16,
            # Cubins in the wheel start at sm_75.
            minimum_capability=(7, 5),
            gpu=GPU_0_33,
            # The wheel's METADATA asks for the CUDA 13 packages of PyPI.
            cuda="13",
            minimum_driver="580",
        ),
        Release(
            version="0.32.0",
            build="cpu",
            image=VLLM_IMAGES["0.32.0"].reference,
            # vllm/platforms/cpu.py:check_and_update_config
            block_size=128,
            minimum_capability=(0, 0),
            cpu=_CPU_0_32,
        ),
    )
}
