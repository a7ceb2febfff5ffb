"""A real vLLM behind the gateway: every path that is open is one that it serves, and its key is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.engines.vllm.host.client_paths import CLIENT_PATHS
from tests.engine.conftest import engine, tiny_model  # noqa: F401 (fixtures)
from tests.engine.engine_process import ENGINE, run_server
from tests.gateway.machine import Machine, free_port, gateway_plan, wait_until
from tests.gateway.servers import BACKEND_KEY
from tests.unit.plan_samples import with_service

pytestmark = pytest.mark.engine

QUESTION = [{"role": "user", "content": "hello"}]
BODIES = {
    "/v1/chat/completions": {"messages": QUESTION, "max_tokens": 4},
    "/v1/completions": {"prompt": "hello", "max_tokens": 4},
    "/v1/responses": {"input": "hello", "max_output_tokens": 4},
    "/v1/messages": {"messages": QUESTION, "max_tokens": 4},
    "/v1/messages/count_tokens": {"messages": QUESTION},
}


@pytest.fixture(scope="module")
def machine(nginx: str, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:  # noqa: F811
    """The gateway of a stack whose `coder` is a real server."""
    root, port = tmp_path_factory.mktemp("vllm"), free_port()
    command = [
        str(ENGINE / "cpu/bin/vllm"), "serve", str(tiny_model), "--host", "127.0.0.1", "--port", str(port),
        "--served-model-name", "coder", "--max-model-len", "256", "--max-num-seqs", "4",
    ]  # fmt: skip
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(root), "VLLM_API_KEY": BACKEND_KEY, "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_CI_ENV": "1", "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1", "VLLM_CACHE_ROOT": str(root / "cache"),
    }  # fmt: skip
    machine = Machine(root, with_service(gateway_plan(), "coder", port=port), {})
    with run_server(command, environment, root / "vllm.log"), machine.running():
        wait_until(lambda: machine.gateway("probe", "coder").returncode == 0, 300)
        yield machine


@pytest.mark.parametrize("path", BODIES)
def test_vllm_serves_what_the_gateway_lets_through(machine: Machine, path: str) -> None:
    answer = machine.client.post(path, {"model": "coder", **BODIES[path]})
    assert answer.status == 200, answer
    assert answer.headers["x-stackc-service"] == "coder"


def test_every_open_path_is_tried() -> None:
    assert BODIES.keys() == set(CLIENT_PATHS["chat"])


def test_a_stream_of_tokens_is_a_stream(machine: Machine) -> None:
    answer = machine.client.chat("coder", messages=QUESTION, max_tokens=60, stream=True, ignore_eos=True)
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert len(answer.times) > 50
    assert answer.times[-1] - answer.times[0] > 0.02, "tokens that come all at once were held back"


def test_what_vllm_says_about_a_request_reaches_the_client(machine: Machine) -> None:
    answer = machine.client.chat("coder", messages=QUESTION, max_tokens=100_000)
    assert answer.status == 400
    assert "max_tokens" in answer.data["error"]["message"]
