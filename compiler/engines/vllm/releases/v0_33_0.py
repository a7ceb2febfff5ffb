"""vLLM 0.33.0 for GPUs."""

from __future__ import annotations

from compiler.engines.vllm.releases.overheads import (
    FEW_GRAPHS,
    ContextGrowth,
    GpuOverheads,
    GraphOverhead,
    Overhead,
    SamplerPass,
    gib,
)
from compiler.engines.vllm.releases.release import DATA, Release
from compiler.engines.vllm.releases.rules import Rules
from compiler.engines.vllm.releases.v0_33_0_schemes import SCHEMES
from compiler.units import GIB, KIB, MIB, ByteRange

_FLASHINFER = Overhead(
    ByteRange(0, 394 * MIB, 394 * MIB), "FlashInfer attention workspace, vllm/v1/attention/backends/flashinfer.py"
)
# What is captured, not vLLM's estimate of it, which it takes from a cache that it sizes itself. Drivers of 2023 keep
# 1.4 MiB and more for each size and layer (an A100 with driver 535, vLLM 0.19.1); the pinned release needs newer ones.
_GRAPHS = GraphOverhead(
    ByteRange(0, 200 * MIB, 512 * MIB),
    ByteRange(0, 150 * KIB, 200 * KIB),
    "0.09 to 0.26 GiB with up to 11 sizes; with 51, 0.23 to 0.65 for 28 and 32 layers, 0.71 for 42, 0.30 to 0.94 for "
    "64, in 16 logs of vLLM 0.19 to 0.31 on cards but 9.x and 10.x; widened",
)
_GRAPHS_LARGE = GraphOverhead(
    ByteRange(0, 200 * MIB, 512 * MIB),
    ByteRange(0, 250 * KIB, 440 * KIB),
    "with 51 sizes 0.71 GiB for 26 layers, 1.41 for 48 in H100 logs of vLLM 0.19, 0.98 for 36 in one of 0.23; widened",
)
_GRAPHS_SHARED = GraphOverhead(
    FEW_GRAPHS,
    ByteRange(102 * KIB, 650 * KIB, 1229 * KIB),
    "0.3 to 0.8 MiB for each size and layer in 3 logs of vLLM 0.25 to 0.29, up to 1.2 in those of 0.19; widened",
)

# A card's total less what is free when vLLM first looks: 0.11 GiB in a slice of 16 multiprocessors, 0.19 on an L4 with
# 58, 0.41 on an A100 with 108, 0.51 on H100s with 132, 0.54 to 0.56 on an RTX PRO 6000 with 188, 0.61 on a B300.
_CONTEXT = Overhead(
    gib(0.10, 0.51, 0.80),
    "0.11 to 0.61 GiB on nine kinds of cards, about 4 MiB for each multiprocessor, in 56 logs of vLLM 0.19 to 0.31",
)
_CONTEXT_GROWTH = ContextGrowth(each=4 * MIB, most_expected=int(0.62 * GIB), base=80 * MIB, most_each=44 * MIB // 10)
_CONTEXT_HOPPER = Overhead(gib(1.00, 1.52, 2.10), "1.43 to 2.05 GiB per GPU on H100s, in 22 logs of vLLM 0.19; widened")
_CONTEXT_NVLINK = Overhead(
    gib(1.40, 1.55, 2.60),
    "2.16 GiB per GPU on eight H200, 2.35 on GB300 and 2.47 on four GB200, in logs of vLLM 0.26 to 0.29; widened",
)
_CONTEXT_PCIE = Overhead(
    gib(0.45, 1.00, 2.10), "0.45 to 1.18 GiB per GPU with two to eight ranks over PCIe, in 7 logs of vLLM; widened"
)

GPU = GpuOverheads(
    rules=Rules(
        graphs_in_budget=True,
        gb10_batches_small=True,
        sampler_buffers_rows=True,
        sampler_state=True,
        workspaces_kept=True,
        blas_in_profile=True,
        videos_run_ahead=False,
        largest_split=20 * MIB,
    ),
    measured="0.19 to 0.31",
    context_single=_CONTEXT,
    context_growth=_CONTEXT_GROWTH,
    context_hopper=_CONTEXT_HOPPER,
    context_nvlink=_CONTEXT_NVLINK,
    context_pcie=_CONTEXT_PCIE,
    non_torch_single=Overhead(
        gib(0.0, 0.07, 0.16),
        "0.02 to 0.09 GiB on T4, A10G, L4, RTX 3090, A100 and H100, vLLM 0.8 to 0.10; with stacks and buffers 0.15 to "
        "0.56 GiB beside the weights in 9 logs of 0.26 to 0.31",
    ),
    non_torch_nvlink=Overhead(
        gib(0.05, 1.45, 2.40),
        "1.70 GiB per GPU on 4 and 1.74 on 8 ranks, with buffers, in logs of vLLM 0.27 to 0.29; 0.95 on 4 GB200 with "
        "0.26; 2.06 to 2.13 on H100s with 0.19.0",
    ),
    non_torch_pcie=Overhead(
        gib(0.03, 0.40, 2.40),
        "below 0.1 GiB on two T4, 0.30 on two L40S, 1.07 on A100s over 8 ranks, 0.63 on four GH200; widened",
    ),
    non_torch_pipeline=Overhead(gib(0.0, 0.25, 0.80), "0.07 GiB on two H100 stages with vLLM 0.19.0; widened"),
    stack=(0, 715, 900),
    stack_odd_vocabulary=(0, 1549, 1700),
    stack_source="0.17 to 0.20 GiB, and 0.39 for a vocabulary that is no multiple of 16, on an H100 with vLLM 0.19.0, "
    "over its resident threads; widened",
    allocator=Overhead(
        ByteRange(0, 16 * MIB, 96 * MIB),
        "parameters, rotary tables and rounding are within 10 MiB of logs of vLLM 0.7 to 0.19; widened",
    ),
    graphs=_GRAPHS,
    graphs_large=_GRAPHS_LARGE,
    graphs_shared=_GRAPHS_SHARED,
    graphs_latent=_GRAPHS_SHARED,
    flashinfer_workspace=_FLASHINFER,
    sampler=SamplerPass(
        # Without FlashInfer's sampler the masks are applied in place.
        bytes_per_logit=(6.0, 14.0, 15.2),
        source="16-bit logits, float32 copy, masked logits and probabilities: vllm/v1/worker/gpu/sample/sampler.py and "
        "flashinfer_sample of 0.33.0; not measured",
    ),
    # The profile run keeps large blocks whole (gpu_worker.py:_scoped_allocator_max_split).
    fragmentation=4,
)

RELEASE = Release(
    version="0.33.0",
    build="gpu",
    image="vllm/vllm-openai:v0.33.0",
    block_size=16,
    # Cubins in the wheel start at sm_75.
    minimum_capability=(7, 5),
    schemes=SCHEMES,
    data=DATA / "0.33.0",
    gpu=GPU,
    # The wheel's METADATA asks for the CUDA 13 packages of PyPI.
    cuda="13",
    minimum_driver="580",
)
