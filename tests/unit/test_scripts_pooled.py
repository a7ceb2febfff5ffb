"""smoke-test of servers that read whole texts: are texts ranked, and labelled?"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compiler.plan.ir import Secrets
from tests.unit.fake_server import FakeServer, run_program, statuses
from tests.unit.plan_samples import two_on_one_gpu, with_service, write_tree

Ask = Callable[..., subprocess.CompletedProcess[str]]
Refusal = Callable[..., str]


@pytest.fixture
def ask(tmp_path: Path, server: FakeServer) -> Ask:
    """The smoke test of one service, with changes to its plan."""
    server.key = None

    def run(**changes: Any) -> subprocess.CompletedProcess[str]:
        plan = with_service(two_on_one_gpu(), "coder", port=server.port, **changes)
        tree = write_tree(replace(plan, secrets=Secrets(None, None)), tmp_path / "tree")
        return run_program(tree, "smoke-test", "coder", "--json", "--timeout", "0.2", "--requests", "0")

    return run


@pytest.fixture
def refusal(scripts: SimpleNamespace, make_target: Callable[..., Any]) -> Refusal:
    """Why a check fails, by the name of its function; empty if it passes."""

    def find(check: str, **changes: Any) -> str:
        try:
            getattr(scripts.answers, f"check_{check}")(make_target(**changes))
        except scripts.stack.StackError as error:
            return str(error)
        return ""

    return find


def test_texts_are_ranked_where_scores_are_the_task(ask: Ask, server: FakeServer) -> None:
    done = ask(task="score", labels=1)
    assert done.returncode == 0, done.stdout
    found = statuses(done, "coder")
    assert found["rerank"] == found["labels"] == found["overlong"] == found["metrics"] == "ok"
    assert found["chat"] == found["completion"] == found["embedding"] == found["budget"] == "skip"
    assert set(server.paths) == {"/v1/rerank", "/classify"}


@pytest.mark.parametrize(
    ("ranked", "reason"),
    [
        ([(1, 0.9), (2, 0.2)], "3 texts were sent, [1, 2] came back"),
        ([(1, 0.9), (1, 0.2), (0, 0.1)], "3 texts were sent, [1, 1, 0] came back"),
        ([(1, 0.2), (2, 0.9), (0, 0.1)], "not in the order of their scores"),
        ([(1, 0.5), (2, 0.5), (0, 0.5)], "all texts have one score"),
        ([(1, float("nan")), (2, 0.5), (0, 0.5)], "no text with a score"),
        ([("1", 0.9), (2, 0.5), (0, 0.5)], "no text with a score"),
    ],
)
def test_a_ranking_that_is_none_fails(refusal: Refusal, server: FakeServer, ranked: list[Any], reason: str) -> None:
    server.ranked = ranked
    assert reason in refusal("rerank", task="score", labels=1)


def test_a_model_that_ranks_the_answer_behind_other_texts_is_told(ask: Ask, server: FakeServer) -> None:
    server.ranked = [(0, 0.9), (1, 0.5), (2, 0.1)]
    done = ask(task="score", labels=1)
    assert (done.returncode, statuses(done, "coder")["rerank"]) == (0, "warn"), done.stdout


def test_labels_are_counted(refusal: Refusal, server: FakeServer) -> None:
    server.labelled = [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]
    assert not refusal("labels", task="classify", labels=3)
    assert "3 labels, the plan says 2" in refusal("labels", task="classify", labels=2)
    server.labelled = [[0.7, float("inf")], [0.1, 0.9]]
    assert "no number" in refusal("labels", task="classify", labels=2)
    server.labelled = [[0.7, 0.3]]
    assert "1 texts were labelled" in refusal("labels", task="classify", labels=2)
