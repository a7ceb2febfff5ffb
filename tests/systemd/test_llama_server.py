"""A stack of a real llama-server under a real systemd: installed, asked, killed, stopped, in its sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.cli.run.lock import lock_spec
from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan
from compiler.resolve.transport.hub import Hub
from tests.conftest import missing
from tests.engines.llama_cpp.random_models import MODELS
from tests.systemd.machine import Machine
from tests.systemd.trees import copy_tree
from tools.setup_llama_server import FOLDER, SERVER

pytestmark = pytest.mark.engine

UNIT, TARGET = "tiny-chat.service", "tiny.target"
KEY = "sk-nobody-may-see-this"
PROGRAM = "/opt/stackc/llama.cpp-b10434"
ASK = """
import json, sys, urllib.request
body = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2}
headers = {"Content-Type": "application/json", "Authorization": "Bearer " + open("/etc/stackc/api-key").read().strip()}
request = urllib.request.Request("http://127.0.0.1:8000/v1/chat/completions", json.dumps(body).encode(), headers)
print(json.load(urllib.request.urlopen(request, timeout=60))["object"])
props = urllib.request.Request("http://127.0.0.1:8000/props", headers=headers)
print(json.load(urllib.request.urlopen(props, timeout=60))["total_slots"])
"""


def plan_of(folder: Path, model: Path) -> Plan:
    """What the whole pipeline makes of a spec."""
    spec = folder / "tiny.yaml"
    spec.write_text(
        "stack: tiny\n"
        "engine: {llama.cpp: b10434}\n"
        "nodes: {here: {cpu: {memory: 2GiB}}}\n"
        f"services: {{chat: {{model: {model}, context: 4K, concurrency: 2, port: 8000}}}}\n"
        "secrets: {api_key: /etc/stackc/api-key}\n"
    )
    problems, _ = lock_spec(spec, spec.name, Hub("http://127.0.0.1:9"))
    assert not problems
    compiled, found = compile_stack(spec, spec.name)
    assert compiled is not None, found
    return compiled.plan


def test_the_life_of_a_server(tmp_path: Path) -> None:
    """One story: a boot takes most of the time."""
    if not (FOLDER / "stamp").is_file():
        missing(f".engine/ lacks {FOLDER.name}: run make llama-server")
    written = tmp_path / "models" / "tiny.gguf"
    written.parent.mkdir()
    MODELS["qwen3"]().write(written)
    plan = plan_of(tmp_path, written)
    with Machine.boot(tmp_path / "boot", {PROGRAM: SERVER.parent}) as machine:
        machine.copy(written.parent, str(written.parent))
        machine.must("chmod", "-R", "a+rX", tmp_path)
        machine.write("/etc/stackc/api-key", f"{KEY}\n", mode=0o600)
        # What its owner left there is for other programs.
        machine.write("/etc/llama.cpp/config.ini", "[*]\nparallel = 7\nctx-size = 64\nno-slots = true\n")
        tree = copy_tree(machine, plan, tmp_path / "out", "tiny")
        machine.must(f"{tree}/bin/install", "--start", seconds=300)
        assert machine.property(UNIT, "ActiveState") == "active"
        assert machine.must("python3", "-c", ASK).split() == ["chat.completion", "2"]
        assert KEY not in machine.must("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert "using config file" not in machine.log(UNIT)

        machine.must("sh", "-c", "kill -9 $(pgrep -x llama-server)")
        machine.wait(lambda: machine.property(UNIT, "NRestarts") == "1", 60, "a restart")
        machine.wait(lambda: machine.property(UNIT, "ActiveState") == "active", 60, "it serves again")
        assert machine.must("python3", "-c", ASK).split() == ["chat.completion", "2"]

        machine.must("systemctl", "stop", TARGET, seconds=120)
        machine.wait(lambda: machine.property(UNIT, "ActiveState") == "inactive", 60, "it ends")
        assert machine.property(UNIT, "Result") == "success"
        assert machine.run("pgrep", "-x", "llama-server").returncode == 1
