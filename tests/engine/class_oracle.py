"""Whether vLLM 0.33.0 builds a model of a config.json, without a GPU and without weights. Runs inside `.engine/`.

Reads a JSON list of config.json maps from stdin; prints a JSON list: the error that each ends with, or null. Each
model is built on torch's meta device on a machine that poses as a GPU, as tests/engine/planner_oracle.py has it.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.engine import planner_oracle

_SHOWN = 300


def main() -> None:
    """Answer all questions."""
    planner_oracle.CARD.update(capability=(9, 0), memory=80 * 2**30)
    planner_oracle.pose_as_gpu()
    # The engine looks at each class in a process of its own, which takes seconds and is another machine to pose as.
    registry = importlib.import_module("vllm.model_executor.models.registry")
    registry._run_in_subprocess = lambda look: look()  # type: ignore[attr-defined]
    ranks: list[Any] = []
    answers = [_refusal(config, ranks) for config in json.load(sys.stdin)]
    sys.stdout.write(json.dumps(answers) + "\n")


def _refusal(config: dict[str, Any], ranks: list[Any]) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        try:
            _build(folder, ranks)
        except Exception as error:  # whatever it ends with is the answer
            return f"{type(error).__name__}: {error}"[:_SHOWN]
    return None


def _build(folder: str, ranks: list[Any]) -> None:
    engine = planner_oracle.engine_config(folder, ["--max-model-len", "128", "--max-num-seqs", "4"])
    with importlib.import_module("vllm.config").set_current_vllm_config(engine):
        if not ranks:
            planner_oracle.answer_for_kernels()
            ranks.append(planner_oracle.initialize_ranks())
            importlib.import_module("vllm.distributed.parallel_state")._EP = ranks[0]
        planner_oracle.build_model(engine, ranks[0])


if __name__ == "__main__":
    main()
