"""The server's container can write to its volumes and to /tmp alone: the engine starts and answers all the same."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.engine.engine_process import ENGINE, engine_python, run_server
from tests.engine.stack import Stack, compile_stack

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below /tmp, which is another one inside."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as found:
        yield Path(found)


def container_of(stack: Stack) -> dict[str, Any]:
    file = YAML(typ="safe", pure=True).load((stack.tree / "compose/compose.yaml").read_text())
    container: dict[str, Any] = file["services"]["tiny"]
    return container


def test_the_engine_starts_in_a_container_that_is_read_only(folder: Path) -> None:
    model = folder / "model"
    subprocess.run([engine_python(), ROOT / "tests/engine/tiny_model.py", model], check=True, capture_output=True)
    stack = compile_stack(folder, model, key=False)
    container = container_of(stack)
    assert container["read_only"] is True
    (scratch,) = container["tmpfs"]
    path, _, options = scratch.partition(":")
    assert path == "/tmp"
    environment = {name: str(value) for name, value in container["environment"].items()}
    environment |= {"PATH": os.environ["PATH"], "STACKC_VLLM": str(ENGINE / "cpu/bin/vllm")}
    environment |= {"VLLM_CPU_CI_ENV": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    inside = [ROOT / "tests/engine/read_only.sh", folder / "state", stack.tree, options, *container["entrypoint"]]
    command = ["unshare", "--mount", "--propagation", "private", *map(str, inside)]
    (folder / "state").mkdir()
    with run_server(command, environment, folder / "tiny.log") as server:
        waited = stack.run("wait-ready", "tiny", "--pid", str(server.process.pid))
        assert waited.returncode == 0, waited.stdout + waited.stderr
        smoke = stack.run("smoke-test")
        assert smoke.returncode == 0, smoke.stdout + smoke.stderr
        code, _ = server.stop(120)
    assert code == 0
    assert "Read-only file system" not in server.log.read_text()
    # Kernels and other caches outlive the container.
    assert any((folder / "state/cache").rglob("*"))
