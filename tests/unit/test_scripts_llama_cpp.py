"""Emitted programs for a server of llama.cpp, alone and beside vLLM, really run with other programs in their place."""

from __future__ import annotations

import fcntl
import http.server
import io
import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.message import Message
from pathlib import Path
from types import SimpleNamespace

import pytest

from compiler.plan.ir import ModelFile, Plan
from tests.conftest import missing
from tests.unit.gguf_samples import BUILD, PARTS, alone_on_cpu, beside_vllm
from tests.unit.plan_samples import COMMIT, PATH, UUIDS, with_service, write_executable, write_tree
from tests.unit.script_machine import KEY, free_port

RECORDER = """#!/usr/bin/env bash
printf '%s\\0' "$@" >"$HOME/argv"
env -0 >"$HOME/env"
"""
VERSION = "version: 0.1.0-dev (build {number}, commit {commit})"


class Machine:
    """A machine with a tree, the files of its model, a key and a program in llama-server's place."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self.root = root
        for service in plan.services:
            plan = with_service(plan, service.name, port=free_port())
        self.plan = plan
        self.tree = write_tree(plan, root / "tree")
        self.key = root / "key"
        self.key.write_text(f"{KEY}\n")
        self.key.chmod(0o600)
        self.server = write_executable(root / "fake" / "llama-server", RECORDER)
        self.environment = {
            "PATH": f"{root}/fake:{PATH}",
            "HOME": str(root),
            "HF_HOME": str(root / "hf"),
            "STACKC_API_KEY_FILE": str(self.key),
            "STACKC_LOCK_DIR": str(root / "locks"),
        }

    def snapshot(self, repository: str) -> Path:
        return self.root / "hf/hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / COMMIT

    def write_parts(self, folder: Path) -> None:
        for part in PARTS:
            path = folder / part.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(part.size or 0))

    def run(self, program: str, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.tree / "bin" / program), *words]
        environment = self.environment | changes
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        return done

    def recorded(self, name: str) -> list[str]:
        return (self.root / name).read_bytes().decode().split("\0")[:-1]

    def says(self, text: str) -> None:
        """What `llama-server --version` prints."""
        write_executable(self.server, f"#!/bin/sh\necho '{text}' >&2\n")


def hub_plan() -> Plan:
    """llama.cpp alone on a CPU node, its model on the Hub."""
    plan = alone_on_cpu()
    model = replace(plan.services[0].model, repository="org/big-GGUF", folder=None, commit=COMMIT, is_pinned=True)
    return with_service(plan, "tiny", model=model)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path, hub_plan())
    made.write_parts(made.snapshot("org/big-GGUF"))
    return made


def test_the_server_gets_the_first_file_and_its_key(machine: Machine) -> None:
    done = machine.run("launch-tiny", LLAMA_API_KEY="another")
    assert (done.stderr, done.returncode) == ("", 0)
    assert machine.recorded("argv")[:2] == ["--model", str(machine.snapshot("org/big-GGUF") / PARTS[0].path)]
    assert f"LLAMA_API_KEY={KEY}" in machine.recorded("env")
    assert KEY not in " ".join(machine.recorded("argv"))


def test_no_option_comes_from_the_callers_environment(machine: Machine) -> None:
    """Each option has a variable: one that is left over would change the memory that was proved, or open a door."""
    given = {"LLAMA_ARG_CTX_SIZE": "1", "LLAMA_ARG_OFFLINE": "0", "XDG_CONFIG_HOME": str(machine.root)}
    done = machine.run("launch-tiny", **given)
    assert "LLAMA_ARG_CTX_SIZE=1 is not taken" in done.stderr
    assert "LLAMA_ARG_OFFLINE=0 is not taken: the plan says 1" in done.stderr
    seen = dict(each.partition("=")[::2] for each in machine.recorded("env"))
    assert {name: value for name, value in seen.items() if name.startswith(("LLAMA_ARG", "XDG"))} == {
        "LLAMA_ARG_OFFLINE": "1",
        "XDG_CONFIG_HOME": "/nonexistent",
    }
    assert "LLAMA_ARG_" in machine.run("launch-tiny", "--help").stdout


def test_an_image_may_say_where_to_listen(machine: Machine) -> None:
    changes = {"STACKC_CONTAINER": "1", "STACKC_HOST": "0.0.0.0", "LLAMA_ARG_HOST": "0.0.0.0"}
    done = machine.run("launch-tiny", **changes)
    assert done.stderr == ""
    assert not [each for each in machine.recorded("env") if each.startswith("LLAMA_ARG_HOST")]


def test_what_is_missing_is_named(machine: Machine) -> None:
    done = machine.run("launch-tiny", STACKC_LLAMA_SERVER="/nowhere/llama-server")
    assert done.returncode == 16
    assert "install llama.cpp, or set STACKC_LLAMA_SERVER" in done.stderr
    (machine.snapshot("org/big-GGUF") / PARTS[0].path).unlink()
    done = machine.run("launch-tiny")
    assert done.returncode == 15
    assert "prefetch tiny" in done.stderr


def test_both_take_the_lock_of_a_gpu_on_which_one_measures(tmp_path: Path) -> None:
    machine = Machine(tmp_path, beside_vllm())
    locks = {name: json.loads(machine.run(f"launch-{name}", "--json").stdout) for name in ("coder", "general")}
    assert {name: len(each["locks"]) for name, each in locks.items()} == {"coder": 1, "general": 1}
    assert {name: each["secrets"] for name, each in locks.items()} == {
        "coder": ["VLLM_API_KEY"],
        "general": ["LLAMA_API_KEY"],
    }


def test_none_waits_where_nobody_measures(tmp_path: Path) -> None:
    plan = beside_vllm()
    machine = Machine(tmp_path, with_service(plan, "coder", measures=False))
    assert json.loads(machine.run("launch-general", "--json").stdout)["locks"] == []


def test_a_server_without_gpus_sees_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path, with_service(beside_vllm(), "general", uses_gpus=False))
    environment = json.loads(machine.run("launch-general", "--json").stdout)["environment"]
    assert environment["CUDA_VISIBLE_DEVICES"] == ""


@contextmanager
def answering(*statuses: int) -> Iterator[int]:
    """A server on a port that answers /health so, one after the other, and then with the last."""
    left = list(statuses)

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def waiting(tmp_path: Path, port: int, *words: str) -> subprocess.CompletedProcess[str]:
    machine = Machine(tmp_path, hub_plan())
    write_tree(with_service(machine.plan, "tiny", port=port), machine.tree)
    return machine.run("wait-ready", "tiny", *words)


def test_a_server_that_loads_is_waited_for(tmp_path: Path) -> None:
    """vLLM's 503 means that its engine is dead; llama-server's that it reads the model."""
    with answering(503, 503, 503, 503, 200) as port:
        assert waiting(tmp_path, port, "--timeout", "30").returncode == 0


def test_a_server_that_loads_for_too_long_is_late(tmp_path: Path) -> None:
    with answering(503) as port:
        done = waiting(tmp_path, port, "--timeout", "1")
    assert done.returncode == 3
    assert "it still loads" in done.stderr


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (VERSION.format(number="10434", commit="0000000"), 0),
        (VERSION.format(number="1", commit="7e4c0a9"), 0),
        (VERSION.format(number="1", commit="7e4c0a9f00"), 0),
        ("version: 10434 (abcdef0)", 0),
        (VERSION.format(number="10435", commit="1234567"), 16),
        (VERSION.format(number="1", commit="1234567"), 16),
        ("version: what", 16),
        ("", 16),
    ],
)
def test_a_build_is_known_by_its_number_or_its_commit(machine: Machine, said: str, code: int) -> None:
    machine.says(said)
    done = machine.run("preflight", "--only", "version")
    assert done.returncode == code, done.stdout
    assert f"llama.cpp {BUILD} (commit 7e4c0a9)" in done.stdout


def test_a_file_that_is_short_or_gone_is_found(machine: Machine) -> None:
    assert machine.run("preflight", "--only", "model").returncode == 0
    second = machine.snapshot("org/big-GGUF") / PARTS[1].path
    second.write_bytes(b"cut")
    assert f"{second} has 3 bytes, the plan 4096" in machine.run("preflight", "--only", "model").stdout
    second.unlink()
    done = machine.run("preflight", "--only", "model")
    assert done.returncode == 15
    assert f"lacks 1 of 2 weight files, such as {PARTS[1].path}" in done.stdout


def test_what_else_lies_in_the_folder_does_not_matter(tmp_path: Path) -> None:
    """Folders of models are shared: a broken link of somebody else must not keep a server down."""
    plan, folder = alone_on_cpu(), tmp_path / "models"
    machine = Machine(tmp_path, with_service(plan, "tiny", model=replace(plan.services[0].model, folder=str(folder))))
    machine.write_parts(folder)
    (folder / "gone").symlink_to("/nowhere")
    assert machine.run("preflight", "--only", "model").returncode == 0


def test_preflight_asks_nothing_that_only_vllm_needs(machine: Machine) -> None:
    machine.says(VERSION.format(number="10434", commit="7e4c0a9"))
    done = machine.run("preflight")
    assert done.returncode == 0, done.stdout
    assert "skip  box: disk" in done.stdout


def test_both_engines_are_asked_for_their_version(tmp_path: Path) -> None:
    machine = Machine(tmp_path, beside_vllm())
    machine.says(VERSION.format(number="10434", commit="7e4c0a9"))
    write_executable(tmp_path / "fake" / "vllm", "#!/bin/sh\necho 0.33.0\n")
    lines = machine.run("preflight", "--only", "version").stdout.splitlines()
    assert [line.split()[:1] for line in lines[:2]] == [["ok"], ["ok"]]
    assert "vLLM 0.33.0" in lines[0]
    assert "llama.cpp b10434" in lines[1]


def test_memory_is_wanted_at_its_high_end(tmp_path: Path) -> None:
    """A server that asks nobody what is free would find out when it has read for minutes."""
    machine = Machine(tmp_path, beside_vllm())
    # Of the high end: 30 GiB, and half a GiB for the context.
    for free, code in ((30 * 1024, 12), (31 * 1024, 0)):
        card = f"0, {UUIDS[0]}, NVIDIA RTX PRO 6000, 12.0, 97887, {free}, 580.95.05, Disabled, Enabled"
        script = f'#!/bin/sh\ncase "$1" in *compute-apps*) ;; *) echo "{card}" ;; esac\n'
        write_executable(tmp_path / "fake" / "nvidia-smi", script)
        done = machine.run("preflight", "general", "--only", "memory")
        assert done.returncode == code, done.stdout


def test_a_folder_of_the_machine_sets_no_options(tmp_path: Path) -> None:
    plan = hub_plan()
    folder = tmp_path / "etc"
    folder.mkdir()
    engine = plan.engines["llama.cpp"]
    engine = replace(engine, host=replace(engine.host, configuration=(str(folder),)))
    machine = Machine(tmp_path, replace(plan, engines={"llama.cpp": engine}))
    assert machine.run("preflight", "--only", "configuration").returncode == 0
    (folder / "config.ini").write_text("[*]\nparallel = 7\n")
    done = machine.run("preflight", "--only", "configuration")
    assert done.returncode == 16
    assert "config.ini" in done.stdout


def test_a_copy_brings_the_chosen_files_alone(tmp_path: Path) -> None:
    plan = hub_plan()
    files = tuple(ModelFile(part.path, part.size, None) for part in PARTS)
    machine = Machine(
        tmp_path, with_service(plan, "tiny", model=replace(plan.services[0].model, files=files, commit=COMMIT))
    )
    source = tmp_path / "disk"
    machine.write_parts(source)
    (source / "other-Q4_K_M.gguf").write_bytes(b"another quantization")
    done = machine.run("prefetch", "--from", str(source))
    assert done.returncode == 0, done.stderr
    present = [path.name for path in machine.snapshot("org/big-GGUF").rglob("*.gguf")]
    assert sorted(present) == [Path(part.path).name for part in PARTS]


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://hub.example/other", True),
        ("https://cdn.example/file", False),
        ("https://hub.example:8443/file", False),
        ("http://hub.example/file", None),
        ("file:///etc/passwd", None),
    ],
)
def test_a_token_goes_to_no_other_host(scripts: SimpleNamespace, url: str, sent: bool | None) -> None:
    asked = urllib.request.Request("https://hub.example/file", headers={"Authorization": "Bearer secret"})
    follow = scripts.direct._Redirects().redirect_request
    if sent is None:
        with pytest.raises(OSError, match=r"leads from https|not allowed"):
            follow(asked, io.BytesIO(), 302, "Found", Message(), url)
        return
    following = follow(asked, io.BytesIO(), 302, "Found", Message(), url)
    assert following.has_header("Authorization") is sent


def test_scripts_without_python_wait_with_curl(tmp_path: Path) -> None:
    """Upstream's image for servers has no Python: the lock of a shared GPU must hold all the same."""
    machine = Machine(tmp_path, beside_vllm())
    model = replace(machine.plan.service("general").model, commit=COMMIT, is_pinned=True)
    machine.write_parts(machine.snapshot("org/general"))
    write_executable(machine.server, "#!/usr/bin/env bash\nexec sleep 30\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "env", "readlink", "flock", "mkdir", "sleep", "curl"):
        found = shutil.which(name)
        if found is None:
            missing(name)
        (tools / name).symlink_to(str(found))
    lock = tmp_path / "locks" / "gpu-0.lock"
    with answering(503, 503, 200) as port:
        write_tree(with_service(machine.plan, "general", model=model, port=port), machine.tree)
        environment = machine.environment | {"PATH": str(tools)}
        command = [str(machine.tree / "bin" / "launch-general")]
        with subprocess.Popen(command, env=environment | {"STACKC_LLAMA_SERVER": str(machine.server)}) as server:
            try:
                until(lock.exists)
                until(lambda: not is_free(lock))
                until(lambda: is_free(lock))
            finally:
                server.kill()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_free(lock: Path) -> bool:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
