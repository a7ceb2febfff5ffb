"""Releases that stackc does not compile for, so that their logs can be read: what is known to differ from 0.33.0."""

from __future__ import annotations

import re
from dataclasses import replace

from compiler.engines.vllm.releases import RELEASES
from compiler.engines.vllm.releases.overheads import GpuOverheads, GraphOverhead, Overhead, SamplerPass, gib
from compiler.engines.vllm.releases.v0_33_0 import GPU
from compiler.units import KIB, MIB, ByteRange

_GRAPHS_0_19 = GraphOverhead(
    ByteRange.exact(0),
    ByteRange(205 * KIB, 576 * KIB, 768 * KIB),
    "530 to 640 KiB for each size and layer in 27 H100 logs of vLLM 0.19.0, 240 in one of 0.22.1; widened",
)
_GRAPHS_SHARED_0_19 = GraphOverhead(
    ByteRange.exact(0),
    ByteRange(205 * KIB, 576 * KIB, 860 * KIB),
    "430 to 520 KiB for each size and layer on 2 and 4 ranks, 835 on a pipeline's stage, in H100 logs of vLLM 0.19.0",
)
_GRAPHS_WIDE = GraphOverhead(
    ByteRange.exact(0),
    ByteRange(205 * KIB, 576 * KIB, 1229 * KIB),
    "0.41 to 1.2 MiB for each size and layer in H100 logs of vLLM 0.19.0, the most with latent attention",
)
# One tensor of the profile run's sampler for each term; N × V logits (vllm/v1/sample/sampler.py of 0.19.0).
_TRITON = SamplerPass(
    bytes_per_logit=(14.0, 14.0, 14.5),
    source="16-bit logits, float32 copy, probabilities and noise: vllm/v1/sample of 0.19.0",
)
_SORT = SamplerPass(
    bytes_per_logit=(34.0, 38.0, 39.0),
    source="16-bit and float32 logits, sorted values, int64 indices, scratch of torch.sort: topk_topp_sampler.py until "
    "0.16; 38 bytes in logs of 0.8.2 to 0.16.0 on H100, L4 and T4",
)

GPU_0_19 = replace(
    GPU,
    rules=replace(GPU.rules, graphs_in_budget=False, sampler_state=False, videos_run_ahead=True, largest_split=None),
    non_torch_single=Overhead(
        gib(0.02, 0.07, 0.16), "0.02 to 0.09 GiB on T4, A10G, L4, RTX 3090, A100 and H100 with vLLM 0.8 to 0.10"
    ),
    non_torch_nvlink=Overhead(
        gib(1.00, 2.09, 2.40), "2.06 GiB (2 ranks) and 2.13 GiB (4 ranks) on H100s with vLLM 0.19.0; widened"
    ),
    non_torch_pcie=Overhead(
        gib(0.03, 0.40, 1.20),
        "below 0.1 GiB on two T4, 0.30 on two L40S and 1.07 on A100s over 8 ranks (vLLM 0.5 to 0.22)",
    ),
    non_torch_pipeline=Overhead(gib(0.02, 0.07, 0.50), "0.07 GiB on two H100 stages with vLLM 0.19.0; widened"),
    stack=(400, 715, 900),
    stack_odd_vocabulary=(400, 1549, 1700),
    stack_source="0.17 to 0.20 GiB, and 0.39 for a vocabulary that is no multiple of 16, on an H100 with vLLM 0.19.0, "
    "over its resident threads",
    allocator=Overhead(ByteRange(0, 0, 64 * MIB), GPU.allocator.source),
    graphs=_GRAPHS_0_19,
    graphs_large=_GRAPHS_0_19,
    graphs_shared=_GRAPHS_SHARED_0_19,
    graphs_latent=_GRAPHS_WIDE,
    sampler=_TRITON,
)

_SORTING = replace(
    GPU_0_19,
    rules=replace(GPU_0_19.rules, sampler_buffers_rows=False, workspaces_kept=False),
    sampler=_SORT,
    stack=(0, 0, 0),
    stack_odd_vocabulary=(0, 0, 0),
    stack_source="",
    fragmentation=2,
    graphs=_GRAPHS_WIDE,
    graphs_large=_GRAPHS_WIDE,
    graphs_shared=_GRAPHS_WIDE,
)
_CHARGING = replace(GPU_0_19, rules=replace(GPU_0_19.rules, graphs_in_budget=True, largest_split=20 * MIB))
_HISTORY: tuple[tuple[tuple[int, int], GpuOverheads], ...] = (
    ((0, 0), _SORTING),
    ((0, 17), GPU_0_19),
    ((0, 21), _CHARGING),
    ((0, 28), replace(GPU, rules=replace(GPU.rules, videos_run_ahead=True))),
    ((0, 32), GPU),
)


def overheads_of(version: str) -> GpuOverheads | None:
    """What is known of any release by its number, such as `0.10.2`; None where that is no number."""
    compiled_for = RELEASES.get(version)
    if compiled_for is not None and compiled_for.gpu is not None:
        return compiled_for.gpu
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None or int(match[1]) > 0:
        return None
    number = (int(match[1]), int(match[2]))
    return [overheads for since, overheads in _HISTORY if since <= number][-1]
