"""vLLM releases that stackc compiles for: defaults read from their source, and overheads with where they come from.

Everything that no formula gives is a ByteRange with a source here and nowhere else. The overheads of 0.33.0 on GPUs are
carried over from measurements of 0.19.0 until logs of 0.33.0 itself are at hand; their intervals are widened for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compiler.units import GIB, MIB, ByteRange

Build = Literal["gpu", "cpu"]


@dataclass(frozen=True, slots=True)
class Overhead:
    """An estimated use of memory that no public formula gives."""

    bytes: ByteRange
    source: str


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What `vllm serve` assumes when the flags are absent."""

    max_num_batched_tokens: int
    max_num_seqs: int


@dataclass(frozen=True, slots=True)
class GpuOverheads:
    """Per rank, on one GPU. `_single` holds for one rank, `_parallel` for two and more.

    Attributes:
        context_single, context_parallel: CUDA context, NCCL and custom all-reduce; taken before vLLM's snapshot.
        non_torch_single, non_torch_parallel: growth outside torch's allocator while profiling.
        allocator: rotary tables and the allocator's rounding, on top of the parameters' own bytes.
        graphs_fixed: memory of CUDA graphs that does not depend on how many sizes are captured.
        graphs_per_size: for each captured size.
        flashinfer_workspace: where FlashInfer is the attention backend.
        sampler_bytes_per_logit: low, expected and high bytes for each of max_num_seqs × vocab_size, transient.
    """

    context_single: Overhead
    context_parallel: Overhead
    non_torch_single: Overhead
    non_torch_parallel: Overhead
    allocator: Overhead
    graphs_fixed: Overhead
    graphs_per_size: Overhead
    flashinfer_workspace: Overhead
    sampler_bytes_per_logit: tuple[float, float, float]
    sampler_source: str


@dataclass(frozen=True, slots=True)
class CpuOverheads:
    """What the processes of a CPU server need besides weights and KV cache."""

    process: Overhead


@dataclass(frozen=True, slots=True)
class Release:
    """One vLLM release in one build."""

    version: str
    build: Build
    image: str
    block_size: int
    minimum_capability: tuple[int, int]
    gpu: GpuOverheads | None = None
    cpu: CpuOverheads | None = None

    def batch_limits(self, memory: int, gpu_title: str) -> BatchLimits:
        """Server defaults by device (vllm/engine/arg_utils.py:get_batch_defaults, 0.33.0)."""
        if self.build == "cpu":
            return BatchLimits(2048, 128)
        if memory >= 160 * GIB:
            return BatchLimits(16384, 1024)
        if memory >= 70 * GIB and "a100" not in gpu_title.lower():
            return BatchLimits(8192, 1024)
        return BatchLimits(2048, 256)


def _gib(low: float, expected: float, high: float) -> ByteRange:
    return ByteRange(int(low * GIB), int(expected * GIB), int(high * GIB))


_GPU_0_33 = GpuOverheads(
    context_single=Overhead(
        _gib(0.30, 0.51, 0.80), "0.51 GiB on an H100 with vLLM 0.19.0 (worker init memory snapshot); widened"
    ),
    context_parallel=Overhead(
        _gib(1.00, 1.52, 2.10), "1.43 to 1.53 GiB per GPU on H100s with vLLM 0.19.0, 2 and 4 ranks; widened"
    ),
    non_torch_single=Overhead(
        _gib(0.0, 0.25, 0.50), "0.24 to 0.46 GiB on an H100 with vLLM 0.19.0 (non-torch forward increase); widened"
    ),
    non_torch_parallel=Overhead(
        _gib(0.05, 2.10, 2.40), "2.06 to 2.13 GiB per GPU on H100s with vLLM 0.19.0, 2 and 4 ranks; widened"
    ),
    allocator=Overhead(
        _gib(0.0, 0.06, 0.15), "H100 logs of vLLM 0.19.0 print 0.06 GiB more than the parameters' bytes; widened"
    ),
    graphs_fixed=Overhead(_gib(0.0, 0.20, 0.50), "0.03 to 0.14 GiB for a single captured size (vLLM 0.8 to 0.23)"),
    graphs_per_size=Overhead(
        ByteRange(2 * MIB, 14 * MIB, 23 * MIB), "0.64 to 1.57 GiB for 51 captured sizes on an H100 with vLLM 0.19.0"
    ),
    flashinfer_workspace=Overhead(
        ByteRange(0, 394 * MIB, 394 * MIB), "FlashInfer attention workspace, vllm/v1/attention/backends/flashinfer.py"
    ),
    # Per logit: the 16-bit row and its fp32 copy (vllm/v1/worker/gpu/sample/sampler.py) are certain; 3.8 × 4 bytes is
    # what 0.19.0 measured, before the sampler was rewritten.
    sampler_bytes_per_logit=(6.0, 8.0, 15.2),
    sampler_source="6 bytes by vllm/v1/worker/gpu/sample/sampler.py of 0.33.0; 15.2 measured on H100s with 0.19.0",
)

_CPU_0_32 = CpuOverheads(
    process=Overhead(
        _gib(1.2, 1.4, 2.0),
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
            image="vllm/vllm-openai:v0.33.0",
            block_size=16,
            # Cubins in the wheel start at sm_75.
            minimum_capability=(7, 5),
            gpu=_GPU_0_33,
        ),
        Release(
            version="0.32.0",
            build="cpu",
            image="vllm/vllm-openai-cpu:v0.32.0",
            # vllm/platforms/cpu.py:check_and_update_config
            block_size=128,
            minimum_capability=(0, 0),
            cpu=_CPU_0_32,
        ),
    )
}
