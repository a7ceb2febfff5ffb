"""A Prometheus that scrapes as an emitted configuration says, and can be asked."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import tool
from tests.engine.engine_process import free_port, run_server

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one."""

    port: int

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has now."""
        found: list[dict[str, Any]] = self._ask(f"query?{urllib.parse.urlencode({'query': expression})}")["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with its state and whether its last evaluation went well."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("targets")["activeTargets"]
        return found

    def wait_for(self, expression: str, seconds: float) -> None:
        """Wait until an expression has a series."""
        deadline = time.monotonic() + seconds
        while not self._has(expression):
            assert time.monotonic() < deadline, f"{expression} has no series after {seconds} s"
            time.sleep(1)

    def _has(self, expression: str) -> bool:
        try:
            return bool(self.query(expression))
        except urllib.error.URLError:
            return False

    def _ask(self, path: str) -> dict[str, Any]:
        with _OPENER.open(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=60) as reply:
            answer = json.load(reply)
        assert answer["status"] == "success", answer
        data: dict[str, Any] = answer["data"]
        return data


@contextmanager
def run_prometheus(configuration: Path, folder: Path) -> Iterator[Prometheus]:
    """Start one, and stop it however the block ends."""
    port = free_port()
    command = [
        tool("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with run_server(command, {"PATH": "/usr/bin:/bin", "HOME": str(folder)}, folder / "prometheus.log"):
        yield Prometheus(port)
