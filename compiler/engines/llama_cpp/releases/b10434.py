"""Build b10434 (commit 7e4c0a9); rules read in the source of b10435, which changes none of them."""

from __future__ import annotations

from compiler.engines.llama_cpp.releases.rules import Release, Rules

RELEASE = Release(
    build="b10434",
    commit="7e4c0a9",
    rules=Rules(
        mixes_inputs=False,
        gathers_states=False,
        projects_flat=False,
        caches_prediction_layers=True,
        filters_prediction_layers=frozenset(
            {"step35", "hy_v3", "mimo2", "qwen3next", "qwen35", "qwen35moe"},
        ),
        pooling_compared=True,
        pipelined_host=2,
        flash_types=frozenset({"f32", "f16", "bf16", "q8_0", "q4_0"}),
        flash_types_equal=True,
    ),
)
