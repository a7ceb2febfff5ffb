"""params.json: the same configuration as of vLLM 0.33.0, and the same bytes as of its classes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compiler.resolve.reading.mistral import adapted
from compiler.units import GIB
from tests.engine.engine_process import CPU_RELEASE, PLAIN_RELEASES, engine_python, parser_environment
from tests.engine.test_planner import answers
from tests.unit.mistral_params import CASES
from tests.unit.test_engine_counts import counted

pytestmark = pytest.mark.engine


def asked(pairs: list[tuple[dict[str, Any], dict[str, Any]]], version: str) -> list[dict[str, Any] | None]:
    result = subprocess.run(
        [engine_python(), Path(__file__).with_name("mistral_oracle.py")],
        input=json.dumps(pairs), env=parser_environment(version),
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    found: list[dict[str, Any] | None] = json.loads(result.stdout)
    return found


def below(ours: Any, theirs: Any) -> bool:
    """Whether theirs, which has defaults of transformers too, says all that ours says."""
    if isinstance(ours, dict):
        return isinstance(theirs, dict) and all(below(value, theirs.get(key)) for key, value in ours.items())
    return bool(ours == theirs)


@pytest.mark.parametrize("version", [CPU_RELEASE, *PLAIN_RELEASES])
def test_the_engine_makes_the_same_of_params_json(version: str) -> None:
    defaults: dict[str, Any] = {"tie_word_embeddings": True, "architectures": ["X"], "image_token_index": 10}
    pairs = [(params, given) for params in CASES.values() for given in ({}, defaults)]
    for (params, given), theirs in zip(pairs, asked(pairs, version), strict=True):
        ours = adapted(params, given, ())
        assert below(ours, theirs), (params, ours, theirs)


def test_the_engine_counts_the_same(tmp_path: Path) -> None:
    """Of models without images, whose class needs a library for them; `engine_counts.json` has one of the others."""
    questions, expected = [], []
    for index, params in enumerate(params for params in CASES.values() if "vision_encoder" not in params):
        folder = tmp_path / str(index)
        folder.mkdir()
        (folder / "params.json").write_text(json.dumps(params))
        for ranks in (1, 2):
            options = ["--config-format", "mistral", "--tensor-parallel-size", str(ranks), "--max-model-len", "512"]
            cache = ["--kv-cache-memory-bytes", str(16 * GIB)]
            questions.append({
                "folder": str(folder), "capability": "9.0", "memory": 80 * GIB,
                "arguments": [str(folder), *options, *cache],
            })  # fmt: skip
            expected.append(counted(adapted(params, {}, ()), ranks, 1, 0)[-2:])
    found = [[each["weight_bytes"], each["num_blocks"]] for each in answers(questions, tmp_path)]
    assert found == expected
