"""What preflight says of a model's folder, where only a stubbed answer of the kernel shows it (root may read all)."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.unit.plan_samples import write_model


def test_a_model_that_the_server_s_user_may_not_read_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "templates" / "scripts"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module, stack = importlib.import_module("_model"), importlib.import_module("_stack")
    folder = write_model(tmp_path / "model")
    model = {"folder": str(folder), "weights_bytes": None, "files": []}
    assert module.check_model(model) == folder
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "model.safetensors" and real(path, mode))
    with pytest.raises(stack.StackError, match=r"may not read: model\.safetensors") as caught:
        module.check_model(model)
    assert caught.value.code == stack.EXIT_SNAPSHOT
