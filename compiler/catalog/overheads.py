"""Memory of a vLLM release that no model's config decides: each figure with its interval and where it comes from.

What the source gives is a formula in compiler/memory; what only a measurement gives is a constant here, by release.
Logs of one GPU class are widened for the others. A calibration puts measurements in their place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from compiler.units import GIB, KIB, MIB, ByteRange


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
        row_buffer: whether a float32 row over the vocabulary is kept for each multiprocessor (topk_topp_triton.py).
        state: whether 4 bytes and two bits for each logit stay allocated (vllm/v1/worker/gpu/sample/penalties.py).
    """

    bytes_per_logit: tuple[float, float, float]
    row_buffer: bool
    state: bool
    source: str


@dataclass(frozen=True, slots=True)
class GpuOverheads:
    """Per rank, on one GPU. `_single` holds for one rank, `_parallel` for two and more.

    Attributes:
        context_single, context_parallel: CUDA context, NCCL and custom all-reduce; taken before vLLM's snapshot.
        non_torch_single: growth outside torch's allocator while profiling.
        non_torch_nvlink, non_torch_pcie: the same with tensor parallelism, by compute capability.
        non_torch_pipeline: the same where only pipeline stages talk.
        stack: local memory that CUDA reserves for kernels that spill, per resident thread, and for a vocabulary that is
            no multiple of 16; NCCL's kernels reserve as much before the snapshot, so ranks of a group do not see it.
        allocator: small buffers of the model beside parameters, rotary tables and the allocator's rounding.
        graphs: CUDA graphs, for each captured size and each layer.
        graphs_in_budget: whether vLLM takes them from `total × gpu_memory_utilization`.
        flashinfer_workspace: where FlashInfer is the attention backend.
        workspaces_kept: whether MoE workspaces stay allocated after a layer has run (vllm/v1/worker/workspace.py).
        fragmentation: the largest part of the activation peak, as 1/n, that torch's allocator holds in pieces besides
            it: vLLM counts allocated bytes, and runs the sampler again when the KV cache is there.
        videos_run_ahead: whether rotary tables of models that count positions by tokens are as long as for other
            models that read videos (before vllm/model_executor/models/qwen3_vl.py:mrope_positions_factor).
        largest_split: a larger tensor keeps what is left of its segment while weights are loaded; None: none does
            (vllm/v1/worker/gpu_worker.py:_scoped_allocator_max_split).
        blas_in_profile: whether cuBLAS's workspace is allocated in the profile run, not before it.
        calibration: of the file whose measurements replaced constants; empty where none did.
    """

    context_single: Overhead
    context_parallel: Overhead
    non_torch_single: Overhead
    non_torch_nvlink: Overhead
    non_torch_pcie: Overhead
    non_torch_pipeline: Overhead
    stack: tuple[int, int, int]
    stack_odd_vocabulary: tuple[int, int, int]
    stack_source: str
    allocator: Overhead
    graphs: Overhead
    graphs_in_budget: bool
    flashinfer_workspace: Overhead
    sampler: SamplerPass
    workspaces_kept: bool
    blas_in_profile: bool
    fragmentation: int
    videos_run_ahead: bool = False
    largest_split: int | None = None
    activation_correction: Overhead | None = None
    calibration: str = ""


@dataclass(frozen=True, slots=True)
class CpuOverheads:
    """What the processes of a CPU server need besides weights and KV cache."""

    process: Overhead


def _gib(low: float, expected: float, high: float) -> ByteRange:
    return ByteRange(int(low * GIB), int(expected * GIB), int(high * GIB))


_FLASHINFER = Overhead(
    ByteRange(0, 394 * MIB, 394 * MIB), "FlashInfer attention workspace, vllm/v1/attention/backends/flashinfer.py"
)
_ALLOCATOR = Overhead(
    ByteRange(0, 0, 64 * MIB),
    "parameters, rotary tables and rounding are within 10 MiB of logs of vLLM 0.7 to 0.19; widened",
)
_GRAPHS_0_19 = "0.41 to 1.2 MiB for each size and layer in H100 logs of vLLM 0.19.0, 0.24 in one of 0.22.1"

# One tensor of the profile run's sampler for each term; N × V logits (vllm/v1/sample/sampler.py of 0.19.0).
_TRITON = SamplerPass(
    bytes_per_logit=(14.0, 14.0, 14.5),
    row_buffer=True,
    state=False,
    source="16-bit logits, float32 copy, probabilities and noise: vllm/v1/sample of 0.19.0",
)
_SORT = SamplerPass(
    bytes_per_logit=(34.0, 38.0, 39.0),
    row_buffer=False,
    state=False,
    source="16-bit and float32 logits, sorted values, int64 indices, scratch of torch.sort: topk_topp_sampler.py until "
    "0.16; 38 bytes in logs of 0.8.2 to 0.16.0 on H100, L4 and T4",
)

GPU_0_19 = GpuOverheads(
    context_single=Overhead(
        _gib(0.30, 0.51, 0.80), "0.51 GiB on an H100 with vLLM 0.19.0 (worker init memory snapshot); widened"
    ),
    context_parallel=Overhead(
        _gib(1.00, 1.52, 2.10), "1.43 to 1.53 GiB per GPU on H100s with vLLM 0.19.0, 2 to 5 ranks; widened"
    ),
    non_torch_single=Overhead(
        _gib(0.02, 0.07, 0.16), "0.02 to 0.09 GiB on T4, A10G, L4, RTX 3090, A100 and H100 with vLLM 0.8 to 0.10"
    ),
    non_torch_nvlink=Overhead(
        _gib(1.00, 2.09, 2.40), "2.06 GiB (2 ranks) and 2.13 GiB (4 ranks) on H100s with vLLM 0.19.0; widened"
    ),
    non_torch_pcie=Overhead(
        _gib(0.20, 0.60, 1.20), "0.30 GiB on two L40S and 1.07 GiB on A100s over 8 ranks (vLLM 0.5 to 0.8)"
    ),
    non_torch_pipeline=Overhead(_gib(0.02, 0.07, 0.50), "0.07 GiB on two H100 stages with vLLM 0.19.0; widened"),
    stack=(400, 715, 900),
    stack_odd_vocabulary=(400, 1549, 1700),
    stack_source="0.17 to 0.20 GiB, and 0.39 for a vocabulary that is no multiple of 16, on an H100 with vLLM 0.19.0, "
    "over its resident threads",
    allocator=_ALLOCATOR,
    graphs=Overhead(ByteRange(205 * KIB, 576 * KIB, 1229 * KIB), _GRAPHS_0_19),
    graphs_in_budget=False,
    flashinfer_workspace=_FLASHINFER,
    sampler=_TRITON,
    workspaces_kept=True,
    blas_in_profile=True,
    fragmentation=2,
    videos_run_ahead=True,
)

GPU_0_33 = GpuOverheads(
    context_single=GPU_0_19.context_single,
    context_parallel=GPU_0_19.context_parallel,
    non_torch_single=Overhead(
        _gib(0.0, 0.07, 0.20), "0.02 to 0.09 GiB on T4, A10G, L4, RTX 3090, A100 and H100, vLLM 0.8 to 0.10; widened"
    ),
    non_torch_nvlink=Overhead(
        _gib(0.05, 2.10, 2.40), "2.06 to 2.13 GiB per GPU on H100s with vLLM 0.19.0, 2 and 4 ranks; widened"
    ),
    non_torch_pcie=Overhead(
        _gib(0.05, 0.60, 2.40), "0.30 GiB on two L40S, 1.07 GiB on A100s over 8 ranks, 0.63 GiB on four GH200; widened"
    ),
    non_torch_pipeline=Overhead(_gib(0.0, 0.25, 0.80), "0.07 GiB on two H100 stages with vLLM 0.19.0; widened"),
    stack=(0, 715, 1100),
    stack_odd_vocabulary=(0, 1549, 1900),
    stack_source=f"{GPU_0_19.stack_source}; widened",
    allocator=Overhead(ByteRange(0, 16 * MIB, 128 * MIB), _ALLOCATOR.source),
    graphs=Overhead(ByteRange(102 * KIB, 576 * KIB, 1229 * KIB), f"{_GRAPHS_0_19}; widened"),
    graphs_in_budget=True,
    flashinfer_workspace=_FLASHINFER,
    sampler=SamplerPass(
        # Without FlashInfer's sampler the masks are applied in place.
        bytes_per_logit=(6.0, 14.0, 15.2),
        row_buffer=True,
        state=True,
        source="16-bit logits, float32 copy, masked logits and probabilities: vllm/v1/worker/gpu/sample/sampler.py and "
        "flashinfer_sample of 0.33.0; not measured",
    ),
    workspaces_kept=True,
    blas_in_profile=True,
    # The profile run keeps large blocks whole (gpu_worker.py:_scoped_allocator_max_split).
    fragmentation=4,
    largest_split=20 * MIB,
)

# Releases that stackc does not compile for, so that old logs can be read: what is known to differ from 0.19.
_SORTING = replace(
    GPU_0_19, sampler=_SORT, stack=(0, 0, 0), stack_odd_vocabulary=(0, 0, 0), stack_source="", workspaces_kept=False
)
_CHARGING = replace(GPU_0_19, graphs_in_budget=True, largest_split=20 * MIB)
_HISTORY: tuple[tuple[tuple[int, int], GpuOverheads], ...] = (
    ((0, 0), _SORTING),
    ((0, 17), GPU_0_19),
    ((0, 21), _CHARGING),
    ((0, 28), replace(GPU_0_33, videos_run_ahead=True)),
    ((0, 32), GPU_0_33),
)


def overheads_of(version: str) -> GpuOverheads | None:
    """What is known of any release by its number, such as `0.10.2`; None where that is no number."""
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None or int(match[1]) > 0:
        return None
    number = (int(match[1]), int(match[2]))
    return [overheads for since, overheads in _HISTORY if since <= number][-1]
