"""Fixtures of tests that run the emitted programs against a server."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compiler.plan.ir import Plan
from compiler.targets.plan_json import plan_object
from tests.conftest import ROOT
from tests.unit.evaluating import KEY as EVALUATION_KEY
from tests.unit.evaluating import Evaluate
from tests.unit.fake_openai import serving as answering
from tests.unit.fake_server import KEY, FakeServer, serving
from tests.unit.plan_samples import two_on_one_gpu, with_service, write_tree


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as made:
        yield made


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY + "\n", encoding="ascii")
    return path


@pytest.fixture(scope="session")
def scripts() -> Iterator[SimpleNamespace]:
    """Modules of the emitted programs, imported: asking one question takes milliseconds, a process half a second."""
    folder = str(ROOT / "templates/lib")
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        names = (
            "ask.answers",
            "ask.budget",
            "ask.further",
            "ask.llama_cpp",
            "ask.probes",
            "ask.server",
            "ask.startup_log",
            "machine.gpu",
            "models.direct",
            "report",
            "rollout",
        )
        modules = {name.rpartition(".")[2]: importlib.import_module(f"stack.{name}") for name in names}
        yield SimpleNamespace(stack=importlib.import_module("stack"), **modules)
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(folder):
                del sys.modules[name]


@pytest.fixture
def make_target(scripts: SimpleNamespace, server: FakeServer) -> Callable[..., Any]:
    """The fake server as the smoke test sees it, with changes to its service in the plan."""

    def make(plan: Plan | None = None, name: str = "coder", seconds: float = 10.0, **changes: Any) -> Any:
        plan = with_service(plan or two_on_one_gpu(), name, port=server.port, **changes)
        data = plan_object(plan)
        client = scripts.server.Server("127.0.0.1", server.port, server.key, seconds)
        service = next(service for service in data["services"] if service["name"] == name)
        return scripts.probes.Target(client, service, server.name, "0.33.0", server.key is not None, 0.2, data)

    return make


@pytest.fixture
def evaluate(tmp_path: Path) -> Iterator[Evaluate]:
    with answering("coder", EVALUATION_KEY) as server, answering("coder", EVALUATION_KEY) as candidate:
        plan = with_service(two_on_one_gpu(), "coder", port=server.port, concurrency=3)
        plan = with_service(plan, "general", port=candidate.port, candidate_of="coder", served_name="coder")
        (tmp_path / "key").write_text(EVALUATION_KEY + "\n")
        yield Evaluate(write_tree(plan, tmp_path / "tree"), tmp_path, server, candidate)
