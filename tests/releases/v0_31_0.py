"""vLLM 0.31.0 for GPUs: what its files say that it does differently from 0.33.0, asked with transformers 5.17.0.

- Options: 311 instead of 320; the nine that came are the only ones that differ by name. `--kv-cache-dtype` has a
  closed list of values, seven tool parsers and seven reasoning parsers are missing, and 48 switches cannot be turned
  round.
- Architectures: 387 names instead of 415. MedusaModel is gone since; eight that had a class of their own (Arcee, Cwm,
  Glm, GPTNeoX, Jais2, Mellum, Phi, SeedOss) run through transformers now. Metrics: 48 instead of 50.
- Its planner gives the same weights and the same blocks as that of 0.33.0 for 140 questions about published models on
  an H100, and refuses the same 14; two cannot be asked without libraries for images. Of the rows of
  tests/unit/engine_counts.json that both answer here, 42 are the same, and 8, of two architectures below, are not. Its
  classes refuse and build the same 50 configs, and its parser takes the 15 command lines of the shipped stacks.
- Memory: two rules below. Its sampler profiles without parameters
  (vllm/v1/worker/gpu/model_runner.py:_dummy_sampler_run) and warms up with them when the cache is sized (warmup.py),
  so that its peak counts as that of 0.33.0.

Why it is no release of stackc: of 3887 places where its start may be refused, 40 have no row in the table of 0.33.0,
and 103 rows fit another number of places; on compute capability 10.x sparse latent attention takes another backend
(vllm/platforms/cuda.py), whose workspaces were not looked at; and no start-up of it was measured beside the weights.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compiler.engines.vllm.releases import v0_33_0

_RULES = replace(
    v0_33_0.GPU.rules,
    # vllm/engine/arg_utils.py:get_batch_defaults asks for memory and "a100" alone.
    gb10_batches_small=False,
    # vllm/model_executor/models/qwen3_vl.py has no mrope_positions_factor.
    videos_run_ahead=True,
)

RELEASE = replace(
    v0_33_0.RELEASE,
    version="0.31.0",
    image="vllm/vllm-openai:v0.31.0",
    data=Path(__file__).with_name("0.31.0"),
    gpu=replace(v0_33_0.GPU, rules=_RULES),
    # What its planner answers otherwise.
    unproved={
        "ExaoneMoeForCausalLM": "its class asks for `sliding_windows`, which no configuration has",
        "HYV3ForCausalLM": "it has weights for normed queries and keys where config.json names none",
        "LongcatFlashForCausalLM": "its transformers makes 56 layers whatever `num_layers` says",
    },
)
