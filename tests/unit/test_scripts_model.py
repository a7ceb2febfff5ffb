"""A model's files: from the lock to plan.json, and in a folder that only a stubbed kernel closes (root reads all)."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

from compiler.diagnostics import SourceText
from compiler.engines.vllm.pinned import pinned
from compiler.lock.models import WeightFile
from compiler.plan.ir import ModelFile
from compiler.plan.lowering.lower import lower_plan
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.source.document import load_document
from compiler.spec.reading.load import SpecFile
from compiler.targets.plan_json import plan_object
from tests.conftest import ROOT
from tests.unit.plan_samples import write_model
from tests.unit.test_solve_pipeline import RELEASE, question


def test_files_driver_and_product_reach_the_programs() -> None:
    """prefetch can only verify, and preflight only compare, what the plan carries."""
    spec, lock = question({"model": "l40s", "count": 4}, tensor_parallel_size=4)
    files = (WeightFile(path="a.safetensors", size=7, sha256="ab" * 32), WeightFile(path="b.safetensors", size=9))
    facts = lock.models["own/m"].model_copy(update={"weights": files})
    found = attempt(spec, lock.model_copy(update={"models": {"own/m": facts}}), pinned(RELEASE))
    document, _ = load_document(SourceText("x.yaml", "stack: x"))
    assert isinstance(found, Solution)
    assert document is not None
    plan = lower_plan(SpecFile(spec, document), found, pinned(RELEASE))
    assert plan.services[0].model.files == (
        ModelFile("a.safetensors", 7, "ab" * 32),
        ModelFile("b.safetensors", 9, None),
    )
    written = plan_object(plan)
    assert written["services"][0]["model"]["files"][0] == {"path": "a.safetensors", "size": 7, "sha256": "ab" * 32}
    assert (written["engine"]["cuda"], written["engine"]["minimum_driver"]) == ("13", "580")
    assert written["node"]["product"] == "L40S"


def test_a_model_that_the_server_s_user_may_not_read_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "templates/lib"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module, stack = importlib.import_module("stack.models.model"), importlib.import_module("stack")
    folder = write_model(tmp_path / "model")
    model = {"folder": str(folder), "weights_bytes": None, "file": None, "files": []}
    assert module.check_model(model) == folder
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "model.safetensors" and real(path, mode))
    with pytest.raises(stack.StackError, match=r"may not read: model\.safetensors") as caught:
        module.check_model(model)
    assert caught.value.code == stack.EXIT_SNAPSHOT
