"""The sandbox of bin/evaluate: code of a model that runs away, hoards, breeds, shouts, pries or lingers."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compiler.render.environment import template_folder

PLACE = "STACKC_TEST_PLACE"
PROGRAM = template_folder() / "lib/stack/judge/sandbox.py"
# A kernel without namespaces and Landlock, as far as the program can tell.
OLD_KERNEL = f"""
import sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
sys.dont_write_bytecode = True
import sandbox
sandbox.LANDLOCK_CREATE = 100000
sandbox.Cage._unshare = lambda self: False
sandbox.main()
"""
# Root's files are hidden from nobody, who runs the code then, by their permissions alone.
AS_ROOT = os.geteuid() == 0


@pytest.fixture(params=["this kernel", "old kernel"])
def command(request: pytest.FixtureRequest) -> list[str]:
    program = ["-I", "-B", str(PROGRAM)] if request.param == "this kernel" else ["-I", "-B", "-c", OLD_KERNEL]
    return [sys.executable, *program]


@pytest.fixture(autouse=True)
def _leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever the code starts has a folder of the sandbox in its environment: none may be left, nor any folder."""
    # Not below pytest's own folder, which nobody cannot enter.
    place = Path(tempfile.mkdtemp(prefix="stackc-test-"))
    place.chmod(0o755)
    monkeypatch.setenv(PLACE, str(place))
    yield
    deadline = time.monotonic() + 2
    while _inmates(place) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [path.name for path in place.iterdir()]
    shutil.rmtree(place)
    assert _inmates(place) == []
    assert left == []


def _inmates(place: Path) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={place}/".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return found


def run(command: list[str], answer: str, tests: str, *, seconds: int = 1, clock: int = 30) -> dict[str, Any]:
    job = {"answer": answer, "tests": tests, "seconds": seconds, "clock": clock, "memory": 2**28}
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nowhere", "VLLM_API_KEY": "sk-secret"}
    environment["TMPDIR"] = os.environ[PLACE]
    start = time.monotonic()
    done = subprocess.run(
        command, input=json.dumps(job), env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert time.monotonic() - start < clock + 15
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def test_good_code_passes(command: list[str]) -> None:
    tests = "import unittest\nassert add(1, 2) == 3\ndef test_more(): assert add(0, 0) == 0\n"
    tests += "class Case(unittest.TestCase):\n    def test_it(self): self.assertEqual(add(2, 2), 4)\n"
    assert run(command, "def add(a, b): return a + b", tests)["status"] == "passed"


@pytest.mark.parametrize(
    "tests",
    [
        "assert add(1, 2) == 3",
        "def test_it(): assert add(1, 2) == 3",
        "import unittest\nclass Case(unittest.TestCase):\n    def test_it(self): self.assertEqual(add(1, 2), 3)",
    ],
)
def test_each_form_of_test_can_fail(command: list[str], tests: str) -> None:
    outcome = run(command, "def add(a, b): return a - b", tests)
    assert outcome["status"] == "failed"
    assert "AssertionError" in outcome["detail"]
    assert "tests.py" in outcome["detail"]


def test_tests_in_the_answer_do_not_count(command: list[str]) -> None:
    assert run(command, "def test_mine(): assert False", "pass")["status"] == "passed"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("while True: pass", "CPU time"),
        ("import time; time.sleep(600)", "still running after 2 s"),
        ("import os, time; os.close(1); os.close(2); time.sleep(600)", "still running after 2 s"),
        ("hoard = bytearray(2**30)", "MemoryError"),
        ("print('x' * 10**7)", "printed more than 65536 bytes"),
        ("while True: print('again')", "printed more than 65536 bytes"),
        ("open('big', 'wb').write(bytes(2**22))", "File too large"),
        ("import os; os._exit(0)", "ended before the tests did"),
    ],
)
def test_code_that_runs_away_fails_by_a_limit(command: list[str], answer: str, words: str) -> None:
    outcome = run(command, answer, "pass", clock=2 if "sleep" in answer else 30)
    assert outcome["status"] == "failed"
    assert words in outcome["detail"]


def test_code_that_crashes_the_interpreter_is_named_by_its_signal() -> None:
    outcome = run([sys.executable, "-I", "-B", "-c", OLD_KERNEL], "import os; os.kill(os.getpid(), 11)", "pass")
    assert outcome["status"] == "failed"
    assert "SIGSEGV" in outcome["detail"]


def test_a_fork_bomb_ends_with_the_sandbox(command: list[str]) -> None:
    bomb = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    assert run(command, bomb, "pass", clock=3)["status"] == "failed"
    counted = "import os\nchildren = 0\ntry:\n    while os.fork(): children += 1\n    os._exit(0)\nexcept OSError: pass"
    # Only some processes can be had at once, and a program that wants more is told so.
    forever = counted.replace("os._exit(0)", "__import__('time').sleep(60)")
    assert run(command, forever, "assert children < 4096")["status"] == "passed"


def test_daemons_end_with_the_sandbox(command: list[str]) -> None:
    daemon = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(600)\n    os._exit(0)"
    )
    assert run(command, daemon, "pass")["status"] == "passed"


def test_code_ends_when_the_sandbox_itself_is_killed(command: list[str]) -> None:
    place = Path(os.environ[PLACE])
    job = {"answer": "import time; time.sleep(600)", "tests": "", "seconds": 9, "clock": 99, "memory": 2**28}
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(place)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sandbox:
        assert sandbox.stdin is not None
        sandbox.stdin.write(json.dumps(job).encode())
        sandbox.stdin.close()
        deadline = time.monotonic() + 20
        while not _inmates(place) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _inmates(place)
        sandbox.kill()
    # Nobody was left to remove its folder; the fixture looks for processes.
    for folder in place.iterdir():
        shutil.rmtree(folder)


def test_nothing_of_the_caller_is_in_the_environment(command: list[str]) -> None:
    answer = "import os\nassert 'sk-secret' not in str(os.environ), 'leaked'\nassert os.getcwd() == os.environ['HOME']"
    assert run(command, answer, "pass")["status"] == "passed"


def test_its_own_folder_can_be_used(command: list[str]) -> None:
    answer = "open('a', 'w').write('b')\nimport tempfile\ntempfile.TemporaryFile().write(b'c')"
    assert run(command, answer, "assert open('a').read() == 'b'")["status"] == "passed"


def test_what_the_kernel_lacks_is_said() -> None:
    outcome = run([sys.executable, "-I", "-B", "-c", OLD_KERNEL], "pass", "pass")
    assert outcome["missing"] == [PROCESSES, FILES]


def confined(need: str) -> list[str]:
    """The sandbox as it is, on a kernel that gives this much."""
    command = [sys.executable, "-I", "-B", str(PROGRAM)]
    lacking = run(command, "pass", "pass")["missing"]
    if need in lacking:
        pytest.skip(f"this kernel, or its policy, does not give {need}")
    return command


FILES, PROCESSES = "files of its own", "processes and network of its own"


@pytest.mark.parametrize("path", ["/tmp/evil", "/var/tmp/evil", "/dev/shm/evil", "../evil"])
def test_no_other_file_can_be_written(path: str) -> None:
    outcome = run(confined(FILES), f"open({path!r}, 'w')", "pass")
    assert "Permission denied" in outcome["detail"] or "Errno" in outcome["detail"]
    assert outcome["status"] == "failed"


def test_no_other_file_can_be_read() -> None:
    # World-readable on the way and itself: permissions alone would not keep it.
    secret = Path(os.environ[PLACE]) / "secret"
    secret.write_text("sk-secret")
    secret.chmod(0o644)
    try:
        outcome = run(confined(FILES), f"print(open({str(secret)!r}).read())", "pass")
    finally:
        secret.unlink()
    assert outcome["status"] == "failed"
    assert "PermissionError" in outcome["detail"]


def test_there_is_no_network_not_even_this_machine() -> None:
    answer = "import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        outcome = run(confined(PROCESSES), answer.format(port=server.getsockname()[1]), "pass")
    assert outcome["status"] == "failed"
    assert "socket.py" in outcome["detail"]


def test_other_processes_cannot_be_ended() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as bystander:
        run(confined(PROCESSES), f"import os\nos.kill({bystander.pid}, 9)\nos.kill(os.getppid(), 9)", "pass")
        alive = bystander.poll() is None
        bystander.kill()
    assert alive


@pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")
def test_root_becomes_nobody(command: list[str]) -> None:
    assert run(command, "import os\nassert os.getuid() == 65534", "pass")["status"] == "passed"


@pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")
def test_an_ordinary_user_is_held_as_well() -> None:
    program = Path(os.environ[PLACE]) / "sandbox.py"
    program.write_text(PROGRAM.read_text())
    program.chmod(0o644)
    job = {"answer": "import os", "tests": "assert os.getuid() == 65534", "seconds": 5, "clock": 20, "memory": 2**28}
    try:
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-B", str(program)],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            user=65534,
            group=65534,
            extra_groups=[],
            cwd="/",
            check=False,
        )
    finally:
        program.unlink()
    assert json.loads(done.stdout)["status"] == "passed", done.stdout + done.stderr
