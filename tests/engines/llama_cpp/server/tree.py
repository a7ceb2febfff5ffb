"""A tree that stackc wrote, whose launch scripts run real servers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.engine.engine_process import run_server
from tools.setup_llama_server import SERVER

KEY = "sk-for-this-test-only"
STACKC = str(Path(sys.executable).with_name("stackc"))


@dataclass(frozen=True)
class Tree:
    """What stackc wrote for a stack of real servers.

    Attributes:
        folder: the tree.
        home: where keys lie, and what servers print.
        variables: of the environment, beside those that every run needs.
    """

    folder: Path
    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def plan(self) -> dict[str, Any]:
        plan: dict[str, Any] = json.loads((self.folder / "plan.json").read_text())
        return plan

    @property
    def environment(self) -> dict[str, str]:
        plain = {"PATH": os.environ["PATH"], "HOME": str(self.home), "STACKC_LLAMA_SERVER": str(SERVER)}
        return {**plain, **self.variables}

    def log(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.folder / "bin" / program), *words]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=120)
        assert KEY not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def checks(self, *words: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
        """What the smoke test found, by service and check."""
        done = self.run("smoke-test", "--json", *words)
        report = json.loads(done.stdout)
        return done.returncode, {(each["subject"], each["check"]): each for each in report["checks"]}

    @contextmanager
    def serving(self, *names: str) -> Iterator[None]:
        """Run servers by their launch scripts until they are ready."""
        with ExitStack() as running:
            for name in names:
                command = [str(self.folder / "bin" / f"launch-{name}")]
                running.enter_context(run_server(command, self.environment, self.log(name)))
            for name in names:
                waited = self.run("wait-ready", name, "--timeout", "60")
                assert waited.returncode == 0, waited.stderr + self.log(name).read_text()
            yield

    def beside(self, folder: Path, change: Callable[[dict[str, Any]], None]) -> Tree:
        """The same servers beside a plan that says something else."""
        shutil.copytree(self.folder, folder, symlinks=True)
        # The library is beside the tree, and links lead there.
        shutil.copytree(self.folder / "lib", folder / "real-lib")
        (folder / "lib").unlink()
        (folder / "real-lib").rename(folder / "lib")
        plan = self.plan
        change(plan)
        (folder / "plan.json").write_text(json.dumps(plan))
        return replace(self, folder=folder)


def tree_of(home: Path, spec: Path, variables: Mapping[str, str] | None = None) -> Tree:
    """Lock and compile a spec, and the key that it names."""
    (home / "key").write_text(KEY + "\n")
    (home / "key").chmod(0o600)
    for words in (["lock", str(spec)], ["compile", str(spec), "--output", str(home / "out")]):
        done = subprocess.run([STACKC, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return Tree(next((home / "out").rglob("plan.json")).parent, home, variables or {})
