"""Whoever traces a program to see why it fails sees no key: not in the trace, not in a child, not in what is left."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.unit.key_machine import GOOD_API_KEY, GOOD_CLIENT_KEY, KeyMachine, everything_below
from tests.unit.plan_samples import write_executable

KEYS = (GOOD_API_KEY.encode(), GOOD_CLIENT_KEY.encode())
PROGRAMS = [
    "cpu/launch-tiny",
    "cpu/launch-tiny --json",
    "cpu/launch-tiny --print-command",
    "nginx/launch-coder",
    "nginx/gateway check",
    "nginx/gateway run",
    "nginx/gateway reload",
    "nginx/gateway status --json",
    "nginx/gateway wait --once",
    "litellm/gateway check",
    "litellm/gateway run",
    "litellm/gateway status",
]
# Names that the programs use themselves: exported by the caller, they would hand down what is in them.
EXPORTED = dict.fromkeys(
    ["key", "line", "text", "backend_key", "client_keys", "name", "hash", "owner", "file", "key_lines"], "outer"
)
# It copies what it can see of its caller's temporary files, and its own environment.
WITNESS = """#!/bin/sh
cp -r "$TMPDIR" "{root}/witnessed-$$"
env >"{root}/environment"
tr '\\0' '\\n' </proc/$$/cmdline >"{root}/arguments"
"""
HOSTILE_PS4 = {
    "all": "+ $(declare -p 2>/dev/null) ",
    "named": "+ $key ${backend_key:-} ${client_keys[*]:-} ${key_lines[*]:-} ${VLLM_API_KEY:-} ${line:-} ${text:-} $_ ",
    "environment": "+ $(env) ",
}


@pytest.fixture
def machine(tmp_path: Path) -> KeyMachine:
    made = KeyMachine(tmp_path)
    write_executable(tmp_path / "fake/server", WITNESS.format(root=tmp_path))
    (tmp_path / "tmp").mkdir()
    made.environment["TMPDIR"] = str(tmp_path / "tmp")
    return made


def assert_no_key(text: bytes) -> None:
    assert not [key for key in KEYS if key in text], text[-3000:]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("flags", ["-x", "-v", "-xv", "-xvT", "-xE", "-xa"])
def test_a_traced_program_shows_no_key(machine: KeyMachine, program: str, flags: str) -> None:
    done = machine.run(program, "/bin/bash", flags)
    assert done.stderr, "nothing was traced"
    assert_no_key(done.stdout + done.stderr)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("options", ["xtrace", "verbose:xtrace", "allexport:xtrace", "functrace:xtrace:verbose"])
def test_an_exported_option_traces_all_and_shows_no_key(machine: KeyMachine, program: str, options: str) -> None:
    """As a unit with `Environment=SHELLOPTS=xtrace` would do it."""
    done = machine.run(program, SHELLOPTS=options, **EXPORTED)
    assert b"\n+ " in done.stderr
    assert_no_key(done.stdout + done.stderr)


@pytest.mark.parametrize("program", [program for program in PROGRAMS if "--json" not in program])
@pytest.mark.parametrize("prompt", HOSTILE_PS4)
def test_a_prompt_that_prints_variables_prints_no_key(machine: KeyMachine, program: str, prompt: str) -> None:
    startup, trace = machine.root / "startup", machine.root / "trace"
    startup.write_text(
        f"exec 77>>'{trace}'\nBASH_XTRACEFD=77\nPS4='{HOSTILE_PS4[prompt]}'\n"
        "set -x\ntrap ': \"$BASH_COMMAND\"' DEBUG ERR RETURN\nset -ET\n"
    )
    done = machine.run(program, BASH_ENV=str(startup), **EXPORTED)
    assert b"set -ET" in trace.read_bytes()
    assert_no_key(done.stdout + done.stderr + trace.read_bytes())


@pytest.mark.parametrize("program", ["cpu/launch-tiny", "nginx/gateway check", "litellm/gateway run"])
@pytest.mark.parametrize("content", ["{key}\n{key}\n", "{key} {key}\n", "{key}\0\n", "\ufeff{key}", "{key}$"])
def test_a_traced_refusal_shows_nothing_of_the_file(machine: KeyMachine, program: str, content: str) -> None:
    machine.api_key.write_text(content.format(key=GOOD_API_KEY))
    machine.client_keys.write_text(content.format(key=GOOD_CLIENT_KEY))
    done = machine.run(program, "/bin/bash", "-xv")
    assert done.returncode in (17, 19)
    assert_no_key(done.stdout + done.stderr)


@pytest.mark.parametrize("program", ["nginx/gateway check", "nginx/gateway run"])
def test_nginx_is_started_without_a_key(machine: KeyMachine, program: str) -> None:
    machine.run(program, SHELLOPTS="allexport", **EXPORTED)
    assert_no_key((machine.root / "environment").read_bytes() + (machine.root / "arguments").read_bytes())


def test_a_server_gets_its_key_through_the_environment_alone(machine: KeyMachine) -> None:
    machine.run("cpu/launch-tiny", SHELLOPTS="allexport", **EXPORTED)
    lines = [line for line in (machine.root / "environment").read_bytes().splitlines() if KEYS[0] in line]
    assert lines == [b"VLLM_API_KEY=" + KEYS[0]]
    assert_no_key((machine.root / "arguments").read_bytes())


def test_no_temporary_file_holds_a_key(machine: KeyMachine) -> None:
    """Also not while a check runs, which nobody may wait for."""
    for program in ("nginx/gateway check", "litellm/gateway check", "cpu/launch-tiny"):
        assert machine.run(program).returncode == 0
    seen = list(machine.root.glob("witnessed-*"))
    assert any((folder / "..").exists() and list(folder.rglob("nginx.conf")) for folder in seen)
    assert_no_key(b"".join(map(everything_below, seen)))
    assert list((machine.root / "tmp").iterdir()) == []


def test_no_process_has_a_key_among_its_arguments(machine: KeyMachine) -> None:
    machine.client_keys.write_text("".join(f"c{i}:{GOOD_CLIENT_KEY}{i}\n" for i in range(200)))
    done, seen = threading.Event(), set[bytes]()

    def look() -> None:
        while not done.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    seen.add((process / "cmdline").read_bytes())
                except OSError:
                    continue

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        assert machine.run("nginx/gateway check").returncode == 0
    finally:
        done.set()
        watcher.join()
    assert any(b"gateway\0check" in line for line in seen)
    assert_no_key(b"\n".join(seen))


def test_nobody_who_has_read_a_key_leaves_a_core_dump(machine: KeyMachine) -> None:
    write_executable(machine.root / "fake/server", f'#!/bin/bash\nulimit -c >"{machine.root}/limit"\n')
    for program in ("cpu/launch-tiny", "nginx/gateway run", "litellm/gateway run"):
        (machine.root / "limit").unlink(missing_ok=True)
        machine.run(program, "/bin/bash", "-c", 'ulimit -Sc "$(ulimit -Hc)"; exec "$0" "$@"')
        assert (machine.root / "limit").read_text() == "0\n", program
    code = (
        "import resource, sys; from pathlib import Path; from stack import keys; keys.read_api_key(Path(sys.argv[1]));"
    )
    code += "print(resource.getrlimit(resource.RLIMIT_CORE))"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/templates/lib"}
    command = ["python3", "-B", "-c", code, str(machine.api_key)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "(0, 0)\n"


@pytest.mark.parametrize("option", ["-Xdev", "-v", "-Xfaulthandler"])
def test_a_python_program_that_tells_all_tells_no_key(machine: KeyMachine, option: str) -> None:
    for words in ("cpu/smoke-test --timeout 0.1", "cpu/preflight --only secrets"):
        done = machine.run(words, "python3", option)
        assert done.returncode != 2, done.stderr[-500:]
        assert_no_key(done.stdout + done.stderr)


REPEATS = {
    "status line": "KEY\r\n\r\n",
    "error": 'HTTP/1.0 400 No KEY\r\n\r\n{"error": {"message": "no KEY"}}',
    "models": 'HTTP/1.0 200 OK\r\n\r\n{"object": "list", "data": [{"id": "KEY"}]}',
}


@pytest.mark.parametrize("reply", REPEATS)
@pytest.mark.parametrize("words", ["smoke-test --timeout 1", "evaluate --service tiny EVALUATION"])
def test_a_server_that_repeats_the_key_does_not_bring_it_into_a_report(
    machine: KeyMachine, reply: str, words: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        plan = machine.root / "cpu/plan.json"
        port = listener.getsockname()[1]
        plan.write_text(plan.read_text().replace('"port": 8000', f'"port": {port}'))
        asked: list[bytes] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(65536))
                    is_health = asked[-1].startswith(b"GET /health")
                    text = "HTTP/1.0 200 OK\r\n\r\n" if is_health else REPEATS[reply].replace("KEY", GOOD_API_KEY)
                    connection.sendall(text.encode())

        threading.Thread(target=serve, daemon=True).start()
        evaluation = str(ROOT / "templates/lib/evaluation/smoke.yaml")
        done = machine.run("cpu/" + words.replace("EVALUATION", evaluation))
        listener.shutdown(socket.SHUT_RDWR)
    assert any(KEYS[0] in request for request in asked), "the key was not sent"
    assert done.returncode not in (0, 2), done.stderr
    assert_no_key(done.stdout + done.stderr)


def test_the_preparation_of_containers_shows_no_secret(machine: KeyMachine) -> None:
    for flags in ("-x", "-xv"):
        program = str(machine.root / "cpu/lib/prepare")
        done = subprocess.run(
            ["/bin/bash", flags, program, f"--secret={machine.api_key}"], capture_output=True, check=False
        )
        assert done.returncode in (0, 17)
        assert_no_key(done.stdout + done.stderr)
