"""bin/evaluate, against servers whose answers the tests choose."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.fake_openai import FakeOpenAI
from tests.unit.plan_samples import PATH

KEY = "sk-very-secret"
PYTHONS = f"{Path(sys.executable).parent}:{PATH}"


@dataclass
class Evaluate:
    tree: Path
    folder: Path
    server: FakeOpenAI
    candidate: FakeOpenAI

    def run(self, text: str, *arguments: str, name: str = "file.yaml", path: str = PYTHONS) -> Any:
        (self.folder / name).write_text(text, encoding="utf-8")
        command = [str(self.tree / "bin/evaluate"), str(self.folder / name), *arguments]
        known = {"PATH": path, "http_proxy": "http://127.0.0.1:1", "OPENAI_API_KEY": KEY}
        known |= {"STACKC_API_KEY_FILE": str(self.folder / "key"), "STACKC_VLLM": str(self.folder / "venv/bin/vllm")}
        done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=120, check=False)
        assert KEY not in done.stdout + done.stderr
        assert "Traceback (most" not in done.stderr
        return done

    def judge(self, check: Any, answer: str) -> tuple[bool, str]:
        """Whether one check passes an answer, and what it says."""
        self.server.answer = lambda _: answer
        case = {"name": "it", "prompt": "?", "checks": [check]}
        done = self.run(json.dumps({"cases": [case]}), "--service", "coder", "--format", "json", name="file.json")
        assert done.returncode in (0, 25), done.stdout + done.stderr
        sample = json.loads(done.stdout)["services"][0]["cases"][0]["samples"][0]
        return sample["passed"], sample["checks"][0]["detail"]
