"""Build b11434."""

from __future__ import annotations

from compiler.engines.llama_cpp.releases.rules import Release, Rules

RELEASE = Release(
    build="b11434",
    rules=Rules(
        mixes_inputs=True,
        gathers_states=True,
        projects_flat=True,
        caches_prediction_layers=False,
        filters_prediction_layers=frozenset(),
        pooling_compared=False,
        pipelined_host=10,
        flash_types=frozenset({"f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"}),
        flash_types_equal=False,
    ),
)
