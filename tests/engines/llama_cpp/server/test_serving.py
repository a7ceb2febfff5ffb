"""What the real server answers, where what we compile relies on it: doors, keys, limits and figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compiler.engines.llama_cpp.calibrate.startup_log import read_log
from tests.engines.llama_cpp.random_models import DECODERS, TOOL_CALL
from tests.engines.llama_cpp.server.running import Json, Running, clean_environment, serve

pytestmark = pytest.mark.engine

Models = Callable[[str], Path]
HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
NOTHING_GIVEN = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "now", "description": "The time", "parameters": NOTHING_GIVEN}}]


@pytest.fixture(scope="module")
def open_server(model: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two slots that share no context, of 512 tokens each, without a key."""
    folder = tmp_path_factory.mktemp("open")
    with serve(model("llama"), folder / "log", "--metrics", "--alias", "tiny") as running:
        yield running


def test_a_chat_is_answered_and_counted(open_server: Running) -> None:
    answer = open_server.post("/v1/chat/completions", HELLO)
    assert answer.status == 200
    assert answer.json["model"] == "tiny"
    (choice,) = answer.json["choices"]
    assert choice["message"]["content"]
    assert answer.json["usage"]["completion_tokens"] <= 4
    assert "llamacpp:requests_processing 0" in open_server.get("/metrics").text


def test_a_stream_ends_with_its_usage_and_done(open_server: Running) -> None:
    answer = open_server.post(
        "/v1/chat/completions", HELLO | {"stream": True, "stream_options": {"include_usage": True}}
    )
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["usage"]["completion_tokens"] <= 4


def test_the_context_is_divided_among_the_slots(open_server: Running) -> None:
    """--ctx-size is for all slots: 1024 in two slots are 512 for a request."""
    assert open_server.get("/props").json["total_slots"] == 2
    assert [slot["n_ctx"] for slot in open_server.get("/slots").json] == [512, 512]


def test_what_is_too_long_is_refused_with_its_size(open_server: Running) -> None:
    """400 with both numbers, so that a gateway can go on to a longer context."""
    answer = open_server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "a" * 600}]})
    assert answer.status == 400
    error = answer.json["error"]
    assert error["type"] == "exceed_context_size_error"
    assert error["n_prompt_tokens"] > error["n_ctx"] == 512


def test_a_door_of_another_task_says_so(open_server: Running) -> None:
    for path, body in (("/v1/embeddings", {"input": "a"}), ("/v1/rerank", {"query": "a", "documents": ["b"]})):
        assert open_server.post(path, body).status == 501, path


def test_a_tool_is_called(open_server: Running) -> None:
    """The grammar of a required call holds even random weights to the tool's name and to JSON."""
    (token,) = open_server.post("/tokenize", {"content": TOOL_CALL}).json["tokens"]
    wanted: Json = {"tools": TOOLS, "tool_choice": "required", "logit_bias": [[token, 100]], "max_tokens": 100}
    answer = open_server.post("/v1/chat/completions", HELLO | wanted)
    call = answer.json["choices"][0]["message"]["tool_calls"][0]
    assert call["function"]["name"] == "now"
    assert json.loads(call["function"]["arguments"]) == {}


def test_a_model_of_another_name_is_answered_all_the_same(open_server: Running) -> None:
    """With one model the name in a request is ignored, so a gateway must be the one that refuses it."""
    assert open_server.post("/v1/chat/completions", HELLO | {"model": "another"}).status == 200


def test_a_key_is_asked_for_everywhere_but_at_health_and_the_models(model: Models, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# comment\nsecret\n")
    with serve(model("llama"), tmp_path / "log", "--metrics", "--api-key-file", str(tmp_path / "keys")) as running:
        for path in ("/health", "/v1/models"):
            assert running.get(path).status == 200, path
        for path in ("/props", "/slots", "/metrics"):
            assert running.get(path).status == 401, path
        assert running.post("/v1/chat/completions", HELLO).status == 401
        assert running.post("/v1/chat/completions", HELLO, Authorization="Bearer secret").status == 200
        assert running.post("/v1/chat/completions", HELLO, Authorization="Bearer # comment").status == 401
        assert "secret" not in running.log


def test_a_key_file_without_a_key_leaves_the_server_open(model: Models, tmp_path: Path) -> None:
    """No error, so who starts it must look into the file first."""
    (tmp_path / "keys").write_text("\n# no key yet\n")
    with serve(model("llama"), tmp_path / "log", "--api-key-file", str(tmp_path / "keys")) as running:
        assert running.get("/props").status == 200


def test_text_is_embedded(model: Models, tmp_path: Path) -> None:
    with serve(model("bert"), tmp_path / "log", "--embeddings") as running:
        answer = running.post("/v1/embeddings", {"input": ["a", "hello"]})
        assert [len(each["embedding"]) for each in answer.json["data"]] == [64, 64]
        assert running.post("/v1/chat/completions", HELLO).status == 500


def test_an_embedding_longer_than_a_ubatch_is_refused(model: Models, tmp_path: Path) -> None:
    """So a ubatch must hold the longest input."""
    with serve(model("bert"), tmp_path / "log", "--embeddings", "--ubatch-size", "128") as running:
        assert running.post("/v1/embeddings", {"input": "a" * 100}).status == 200
        answer = running.post("/v1/embeddings", {"input": "a" * 200})
        assert answer.status >= 400
        assert "physical batch size" in answer.text


def test_documents_are_ranked(model: Models, tmp_path: Path) -> None:
    with serve(model("reranker"), tmp_path / "log", "--rerank") as running:
        results = running.post("/v1/rerank", {"query": "a", "documents": ["b", "hello"]}).json["results"]
        assert {each["index"] for each in results} == {0, 1}
        assert all(isinstance(each["relevance_score"], float) for each in results)


@pytest.mark.parametrize("family", sorted(DECODERS))
def test_every_family_answers_and_its_log_is_read(family: str, model: Models, tmp_path: Path) -> None:
    with serve(model(family), tmp_path / "log", "--verbosity", "4", "--no-repack") as running:
        answer = running.post("/v1/chat/completions", HELLO)
        assert answer.status == 200, answer.text
        log = read_log(running.log)
        assert (log.context, log.slot_context, log.slots) == (1024, 512, 2)
        assert log.flash_attention
        assert log.is_ready
        assert {buffer.kind.value for buffer in log.buffers} >= {"model", "KV", "output", "compute"}


def test_a_configuration_file_of_the_home_folder_is_read(model: Models, tmp_path: Path) -> None:
    """What is not on the command line may be set there, in /etc/llama.cpp/config.ini or by LLAMA_ARG_*."""
    home = clean_environment(tmp_path)
    (tmp_path / ".config").mkdir()
    # common/common.cpp:fs_get_config_directory, b10435
    (tmp_path / ".config/llama.cpp").mkdir()
    (tmp_path / ".config/llama.cpp/config.ini").write_text("[*]\nmetrics = true\nparallel = 7\n")
    with serve(model("llama"), tmp_path / "log", environment=home) as running:
        assert running.get("/metrics").status == 200
        assert running.get("/props").json["total_slots"] == 2, "the command line wins"
    empty = {**home, "XDG_CONFIG_HOME": str(tmp_path / "none")}
    with serve(model("llama"), tmp_path / "log", environment=empty) as running:
        assert running.get("/metrics").status == 501


def test_a_variable_of_the_environment_is_read(model: Models, tmp_path: Path) -> None:
    variables = clean_environment(tmp_path) | {"LLAMA_ARG_ENDPOINT_METRICS": "1", "LLAMA_ARG_N_PARALLEL": "7"}
    with serve(model("llama"), tmp_path / "log", environment=variables) as running:
        assert running.get("/metrics").status == 200
        assert running.get("/props").json["total_slots"] == 2, "the command line wins"
