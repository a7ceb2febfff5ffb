"""Real llama-servers behind the real gateway: what is let through is served, what is not cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from compiler.engines.llama_cpp.host.client_paths import CLIENT_PATHS
from compiler.plan.ir import Plan, Route
from tests.engine.engine_process import free_port, run_server
from tests.engines.llama_cpp.random_models import MODELS
from tests.engines.llama_cpp.server.conftest import llama_server  # noqa: F401 (a fixture)
from tests.engines.llama_cpp.server.running import clean_environment
from tests.gateway.machine import Machine, gateway_plan, wait_until
from tests.gateway.servers import BACKEND_KEY, FakeServer, serving
from tests.unit.gguf_samples import on_llama_cpp
from tests.unit.plan_samples import with_service
from tools.setup_llama_server import SERVER

pytestmark = pytest.mark.engine

QUESTION = [{"role": "user", "content": "hello"}]
BODIES = {
    "/v1/chat/completions": {"messages": QUESTION, "max_tokens": 4},
    "/v1/completions": {"prompt": "hello", "max_tokens": 4},
    "/v1/responses": {"input": "hello", "max_output_tokens": 4},
    "/v1/messages": {"messages": QUESTION, "max_tokens": 4},
    "/v1/messages/count_tokens": {"messages": QUESTION},
    "/v1/rerank": {"query": "a", "documents": ["b", "hello"]},
    "/rerank": {"query": "a", "documents": ["b", "hello"]},
}
OPTIONS = {"coder": (), "general": ("--rerank",)}
FAMILIES = {"coder": "llama", "general": "reranker"}


def plan_of(ports: dict[str, int]) -> Plan:
    """`coder` for chats and `general` for ranks on llama.cpp, and the former candidate on vLLM under its own name."""
    plan = gateway_plan()
    assert plan.gateway is not None
    routes = (*(Route(name, name, None, 60) for name in OPTIONS), Route("elder", "general-candidate", None, 60))
    plan = replace(plan, gateway=replace(plan.gateway, routes=routes))
    plan = with_service(plan, "general-candidate", candidate_of=None, served_name="elder")
    for name in OPTIONS:
        plan = with_service(on_llama_cpp(plan, name), name, port=ports[name])
    return with_service(plan, "general", task="score", labels=1)


@pytest.fixture(scope="module")
def machine(nginx: str, llama_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:  # noqa: F811
    root = tmp_path_factory.mktemp("llama")
    ports = {name: free_port() for name in OPTIONS}
    environment = clean_environment(root) | {"LLAMA_API_KEY": BACKEND_KEY}
    with ExitStack() as running:
        for name, words in OPTIONS.items():
            model = root / f"{name}.gguf"
            MODELS[FAMILIES[name]]().write(model)
            command = [
                str(SERVER), "--model", str(model), "--host", "127.0.0.1", "--port", str(ports[name]), "--alias", name,
                "--ctx-size", "1024", "--parallel", "2", "--fit", "off", "--threads", "2", "--metrics", *words,
            ]  # fmt: skip
            running.enter_context(run_server(command, environment, root / f"{name}.log"))
        elder = running.enter_context(serving(FakeServer("general-candidate")))
        machine = Machine(root, plan_of(ports), {"general-candidate": elder})
        running.enter_context(machine.running())
        wait_until(lambda: all(machine.gateway("probe", name).returncode == 0 for name in OPTIONS), 60)
        yield machine


@pytest.mark.parametrize("path", BODIES)
def test_it_serves_what_the_gateway_lets_through(machine: Machine, path: str) -> None:
    name = "general" if "rerank" in path else "coder"
    answer = machine.client.post(path, {"model": name, **BODIES[path]})
    assert answer.status == 200, answer
    assert answer.headers["x-stackc-service"] == name


def test_every_open_path_is_tried() -> None:
    assert BODIES.keys() == {*CLIENT_PATHS["chat"], *CLIENT_PATHS["score"]}


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v2/rerank", "/v1/score", "/score"])
def test_what_only_vllm_serves_is_no_path_of_it(machine: Machine, path: str) -> None:
    assert machine.client.post(path, {"model": "general", "query": "a", "documents": ["b"]}).status == 404


@pytest.mark.parametrize(
    "path", ["/metrics", "/props", "/slots", "/completion", "/tokenize", "/infill", "/apply-template", "/lora-adapters"]
)
def test_what_it_has_for_whoever_runs_it_cannot_be_reached(machine: Machine, path: str) -> None:
    assert machine.client.get(path).status == 404
    assert machine.client.post(path, {"model": "coder", "prompt": "a"}).status == 404


def test_a_model_that_it_would_answer_for_is_refused(machine: Machine) -> None:
    """It ignores the name in a request, so the gateway has to look."""
    answer = machine.client.chat("another", messages=QUESTION)
    assert answer.status == 404
    assert answer.data["error"]["code"] == "model_not_found"


def test_each_engine_gets_the_requests_for_its_models(machine: Machine) -> None:
    assert machine.client.chat("elder", messages=QUESTION).headers["x-stackc-service"] == "general-candidate"
    assert machine.client.chat("coder", messages=QUESTION, max_tokens=2).data["model"] == "coder"


def test_a_stream_of_tokens_is_a_stream(machine: Machine) -> None:
    answer = machine.client.chat("coder", messages=QUESTION, max_tokens=400, stream=True, ignore_eos=True)
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    # A client that is slower than a tiny model reads many events at once; so does none that gets them all at the end.
    assert answer.body.count(b"data: ") > 300
    assert answer.times[-1] - answer.times[0] > 0.01, "tokens that come all at once were held back"


def test_what_it_says_of_a_request_that_is_too_long_reaches_the_client(machine: Machine) -> None:
    answer = machine.client.chat("coder", messages=[{"role": "user", "content": "a" * 2000}])
    assert answer.status == 400
    assert answer.data["error"]["type"] == "exceed_context_size_error"
