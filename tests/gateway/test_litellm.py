"""The other gateway: a real LiteLLM with the emitted configuration, in front of servers that look at what it asks."""

from __future__ import annotations

import json
import math
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from compiler.catalog.packages import LITELLM_VERSION
from compiler.targets.gateway import emit_gateway
from tests.conftest import ROOT, missing
from tests.gateway.machine import Machine, gateway_plan, machine_with, with_rollout
from tests.gateway.servers import BACKEND_KEY, Client
from tests.unit.plan_samples import write_executable

LITELLM = ROOT / ".engine/litellm"
KEY = "sk-0123456789abcdef"
APP = "https://app.example.org"

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with LiteLLM as its gateway; half of the requests for `general` go to the candidate."""
    if not (LITELLM / "stamp").is_file():
        missing(".engine/ lacks litellm: run python3 tools/setup_engine.py")
    plan = with_rollout(gateway_plan(kind="litellm", cors_origins=(APP,)), weight=50)
    with machine_with(tmp_path_factory.mktemp("litellm"), plan) as machine:
        machine.keys.write_text(f"team:{KEY}\n")
        machine.environment["STACKC_LITELLM"] = str(LITELLM / "bin/litellm")
        for server in machine.servers.values():
            server.speaks_openai = True
        with running(machine):
            yield machine


class running:  # noqa: N801
    """LiteLLM in the foreground, as a supervisor runs it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def __enter__(self) -> subprocess.Popen[bytes]:
        with self.machine.log.open("ab") as log:
            command = [self.machine.tree / "bin/gateway", "run"]
            self.process = subprocess.Popen(command, env=self.machine.environment, stdout=log, stderr=log)
        done = self.machine.gateway("wait", MAINPID=str(self.process.pid))
        assert done.returncode == 0, (done.stderr, self.machine.log.read_text())
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def chats(machine: Machine, name: str) -> list[Any]:
    return [seen for seen in machine.servers[name].seen if seen.path == "/v1/chat/completions"]


def chat(machine: Machine, model: str, **more: Any) -> Any:
    message = {"role": "user", "content": "hello"}
    return Client(machine.port, KEY).post("/v1/chat/completions", {"model": model, "messages": [message], **more})


def test_a_request_reaches_the_server_of_its_model_with_the_servers_key(machine: Machine) -> None:
    answer = chat(machine, "coder")
    assert answer.status == 200, answer
    assert answer.data["choices"][0]["message"]["content"] == "from coder"
    seen = chats(machine, "coder")[-1]
    assert seen.model == "coder"
    assert {name.lower(): value for name, value in seen.headers.items()}["authorization"] == f"Bearer {BACKEND_KEY}"


def test_pages_of_the_named_website_may_ask_and_no_others(machine: Machine) -> None:
    for origin, allowed in ((APP, APP), ("https://evil.example.org", None), ("null", None)):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        preflight = Client(machine.port, None).send("OPTIONS", "/v1/chat/completions", None, asked)
        assert (preflight.status == 200) == (allowed is not None)
        listed = Client(machine.port, KEY).get("/v1/models", {"Origin": origin})
        for answer in (preflight, listed):
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert "access-control-allow-credentials" not in answer.headers


def test_without_websites_in_the_spec_litellm_is_told_that_there_are_none(tmp_path: Path) -> None:
    """Its own default are all."""
    with machine_with(tmp_path, gateway_plan(kind="litellm"), ()) as machine:
        machine.keys.write_text(f"team:{KEY}\n")
        fake = write_executable(tmp_path / "litellm", "#!/bin/sh\nenv\n")
        done = machine.gateway(
            "run", STACKC_LITELLM=str(fake), LITELLM_CORS_ORIGINS="*", LITELLM_CORS_ALLOW_CREDENTIALS="true"
        )
    lines = done.stdout.splitlines()
    assert "LITELLM_CORS_ORIGINS=https://nobody.invalid" in lines
    assert "LITELLM_CORS_ALLOW_CREDENTIALS=false" in lines


def test_the_wheel_is_the_release_that_the_configuration_is_for() -> None:
    assert f"litellm=={LITELLM_VERSION}\n" in (ROOT / "tests/gateway/requirements.txt").read_text()


def test_without_the_key_nothing_is_answered(machine: Machine) -> None:
    before = len(chats(machine, "coder"))
    for key in (None, "sk-wrong-0123456789", BACKEND_KEY):
        answer = Client(machine.port, key).post("/v1/chat/completions", {"model": "coder", "messages": []})
        assert 400 <= answer.status < 500
    assert len(chats(machine, "coder")) == before


def test_half_of_the_requests_go_to_the_candidate(machine: Machine) -> None:
    count = 200
    served = Counter(chat(machine, "general").data["choices"][0]["message"]["content"] for _ in range(count))
    assert set(served) == {"from general", "from general-candidate"}
    assert abs(served["from general"] - count / 2) <= 4 * math.sqrt(count / 4), served


def test_a_generation_that_breaks_off_is_not_asked_for_again(machine: Machine) -> None:
    server, before = machine.servers["coder"], len(chats(machine, "coder"))
    server.breaks_off = True
    try:
        assert chat(machine, "coder").status >= 500
    finally:
        server.breaks_off = False
    assert len(chats(machine, "coder")) == before + 1
    assert chat(machine, "coder").status == 200, "one failure must not take the only server out"


def test_no_key_is_in_the_log_the_tree_or_the_command_line(machine: Machine) -> None:
    chat(machine, "coder")
    texts = [machine.log.read_text(), *(path.read_text() for path in machine.tree.rglob("*") if path.is_file())]
    assert not [key for key in (KEY, BACKEND_KEY) if any(key in text for text in texts)]


def test_status_and_what_it_cannot_do(machine: Machine) -> None:
    status = machine.gateway("status", "--json")
    assert (status.returncode, json.loads(status.stdout)["running"]) == (0, True)
    assert machine.gateway("check").returncode == 0
    assert machine.gateway("run").returncode == 14
    assert machine.gateway("reload").returncode == 2
    assert not (machine.tree / "bin/rollout").exists()


def test_more_keys_than_one_are_refused(tmp_path: Path) -> None:
    with machine_with(tmp_path, gateway_plan(kind="litellm"), ()) as machine:
        done = machine.gateway("check", STACKC_LITELLM="/bin/true")
        assert (done.returncode, "database" in done.stderr) == (19, True)
        assert machine.gateway("check", STACKC_LITELLM=str(tmp_path / "none")).returncode == 4


def test_the_file_says_what_the_plan_says() -> None:
    plan = with_rollout(gateway_plan(kind="litellm"), weight=25)
    files = {str(artifact.path): artifact.text for artifact in emit_gateway(plan)}
    assert files.keys() == {"gateway/litellm.yaml", "bin/gateway"}
    data = YAML(typ="safe").load(files["gateway/litellm.yaml"])
    models = {model["model_info"]["id"]: model for model in data["model_list"]}
    assert {name: model["litellm_params"]["weight"] for name, model in models.items()} == {
        "coder": 100, "general": 75, "general-candidate": 25,
    }  # fmt: skip
    assert {model["model_name"] for model in models.values()} == {"coder", "general"}
    assert models["general-candidate"]["litellm_params"]["model"] == "hosted_vllm/general"
    assert data["router_settings"]["num_retries"] == data["litellm_settings"]["num_retries"] == 0
    assert "master_key" not in str(emit_gateway(replace(plan, secrets=replace(plan.secrets, client_keys=None)))[0].text)
