"""A compiled stack whose launch scripts serve on this machine's CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.render.syntax import read_systemd_words, read_unit
from tests.engine.engine_process import CPU_RELEASE, ENGINE, Server, free_port, run_server

STACKC = str(Path(sys.executable).with_name("stackc"))
KEY = "sk-for-this-test-only"


@dataclass(frozen=True, slots=True)
class Stack:
    """What stackc wrote for a stack, and where its first service listens."""

    tree: Path
    port: int
    environment: dict[str, str]

    @property
    def plan(self) -> dict[str, Any]:
        plan: dict[str, Any] = json.loads((self.tree / "plan.json").read_text())
        return plan

    @property
    def service(self) -> dict[str, Any]:
        service: dict[str, Any] = self.plan["services"][0]
        return service

    def command(self, name: str) -> list[str]:
        """What the service's unit runs."""
        (start,) = read_unit((self.tree / f"systemd/tiny-{name}.service").read_text()).values("Service", "ExecStart")
        words = read_systemd_words(start, is_command=True)
        return [word.replace(f"{self.plan['paths']['current']}/", f"{self.tree}/") for word in words]

    def set_deadlines(self, *, drain: int, cut: int) -> None:
        """Grant the first service other seconds to stop than were planned."""
        name = self.service["name"]
        for path, planned, wanted in (
            (f"bin/launch-{name}", f"--shutdown-timeout {self.service['timeouts']['drain_seconds']}", drain),
            (f"systemd/tiny-{name}.service", f"--seconds {self.cut_seconds}", cut),
        ):
            file = self.tree / path
            text = file.read_text()
            assert planned in text
            file.write_text(text.replace(planned, f"{planned.split()[0]} {wanted}"))

    @property
    def cut_seconds(self) -> int:
        """When what a client keeps open is cut off, from the signal on."""
        words = self.command(self.service["name"])
        return int(words[words.index("--seconds") + 1])

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the emitted programs to its end."""
        command = [str(self.tree / "bin" / program), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=240)

    @contextmanager
    def serve(self) -> Iterator[Server]:
        """Run the only service as its unit does until it is ready."""
        with self.serve_all() as (server,):
            yield server

    @contextmanager
    def serve_all(self) -> Iterator[tuple[Server, ...]]:
        """Run every service at the same time until all are ready."""
        names = [service["name"] for service in self.plan["services"]]
        with ExitStack() as running:
            servers = []
            for name in names:
                log = self.tree.parent / f"{name}.log"
                servers.append(running.enter_context(run_server(self.command(name), self.environment, log)))
            for name, server in zip(names, servers, strict=True):
                waited = self.run("wait-ready", name, "--pid", str(server.process.pid))
                assert waited.returncode == 0, waited.stdout + waited.stderr
            yield tuple(servers)


def compile_stack(folder: Path, model: Path, *, key: bool) -> Stack:
    """A stack with one service, `tiny`."""
    return compile_services(folder, {"tiny": {"model": str(model)}}, key=key)


def compile_services(folder: Path, services: Mapping[str, Mapping[str, Any]], *, key: bool) -> Stack:
    """A stack of small services."""
    (folder / "key").write_text(KEY + "\n")
    spec = folder / "tiny.yaml"
    ports = {name: free_port() for name in services}
    given = {"context": 256, "concurrency": 4}
    data = {
        "stack": "tiny",
        "engine": {"vllm": CPU_RELEASE},
        "nodes": {"here": {"cpu": {"memory": "12GiB"}}},
        "services": {name: given | {"port": ports[name]} | service for name, service in services.items()},
    }
    spec.write_text(json.dumps(data | ({"secrets": {"api_key": str(folder / "key")}} if key else {})))
    tree = folder / "tree"
    for arguments in (["lock", str(spec)], ["compile", str(spec), "--output", str(tree)]):
        result = subprocess.run([STACKC, *arguments], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    # stackc may give each stack of several a folder of its own.
    return Stack(next(tree.rglob("plan.json")).parent, next(iter(ports.values())), server_environment(folder))


def server_environment(folder: Path) -> dict[str, str]:
    """Nothing but what a CPU run needs, so that the script has to bring the rest itself."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "STACKC_VLLM": str(ENGINE / "cpu/bin/vllm"),
        "VLLM_CACHE_ROOT": str(folder / "cache"),
        # The name of a socket has room for 107 characters, which a test's own folder may use up.
        "VLLM_RPC_BASE_PATH": tempfile.gettempdir(),
        # Two processes less, and no compilation: this halves the start.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_CI_ENV": "1",
    }
