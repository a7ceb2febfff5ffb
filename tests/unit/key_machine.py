"""All programs that read keys, ready to judge a file: real ones in bash, and modules of those in Python."""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from compiler.plan.ir import Plan
from tests.gateway.machine import gateway_plan, with_rollout
from tests.unit.plan_samples import (
    PATH,
    one_on_cpu,
    with_service,
    write_executable,
    write_model,
    write_snapshot,
    write_tree,
)

GOOD_API_KEY, GOOD_CLIENT_KEY = "sk-of-the-servers-0123456789", "sk-of-a-client-0123456789"
Verdict = tuple[int, str]


class KeyMachine:
    """Trees of a launch script and of both gateways, with programs in the place of vLLM, nginx and LiteLLM."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.api_key, self.client_keys = root / "good-api-key", root / "good-client-keys"
        self.api_key.write_text(GOOD_API_KEY + "\n")
        self.client_keys.write_text(f"alice:{GOOD_CLIENT_KEY}\n")
        server = write_executable(root / "fake/server", "#!/bin/sh\ntrue\n")
        self.environment = {
            "PATH": PATH,
            "HOME": str(root),
            "HF_HOME": str(root / "hf"),
            "STACKC_VLLM": str(server),
            "STACKC_NGINX": str(server),
            "STACKC_LITELLM": str(server),
            "STACKC_NJS_MODULE": "/any.so",
            "STACKC_LOCK_DIR": str(root / "locks"),
            "STACKC_GATEWAY_DIR": str(root / "run"),
            "STACKC_STATE_DIR": str(root / "state"),
            "STACKC_API_KEY_FILE": str(self.api_key),
            "STACKC_CLIENT_KEYS_FILE": str(self.client_keys),
        }
        folder = str(write_model(root / "models/tiny"))
        cpu = one_on_cpu()
        self._install("cpu", with_service(cpu, "tiny", model=replace(cpu.service("tiny").model, folder=folder)))
        self._install("nginx", gateway_plan())
        self._install("litellm", with_rollout(gateway_plan(kind="litellm")))
        write_snapshot(root / "hf", "org/coder-awq")

    def _install(self, name: str, plan: Plan) -> None:
        write_tree(plan, self.root / name)

    def program(self, words: str) -> list[str]:
        """`TREE/PROGRAM WORD…` as a command line."""
        path, *rest = words.split()
        tree, _, program = path.partition("/")
        return [str(self.root / tree / "bin" / program), *rest]

    def run(self, words: str, *before: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """A program, behind the words of an interpreter if there are any."""
        return subprocess.run(
            [*before, *self.program(words)],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=30,
        )

    def judge(self, words: str, variable: str, file: Path) -> Verdict:
        """Exit status and message of a program for a file."""
        done = self.run(words, **{variable: str(file)})
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def judge_in_python(call: Callable[[], object]) -> Verdict:
    """Exit status and message of a function of the programs; it raises what they print."""
    stack = importlib.import_module("stack")
    try:
        call()
    except stack.StackError as error:
        return int(error.code), str(error)
    return 0, ""


def everything_below(folder: Path) -> bytes:
    """The content of all files, and their names."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return b"\n".join(os.fsencode(path) + b"\n" + path.read_bytes() for path in files)
