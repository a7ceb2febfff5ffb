"""A machine on which the emitted prefetch runs the real `hf`, and the repository that it fetches."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.plan.ir import ModelFile
from tests.hub.builders import COMMIT, repository
from tests.hub.recordings import Recording
from tests.hub.server import LoopbackHub
from tests.unit.plan_samples import PATH, two_on_one_gpu, with_service, write_executable, write_tree

NAME = "org/coder-awq"
SHARDS = {f"model-0000{number}-of-00002.safetensors": bytes([number]) * 200_000 for number in (1, 2)}
FIRST, SECOND = SHARDS
FILES = {
    **SHARDS,
    "config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "pytorch_model.bin": b"the same once more",
    "extra.safetensors": b"a stray copy that no index names",
    "README.md": b"# Model",
}
TOKEN = "hf_verysecret"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def model(**changes: Any) -> Recording:
    return repository(NAME, contents=FILES, **changes)


class Machine:
    """A machine with a tree, and `hf` beside a vLLM that nobody starts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "hf"
        self.tree = root / "tree"
        self.plan_files(tuple(ModelFile(path, len(content), digest(content)) for path, content in SHARDS.items()))
        write_executable(root / "venv" / "bin" / "vllm", "#!/bin/sh\n")
        real = Path(sys.executable).with_name("hf")
        script = f'#!/bin/sh\necho "$*" >>{root}/calls\necho $$ >{root}/pid\nexec {real} "$@"\n'
        write_executable(root / "venv" / "bin" / "hf", script)
        self.environment = {
            "PATH": PATH,
            "HOME": str(root),
            "HF_HOME": str(self.home),
            "STACKC_VLLM": str(root / "venv" / "bin" / "vllm"),
        }

    def plan_files(self, files: tuple[ModelFile, ...]) -> None:
        plan = two_on_one_gpu()
        size = sum(file.size or 0 for file in files) or None
        served = replace(plan.service("coder").model, files=files, weights_bytes=size)
        write_tree(with_service(plan, "coder", model=served), self.tree)

    @property
    def command(self) -> list[str]:
        return [str(self.tree / "bin" / "prefetch"), "coder"]

    def prefetch(self, *options: str, hub: LoopbackHub | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **({"HF_ENDPOINT": hub.url} if hub else {}), **more}
        done = subprocess.run(
            [*self.command, *options], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr
        return done

    @property
    def snapshot(self) -> Path:
        return self.home / "hub" / "models--org--coder-awq" / "snapshots" / COMMIT

    def present(self) -> list[str]:
        return sorted(path.name for path in self.snapshot.iterdir())
