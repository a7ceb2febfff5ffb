"""Real llama-servers behind a real LiteLLM: it knows each by the provider that can do the task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from compiler.plan.ir import Embedding, Plan, Route
from tests.conftest import missing
from tests.engine.engine_process import free_port, run_server
from tests.engines.llama_cpp.random_models import MODELS
from tests.engines.llama_cpp.server.conftest import llama_server  # noqa: F401 (a fixture)
from tests.engines.llama_cpp.server.running import clean_environment
from tests.gateway.machine import Machine, gateway_plan, wait_until
from tests.gateway.servers import BACKEND_KEY, Client
from tests.gateway.test_litellm import KEY, LITELLM, running
from tests.unit.gguf_samples import on_llama_cpp
from tests.unit.plan_samples import with_service
from tools.setup_llama_server import SERVER

pytestmark = pytest.mark.engine

FAMILIES = {"coder": "llama", "general": "reranker", "general-candidate": "bert"}
OPTIONS = {"coder": (), "general": ("--rerank",), "general-candidate": ("--embedding", "--pooling", "mean")}
TASKS = {"coder": "chat", "general": "score", "general-candidate": "embed"}


def plan_of(ports: dict[str, int]) -> Plan:
    """A chat, a ranker and an embedder, each under the name of its service."""
    plan = gateway_plan(kind="litellm")
    assert plan.gateway is not None
    plan = replace(plan, gateway=replace(plan.gateway, routes=tuple(Route(name, name, None, 60) for name in TASKS)))
    for name, task in TASKS.items():
        plan = with_service(on_llama_cpp(plan, name), name, port=ports[name], task=task, served_name=name)
    return with_service(plan, "general-candidate", candidate_of=None, embedding=Embedding(64, None))


@pytest.fixture(scope="module")
def client(llama_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:  # noqa: F811
    if not (LITELLM / "stamp").is_file():
        missing(".engine/ lacks litellm: run python3 tools/setup_engine.py")
    root = tmp_path_factory.mktemp("litellm-llama")
    ports = {name: free_port() for name in TASKS}
    environment = clean_environment(root) | {"LLAMA_API_KEY": BACKEND_KEY}
    with ExitStack() as started:
        for name, family in FAMILIES.items():
            model = root / f"{name}.gguf"
            MODELS[family]().write(model)
            command = [
                str(SERVER), "--model", str(model), "--host", "127.0.0.1", "--port", str(ports[name]), "--alias", name,
                "--ctx-size", "1024", "--parallel", "2", "--fit", "off", "--threads", "2", *OPTIONS[name],
            ]  # fmt: skip
            started.enter_context(run_server(command, environment, root / f"{name}.log"))
        machine = Machine(root, plan_of(ports), {})
        machine.keys.write_text(f"team:{KEY}\n")
        machine.environment["STACKC_LITELLM"] = str(LITELLM / "bin/litellm")
        started.enter_context(running(machine))
        client = Client(machine.port, KEY)
        wait_until(lambda: client.post("/v1/embeddings", {"model": "general-candidate", "input": "a"}).status == 200)
        yield client


def test_a_chat_is_answered_whole_and_as_a_stream(client: Client) -> None:
    asked = {"model": "coder", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, "ignore_eos": True}
    answer = client.post("/v1/chat/completions", asked)
    assert answer.status == 200, answer
    assert answer.data["usage"]["completion_tokens"] == 8, "what only llama-server knows reaches it"
    streamed = client.post("/v1/chat/completions", {**asked, "stream": True})
    assert streamed.body.rstrip().endswith(b"data: [DONE]")


def test_a_prompt_is_completed(client: Client) -> None:
    answer = client.post("/v1/completions", {"model": "coder", "prompt": "hello", "max_tokens": 4})
    assert answer.status == 200, answer
    assert answer.data["choices"][0]["text"]


def test_a_text_is_embedded(client: Client) -> None:
    answer = client.post("/v1/embeddings", {"model": "general-candidate", "input": ["a", "hello"]})
    assert [len(each["embedding"]) for each in answer.data["data"]] == [64, 64]


def test_texts_are_ranked(client: Client) -> None:
    """By the provider that reads the same answers: LiteLLM ranks with none that it knows as OpenAI's."""
    answer = client.post("/v1/rerank", {"model": "general", "query": "a", "documents": ["b", "hello"]})
    assert answer.status == 200, answer
    assert {each["index"] for each in answer.data["results"]} == {0, 1}
