"""What releases of vLLM do differently: named facts, which formulas ask for in place of a version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """How one release starts on a GPU; those of a log that is read may be of any release since 0.8.

    Attributes:
        graphs_in_budget: whether CUDA graphs are taken from `total × gpu_memory_utilization` (since 0.21).
        gb10_batches_small: whether a GB10 gets the batches of a small card by default, for all its memory
            (vllm/engine/arg_utils.py:get_batch_defaults).
        sampler_buffers_rows: whether the profile run's sampler keeps a float32 row over the vocabulary for each
            multiprocessor (vllm/v1/sample/ops/topk_topp_triton.py).
        sampler_state: whether 4 bytes and two bits for each logit stay allocated for the sequences
            (vllm/v1/worker/gpu/sample/penalties.py).
        workspaces_kept: whether workspaces of experts stay allocated after a layer (vllm/v1/worker/workspace.py).
        blas_in_profile: whether cuBLAS's workspace is allocated in the profile run, not before it.
        videos_run_ahead: whether rotary tables of models that count positions by tokens are as long as for other
            models that read videos (before vllm/model_executor/models/qwen3_vl.py:mrope_positions_factor).
        largest_split: bytes from which a tensor keeps what is left of its segment while weights are loaded; None: none
            does (vllm/v1/worker/gpu_worker.py:_scoped_allocator_max_split).
    """

    graphs_in_budget: bool
    gb10_batches_small: bool
    sampler_buffers_rows: bool
    sampler_state: bool
    workspaces_kept: bool
    blas_in_profile: bool
    videos_run_ahead: bool
    largest_split: int | None
