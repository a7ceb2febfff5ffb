"""`stackc recommend` as it is typed: what it says, what it writes, and how it answers what nobody can have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compiler.choose.recommend.candidates import Checkpoint, checkpoints
from compiler.cli.main import cli
from compiler.cli.run.lock import lock_spec
from compiler.pipeline import compile_stack
from compiler.registry.read import registry
from compiler.resolve.transport.hub import Hub
from tests.choose.hub import recording_of
from tests.conftest import WIDE
from tests.hub.server import serve


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def answer(*words: str, code: int = 0) -> dict[str, Any]:
    run = CliRunner().invoke(cli, ["recommend", *words, "--format", "json"])
    assert run.exit_code == code, run.output
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def text(*words: str, code: int = 0) -> str:
    run = CliRunner().invoke(cli, ["recommend", *words], env=WIDE)
    assert run.exit_code == code, run.output
    return run.stdout if code != 2 else run.stderr


def checkpoint_of(row: dict[str, Any]) -> Checkpoint:
    known = checkpoints(registry().models[row["model"]])
    assert isinstance(known, tuple)
    return next(each for each in known if each.repository == row["repository"])


@pytest.mark.parametrize(
    "words",
    [
        ("--task", "embed", "--gpu", "rtx-3070"),
        ("--task", "chat", "--gpu", "t4", "--license", "commercial", "--max-parameters", "2B", "--pick", "smallest"),
    ],
)
def test_what_is_written_locks_and_compiles(words: tuple[str, ...]) -> None:
    result = answer(*words, "--write", "stacks/mine.yaml")
    pick = words[words.index("--pick") + 1] if "--pick" in words else "quality"
    winner = result["lists"][pick]["choices"][0]
    path = Path("stacks/mine.yaml")
    with serve([recording_of(checkpoint_of(winner))]) as hub:
        found, _ = lock_spec(path, str(path), Hub(hub.url, pause=0))
    assert not [each for each in found if each.code.startswith("E")]
    compiled, problems = compile_stack(path, str(path))
    assert compiled is not None, problems
    assert compiled.plan.services[0].model.repository == winner["repository"]


def test_services_that_share_cards_are_proved_together_and_written() -> None:
    words = ("--task", "rerank", "--also", "embed", "--gpu", "rtx-4090", "--write", "stacks/all.yaml")
    result = answer(*words)
    services = result["stack"]["services"]
    assert set(services) == {"embed", "rerank"}
    assert all(device["slack_bytes"] >= 0 for device in result["stack"]["devices"])
    assert sum(service["weights_bytes"] for service in services.values()) < result["stack"]["devices"][0]["total_bytes"]
    assert "embed:" in Path("stacks/all.yaml").read_text()
    assert "is not overwritten" in text(*words, code=2)


def test_one_server_has_two_tasks_where_its_model_is_no_worse_at_either_than_one_for_each_would_be() -> None:
    """A card of 12 GB has room for one model of 7B beside an embedder, and not for two."""
    words = ("--task", "code", "--also", "chat, embed", "--gpu", "rtx-3060-12gb", "--license", "commercial")
    services = answer(*words, "--write", "stacks/home.yaml")["stack"]["services"]
    assert list(services) == ["code-chat", "embed"]
    assert "One server for code and chat" in services["code-chat"]["why"]
    written = Path("stacks/home.yaml").read_text()
    assert "code-chat:" in written
    assert "concurrency: 2" in written


def test_the_same_question_has_the_same_answer() -> None:
    words = ("recommend", "--task", "rerank", "--gpu", "rtx-4090", "--format", "json")
    assert CliRunner().invoke(cli, words).stdout == CliRunner().invoke(cli, words).stdout


def test_users_become_requests_by_an_assumption_that_is_said() -> None:
    assert answer("--task", "embed", "--gpu", "l4", "--users", "20")["wish"]["concurrency"] == 4
    assert "assumed: of 20 users 1 in 5" in text("--task", "embed", "--gpu", "l4", "--users", "20")


def test_machines_of_a_model_are_told_from_the_cheapest_on() -> None:
    result = answer("--model", "Qwen/Qwen3-8B", "--task", "chat", "--context", "16K")
    prices = [each["per_hour"]["low"] for each in result["machines"] if each["per_hour"] is not None]
    assert prices == sorted(prices)
    assert all(each["verdict"] == "fits" and each["context"] == 16384 for each in result["machines"])
    assert "trained for" in text("--model", "01-ai/Yi-6B-Chat", "--task", "chat", "--context", "32K", code=1)


def test_what_takes_out_the_last_model_is_said_with_what_helps() -> None:
    result = answer("--task", "rerank", "--gpu", "t4", "--language", "sw", "--publisher", "nobody", code=1)
    assert result["rows"] == []
    assert result["last_removed_by"] in {"language", "publisher"}
    assert result["relaxations"]
    assert "no card is offered for so little" in text("--task", "rerank", "--budget", "0.001/h", code=1)


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    run = CliRunner().invoke(cli, ["recommend", "--model", "Qwen/Qwen3-33B", "--task", "chat"])
    assert run.exit_code == 1
    assert "E0321" in run.stderr
    assert "did you mean `Qwen/Qwen3-32B`?" in run.stderr


def test_a_machine_of_one_s_own_needs_no_card_and_no_budget() -> None:
    Path("stacks").mkdir()
    Path("stacks/models.yaml").write_text(OWNED)
    result = answer("--task", "rerank")
    assert result["machines"] == [{"gpu": "rtx-4090", "count": 2, "owned": True}]
    assert {row["currency"] for row in result["rows"]} == {"EUR"}
    reverse = answer("--model", "Qwen/Qwen3-Reranker-0.6B", "--gpu", "t4")
    assert [row["gpu"] for row in reverse["owned"]] == ["rtx-4090"]
    assert [row["gpu"] for row in reverse["machines"]] == ["t4"]


OWNED = """
hardware:
  - {gpu: rtx-4090, count: 2, purchase: 4000, currency: EUR, lifetime_years: 4, kwh_price: 0.3, pue: 1, load: 0.5,
     host_watts: 150}
"""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--gpu", "t4"), "say what for"),
        (("--task", "chat"), "say on what"),
        (("--task", "chat", "--gpu", "rtx-9090"), "unknown GPU"),
        (("--task", "chat", "--count", "2"), "--count is of the cards"),
        (("--task", "chat", "--gpu", "t4", "--budget", "nan/h"), "write an amount"),
        (("--task", "chat", "--gpu", "t4", "--budget", "-1/h"), "write an amount"),
        (("--task", "chat", "--gpu", "t4", "--context", "0"), "tokens"),
        (("--task", "chat", "--gpu", "t4", "--context", "9" * 30), "tokens"),
        (("--task", "chat", "--gpu", "t4", "--min-speed", "nan"), "no number"),
        (("--task", "chat", "--gpu", "t4", "--features", "flying"), "is none of"),
        (("--task", "chat", "--gpu", "t4", "--language", "german"), "is no code"),
        (("--task", "chat", "--gpu", "t4", "--also", "dance"), "is no task"),
        (("--task", "chat", "--gpu", "t4", "--users", "2", "--concurrency", "2"), "in place of"),
        (("--task", "chat", "--budget", "2/h", "--also", "embed"), "name them with --gpu"),
        (("--task", "embed", "--gpu", "t4", "--also", "embed"), "other tasks than embedding"),
        (("--task", "chat", "--gpu", "t4", "--write", "stacks/Mine.yaml"), "a stack's name"),
        (("--task", "chat", "--gpu", "t4", "--max-parameters", "many"), "no number of parameters"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(words: tuple[str, ...], says: str) -> None:
    assert says in text(*words, code=2)
