"""preflight on what is no GPU: files of secrets, the gateway, inodes and shared memory."""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.catalog.packages import LITELLM_VERSION
from compiler.plan.operations import Gateway, Route
from tests.conftest import ROOT, missing
from tests.unit.plan_samples import two_on_one_gpu, write_executable
from tests.unit.script_machine import CARD, KEY, Machine, free_port


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path, two_on_one_gpu())
    made.set_gpus(CARD)
    return made


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (KEY, 0o644, "everybody may read it"),
        ("", 0o600, "it is empty"),
        ("two\nlines\n", 0o600, "one key on one line"),
        ("with space", 0o600, "a line that is no key"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_key_that_cannot_be_used_is_found(machine: Machine, content: str | None, mode: int, words: str) -> None:
    machine.key.unlink()
    if content is not None:
        machine.key.write_text(content, encoding="ascii")
        machine.key.chmod(mode)
    done = machine.preflight("coder")
    assert done.returncode == 17
    assert words in done.stdout
    assert KEY not in done.stdout


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs' modules, to ask what only a stubbed kernel shows: root may read all."""
    monkeypatch.syspath_prepend(str(ROOT / "templates/lib"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(("targets", "is_skipped"), [(["scripts", "systemd"], True), (["scripts"], False)])
def test_a_key_only_for_root_is_fine_where_systemd_reads_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, targets: list[str], *, is_skipped: bool
) -> None:
    machine, stack = importlib.import_module("stack.machine.check_machine"), importlib.import_module("stack")
    key = tmp_path / "key"
    key.write_text(KEY, encoding="ascii")

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError("may not")

    monkeypatch.setattr(os, "open", refuse)
    plan = {"targets": targets, "secrets": {"api_key": str(key)}}
    monkeypatch.delenv("STACKC_API_KEY_FILE", raising=False)
    with pytest.raises(stack.Skipped if is_skipped else stack.StackError):
        machine.check_secret(plan, "api_key", 17)


def with_gateway(machine: Machine, kind: str) -> None:
    routes = (Route("coder", "coder", None, 600),)
    gateway = Gateway(kind, "127.0.0.1", free_port(), "image", 2**20, None, 0, 10, routes)
    keys = machine.root / "client-keys"
    keys.write_text("sk-the-only-one\n" if kind == "litellm" else "sk-the-first\nsk-the-second\n", encoding="ascii")
    keys.chmod(0o640)
    paths = replace(machine.plan.paths, nginx=f"{machine.root}/fake/nginx", litellm=f"{machine.root}/fake/litellm")
    secrets = replace(machine.plan.secrets, client_keys=str(keys))
    machine.install(replace(machine.plan, gateway=gateway, paths=paths, secrets=secrets))
    write_executable(machine.root / "fake/nginx", "#!/bin/sh\necho 'nginx version: nginx/1.22.1' >&2\n")
    write_executable(machine.root / "fake/litellm", litellm_says(LITELLM_VERSION))


def litellm_says(version: str) -> str:
    """Its answer to `--version`, with the warning that it prints where it may fetch prices from the network."""
    warning = '[ "$LITELLM_LOCAL_MODEL_COST_MAP" = True ] || echo WARNING: fetch attempt failed >&2'
    return f"#!/bin/sh\n{warning}\necho\necho LiteLLM: Current Version = {version}\n"


@pytest.mark.parametrize("kind", ["nginx", "litellm"])
def test_the_gateway_is_checked_by_name_and_with_everything(machine: Machine, kind: str) -> None:
    if kind == "nginx" and not Path("/usr/lib/nginx/modules/ngx_http_js_module.so").exists():
        missing("nginx's njs module is not installed")
    with_gateway(machine, kind)
    done = machine.preflight("gateway", "--json")
    assert done.returncode == 0, done.stdout
    kinds = [check["check"] for check in json.loads(done.stdout)["checks"]]
    assert kinds == ["port", "secrets", *(["njs"] if kind == "nginx" else []), "program"]
    assert "gateway: program" in machine.preflight().stdout
    assert "gateway:" not in machine.preflight("coder").stdout


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("port", 14, "ss --listening"),
        ("open keys", 19, "everybody may read it"),
        ("no keys", 19, "it holds no key"),
        ("program", 20, "set `paths.litellm`"),
        ("broken program", 20, "failed: no such module"),
        ("another release", 20, f"requirements/litellm-{LITELLM_VERSION}.txt"),
    ],
)
def test_a_gateway_that_cannot_start_is_found(machine: Machine, fault: str, code: int, words: str) -> None:
    with_gateway(machine, "litellm")
    keys, program = machine.root / "client-keys", machine.root / "fake" / "litellm"
    with socket.socket() as other:
        if fault == "port" and machine.plan.gateway is not None:
            other.bind(("127.0.0.1", machine.plan.gateway.port))
            other.listen()
        elif fault == "open keys":
            keys.chmod(0o644)
        elif fault == "no keys":
            keys.write_text("\n", encoding="ascii")
        elif fault == "program":
            program.unlink()
        elif fault == "another release":
            write_executable(program, litellm_says("1.82.7"))
        else:
            write_executable(program, "#!/bin/sh\necho no such module >&2\nexit 1\n")
        done = machine.preflight("gateway")
    assert done.returncode == code, done.stdout
    assert words in done.stdout


@pytest.mark.usefixtures("modules")
def test_nginx_without_its_module_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, stack = importlib.import_module("stack.machine.check_machine"), importlib.import_module("stack")
    monkeypatch.setattr(gateway, "NJS_MODULES", ("/nowhere/ngx_http_js_module.so",))
    with pytest.raises(stack.StackError, match="libnginx-mod-http-js") as caught:
        gateway.check_njs()
    assert caught.value.code == 20


@pytest.mark.usefixtures("modules")
def test_a_file_system_without_inodes_left_is_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine, stack = importlib.import_module("stack.machine.check_machine"), importlib.import_module("stack")
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path))
    monkeypatch.setattr(machine, "_inodes", lambda _: 3)
    model = {"repository": None, "commit": None, "file": None, "files": []}
    service = {"engine": "vllm", "model": model, "devices": [0], "host_needs": [], "compiled_bytes": 2**30}
    with pytest.raises(stack.StackError, match="too few inodes") as caught:
        machine.check_disk([service])
    assert caught.value.code == 13


@pytest.mark.usefixtures("modules")
def test_small_shared_memory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker gives 64 MiB, and the workers of a server then fail in the middle of its start."""
    machine, stack = importlib.import_module("stack.machine.check_machine"), importlib.import_module("stack")
    monkeypatch.setattr(machine, "free_bytes", lambda _: 64 * 2**20)
    with pytest.raises(stack.StackError, match="remount") as caught:
        machine.check_shared_memory([{"devices": [0, 1]}])
    assert caught.value.code == 13
