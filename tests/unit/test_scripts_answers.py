"""smoke-test: does a server answer as clients need it, and does a hostile answer harm nobody?"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compiler.plan.ir import Embedding, Secrets
from tests.unit.fake_server import FakeServer, run_program, statuses
from tests.unit.plan_samples import two_on_one_gpu, with_service, write_tree

Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ask(tmp_path: Path, server: FakeServer) -> Ask:
    """The smoke test of one service, with changes to its plan."""
    server.key = None

    def run(*options: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        plan = with_service(two_on_one_gpu(), "coder", port=server.port, **changes)
        tree = write_tree(replace(plan, secrets=Secrets(None, None)), tmp_path / "tree")
        return run_program(tree, "smoke-test", "coder", "--json", "--timeout", "0.2", "--requests", "0", *options)

    return run


@pytest.fixture
def refusal(scripts: SimpleNamespace, make_target: Callable[..., Any]) -> Callable[..., str]:
    """Why a check fails, by the name of its function; empty if it passes."""

    def find(check: str, **changes: Any) -> str:
        try:
            getattr(scripts.answers, f"check_{check}")(make_target(**changes))
        except scripts.stack.StackError as error:
            return str(error)
        return ""

    return find


Refusal = Callable[..., str]


def failed(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What each failed check says."""
    checks = json.loads(done.stdout)["checks"]
    return {check["check"]: check["detail"] for check in checks if check["status"] == "fail"}


@pytest.mark.parametrize(
    "breakage",
    [
        {"chunks": 1},
        {"ends_stream": False},
        {"stream_event": {"error": {"message": "engine died"}}},
        {"gap": 0.0, "first_gap": 0.1, "chunks": 32},  # everything at once: something on the way buffers
    ],
    ids=["one chunk", "no end", "error", "buffered"],
)
def test_what_is_no_stream_fails(
    refusal: Refusal,
    server: FakeServer,
    breakage: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    scripts: SimpleNamespace,
) -> None:
    monkeypatch.setattr(scripts.answers, "TOLD_SECONDS", 0.1)
    assert not refusal("stream")
    for name, value in breakage.items():
        setattr(server, name, value)
    assert refusal("stream")


def test_an_answer_that_is_whole_at_once_says_nothing_of_buffers(ask: Ask, server: FakeServer) -> None:
    server.gap, server.chunks = 0.0, 32
    (check,) = [check for check in json.loads(ask().stdout)["checks"] if check["check"] == "stream"]
    assert check["status"] == "ok", check
    assert "too few to see whether something buffers" in check["detail"] or " times in " in check["detail"]


def test_the_time_to_the_first_token_is_told(ask: Ask, server: FakeServer) -> None:
    server.first_gap = 0.05
    (detail,) = [check["detail"] for check in json.loads(ask().stdout)["checks"] if check["check"] == "stream"]
    told = int(detail.rpartition("after ")[2].removesuffix(" ms"))
    assert 50 <= told < 2000


def test_embeddings_are_asked_for_where_they_are_the_task(ask: Ask, server: FakeServer) -> None:
    done = ask(task="embed", embedding=Embedding(4, True))
    assert done.returncode == 0, done.stdout
    found = statuses(done, "coder")
    assert found["embedding"] == found["overlong"] == found["metrics"] == "ok"
    assert found["chat"] == found["completion"] == found["stream"] == "skip"
    assert set(server.paths) == {"/v1/embeddings"}


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        ([[0.6, 0.8], [0.8, 0.6]], "has 2 numbers, the plan says 4"),
        ([[0.0, 0.0, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]], "all zeros"),
        ([[float("nan"), 0.8, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]], "not finite"),
        ([[0.6, 0.8, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]], "two texts have the same embedding"),
        ([[6.0, 8.0, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]], "not 1"),
        ([[0.6, 0.8, 0.0, 0.0]], "1 embeddings for 2 texts"),
        (["AAAA", "BBBB"], "no list of numbers"),
        ([[True, 0.8, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]], "no list of numbers"),
    ],
)
def test_an_embedding_that_is_none_fails(refusal: Refusal, server: FakeServer, vectors: list[Any], reason: str) -> None:
    server.embeddings = vectors
    assert reason in refusal("embedding", task="embed", embedding=Embedding(4, True))


def test_a_model_that_does_not_normalise_passes_with_any_length(
    refusal: Refusal, server: FakeServer, tmp_path: Path
) -> None:
    server.embeddings = [[6.0, 8.0, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]]
    assert not refusal("embedding", task="embed", embedding=Embedding(4, False))
    # Nobody knows: neither the lock nor the model's files, which are not here.
    assert not refusal("embedding", task="embed", embedding=Embedding(4, None))
    # Here they are, and nothing of Sentence Transformers among them: vLLM normalises by itself.
    server.root = str(tmp_path)
    assert "not 1" in refusal("embedding", task="embed", embedding=Embedding(4, None))


def test_features_are_asked_for_where_the_spec_lists_them(ask: Ask, server: FakeServer) -> None:
    server.message = {"content": "Red.", "reasoning": "Let me think."}
    features = ("tools", "structured-output", "reasoning")
    assert [statuses(ask(), "coder")[name] for name in features] == ["skip"] * 3
    done = ask(features=features)
    assert done.returncode == 0, done.stdout
    assert [statuses(done, "coder")[name] for name in features] == ["ok"] * 3


@pytest.mark.parametrize(
    ("breakage", "reason"),
    [
        ({"call": {"name": "rm", "arguments": "{}"}}, "the call is for rm"),
        ({"call": {"name": "get_weather", "arguments": "{'city': 'Rome'}"}}, "not JSON"),
        ({"call": {"name": "get_weather", "arguments": "__import__('os').system('true')"}}, "not JSON"),
        ({"call": {"name": "get_weather", "arguments": "[" * 100000}}, "not JSON"),
        ({"call": {"name": "get_weather", "arguments": None}}, "not JSON"),
        ({"call": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}, "lacks ['unit']"),
        ({"call": {"name": "get_weather", "arguments": '{"city": "Bonn", "unit": "celsius"}'}}, "$.city is none of"),
        ({"call": {"name": "get_weather", "arguments": "true"}}, "$ is no object"),
        ({"takes_tools": False}, "HTTP 400 instead of 200"),
        ({"finish_reason": "length"}, "finish_reason is length"),
    ],
)
def test_a_tool_call_that_no_client_can_use_fails(
    refusal: Refusal, server: FakeServer, breakage: dict[str, Any], reason: str
) -> None:
    for name, value in breakage.items():
        setattr(server, name, value)
    assert reason in refusal("tools", features=("tools",))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Sure! Here is the JSON.", "not JSON"),
        ('{"colour": "red", "warm": "yes", "shades": ["dark"]}', "$.warm is no boolean"),
        ('{"colour": "red", "warm": true, "shades": []}', "$.shades has 0 items"),
        ('{"colour": "red", "warm": true, "shades": ["pink"]}', "$.shades[0] is none of"),
        ('{"colour": "red", "warm": true, "shades": ["dark"], "x": 1}', "$ has ['x']"),
    ],
)
def test_an_answer_beside_its_schema_fails(refusal: Refusal, server: FakeServer, answer: str, reason: str) -> None:
    server.structured = answer
    assert reason in refusal("structured_output", features=("structured-output",))


def test_completions_may_have_structured_output_too(ask: Ask, server: FakeServer) -> None:
    done = ask(task="completion", features=("structured-output",))
    assert statuses(done, "coder")["structured-output"] == "ok"
    assert "/v1/chat/completions" not in server.paths


def test_reasoning_that_stays_in_the_answer_fails(refusal: Refusal, server: FakeServer) -> None:
    server.message = {"content": "<think>Let me think.</think>Red."}
    assert "no reasoning" in refusal("reasoning", features=("reasoning",))


HOSTILE = (
    b"not json", b"[]", b"null", b"{}", b'{"choices": 1}', b'{"choices": [1]}', b'{"choices": [{"message": 1}]}',
    b'{"choices": [], "usage": 1}', b'{"data": {"a": 1}}', b"\xff\xfe", b"[" * 200000, b'{"choices": [{"text": {}}]}',
)  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE)
def test_an_answer_of_another_form_is_a_failed_check_and_no_crash(
    refusal: Refusal, server: FakeServer, body: bytes
) -> None:
    """Whatever a server says, the report names the check; a traceback would hide every other one."""
    server.body = body
    for check in ("chat", "stream", "tools", "structured_output", "reasoning"):
        assert refusal(check, features=("tools", "structured-output", "reasoning")), check
    assert refusal("embedding", task="embed", embedding=Embedding(4, True))


def test_an_answer_without_end_is_not_read_to_the_end(refusal: Refusal, server: FakeServer) -> None:
    server.body = b'{"choices": [' + b"1," * (33 * 2**20) + b"1]}"
    assert "larger than" in refusal("chat")


def test_an_answer_that_is_cut_off_is_none(refusal: Refusal, server: FakeServer) -> None:
    server.body, server.missing = b'{"choices": []}', 5
    assert "5 bytes are missing" in refusal("chat")


def test_what_a_server_says_does_not_reach_the_terminal_raw(ask: Ask, server: FakeServer) -> None:
    server.finish_reason = "\x1b]0;owned\x07\n\x9bok    coder: all fine"
    text = ask("--format", "text").stdout
    assert "finish_reason is \\x1b]0;owned\\x07\\n" in text
    assert not any(char < " " and char != "\n" for char in text)
    assert not any(line.startswith("ok    coder: all fine") for line in text.splitlines())
