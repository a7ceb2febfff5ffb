"""smoke-test: a server of media fetches nothing from this machine, and reads what a request holds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.plan.ir import Secrets
from tests.unit.fake_server import FakeServer, run_program
from tests.unit.plan_samples import two_on_one_gpu, with_service, write_tree

Found = dict[str, dict[str, str]]
Ask = Callable[..., Found]


@pytest.fixture
def ask(tmp_path: Path, server: FakeServer) -> Ask:
    """Both checks of media, by name, for a service with changes."""
    server.key = None

    def run(**changes: Any) -> Found:
        plan = with_service(two_on_one_gpu(), "coder", port=server.port, **{"media_domains": (), **changes})
        tree = write_tree(replace(plan, secrets=Secrets(None, None)), tmp_path / "tree")
        options = ("--json", "--timeout", "0.2", "--requests", "0")
        done: subprocess.CompletedProcess[str] = run_program(tree, "smoke-test", "coder", *options)
        checks = json.loads(done.stdout)["checks"]
        return {check["check"]: check for check in checks if check["check"].endswith("-media")}

    return run


def test_a_shut_server_passes(ask: Ask) -> None:
    assert {name: check["status"] for name, check in ask().items()} == {"remote-media": "ok", "data-media": "ok"}


def test_a_server_that_fetches_what_a_client_names_fails(ask: Ask, server: FakeServer) -> None:
    server.fetches_media = True
    found = ask()["remote-media"]
    assert (found["status"], "fetches URLs of this machine" in found["detail"]) == ("fail", True)


@pytest.mark.parametrize(("status", "result"), [(500, "fail"), (400, "fail"), (200, "ok")])
def test_an_image_inside_a_request_has_to_be_read(ask: Ask, server: FakeServer, status: int, result: str) -> None:
    server.reads_media = status
    assert ask()["data-media"]["status"] == result


@pytest.mark.parametrize("changes", [{"media_domains": None}, {"task": "completion"}])
def test_others_are_not_asked(ask: Ask, changes: dict[str, Any]) -> None:
    assert {check["status"] for check in ask(**changes).values()} == {"skip"}
