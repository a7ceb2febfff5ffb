"""Memory of a vLLM release that no model's config decides: each figure with its interval and where it comes from.

What the source gives is a formula in compiler/engines/vllm/memory; what only a measurement gives is a constant in the
release's module. Logs of one GPU class are widened for the others. A calibration puts measurements in their place.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.engines.vllm.releases.rules import Rules
from compiler.units import GIB, MIB, ByteRange


@dataclass(frozen=True, slots=True)
class Overhead:
    """An estimated use of memory that no public formula gives."""

    bytes: ByteRange
    source: str


@dataclass(frozen=True, slots=True)
class SamplerPass:
    """What the sampler allocates in the profile run.

    Attributes:
        bytes_per_logit: low, expected and high, for each sequence and each token of the vocabulary.
    """

    bytes_per_logit: tuple[float, float, float]
    source: str


@dataclass(frozen=True, slots=True)
class GraphOverhead:
    """What CUDA graphs take: all of them together, and for each captured size and each layer."""

    base: ByteRange
    each: ByteRange
    source: str


@dataclass(frozen=True, slots=True)
class ContextGrowth:
    """How a CUDA context grows with the multiprocessors of its card.

    Attributes:
        each, most_expected: bytes expected for each, and of all of them at most.
        base, most_each: bytes that any context has, and for each multiprocessor, at the high end.
    """

    each: int
    most_expected: int
    base: int
    most_each: int


@dataclass(frozen=True, slots=True)
class GpuOverheads:
    """Per rank, on one GPU. `_single` holds for one rank, `_parallel` for two and more.

    Attributes:
        rules: what of its start other releases do differently.
        measured: the releases whose start-ups the figures are of.
        context_single: CUDA context of one rank, taken before vLLM's snapshot.
        context_growth: how it grows within `context_single`; None where that was measured on the card itself.
        context_hopper, context_nvlink, context_pcie: of two ranks and more, with NCCL and custom all-reduce: of fewer
            than eight over NVLink on compute capability 9.x, of eight and more or on 10.x, and over PCIe.
        non_torch_single: growth outside torch's allocator while profiling.
        non_torch_nvlink, non_torch_pcie: the same with tensor parallelism, by compute capability.
        non_torch_pipeline: the same where only pipeline stages talk.
        stack: local memory that CUDA reserves for kernels that spill, per resident thread, and for a vocabulary that is
            no multiple of 16; NCCL's kernels reserve as much before the snapshot, so ranks of a group do not see it.
        allocator: small buffers of the model beside parameters, rotary tables and the allocator's rounding.
        graphs: CUDA graphs of one rank.
        graphs_large: the same on compute capability 9.x and 10.x, whose attention kernels are others.
        graphs_shared, graphs_latent: the same where ranks share the work, and where attention is over latents.
        flashinfer_workspace: where FlashInfer is the attention backend.
        fragmentation: the largest part of the activation peak, as 1/n, that torch's allocator holds in pieces besides
            it: vLLM counts allocated bytes, and runs the sampler again when the KV cache is there.
        calibration: of the file whose measurements replaced constants; empty where none did.
    """

    rules: Rules
    measured: str
    context_single: Overhead
    context_growth: ContextGrowth | None
    context_hopper: Overhead
    context_nvlink: Overhead
    context_pcie: Overhead
    non_torch_single: Overhead
    non_torch_nvlink: Overhead
    non_torch_pcie: Overhead
    non_torch_pipeline: Overhead
    stack: tuple[int, int, int]
    stack_odd_vocabulary: tuple[int, int, int]
    stack_source: str
    allocator: Overhead
    graphs: GraphOverhead
    graphs_large: GraphOverhead
    graphs_shared: GraphOverhead
    graphs_latent: GraphOverhead
    flashinfer_workspace: Overhead
    sampler: SamplerPass
    fragmentation: int
    activation_correction: Overhead | None = None
    calibration: str = ""


@dataclass(frozen=True, slots=True)
class CpuOverheads:
    """What the processes of a CPU server need besides weights and KV cache."""

    process: Overhead


FEW_GRAPHS = ByteRange(0, 0, 160 * MIB)
"""Beside what each size and layer takes, measured with many sizes: 0.06 to 0.14 GiB were seen with two."""


def gib(low: float, expected: float, high: float) -> ByteRange:
    """An interval given in GiB."""
    return ByteRange(int(low * GIB), int(expected * GIB), int(high * GIB))
